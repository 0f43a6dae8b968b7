"""Connections: URLs, refusals without passwords, units of work that a signal strikes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

import pytest

from db.connection import Connection, connect, ping, server_version, unit_of_work
from db.errors import DatabaseBusy, DatabaseUnavailable, MigrationMissing
from tests.kit.db_data import one, run
from tests.kit.waiting import eventually

NASTY = "p@ss:w/o?r#d%20 'ü\\"


def with_user(url: str, user: str, password: str, *, scheme: str = "postgresql") -> str:
    parts = urlsplit(url)
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"{scheme}://{credentials}@{parts.hostname}:{parts.port}{parts.path}"


def test_password_with_special_characters_and_a_postgres_url(database_url: str) -> None:
    run(database_url, f"""CREATE ROLE "odd user" LOGIN PASSWORD '{NASTY.replace("'", "''")}'""")
    try:
        url = with_user(database_url, "odd user", NASTY, scheme="postgres") + "?sslmode=prefer"
        with connect(url, application_name="here") as connection:
            ping(connection)
            assert one(connection, "SELECT current_user::text") == "odd user"
            assert one(connection, "SHOW application_name") == "here"
    finally:
        run(database_url, 'DROP ROLE "odd user"')


def test_wrong_password_is_one_line_that_does_not_show_it(database_url: str) -> None:
    user = str(urlsplit(database_url).username)
    with pytest.raises(DatabaseUnavailable) as caught:
        connect(with_user(database_url, user, NASTY))
    text = str(caught.value)
    assert "password authentication failed" in text
    assert "DATABASE_URL" in text
    assert NASTY not in text
    assert "\n" not in text
    assert caught.value.user == user
    assert caught.value.__cause__ is None


def test_unknown_database_and_closed_port_name_place_and_remedy(database_url: str) -> None:
    base = database_url.rsplit("/", 1)[0]
    with pytest.raises(DatabaseUnavailable, match='database "nowhere" does not exist') as unknown:
        connect(base + "/nowhere")
    assert unknown.value.dbname == "nowhere"
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1,.*refused.*Start PostgreSQL"):
        connect("postgresql://someone:secret@127.0.0.1:1/prices")


def test_what_keeps_a_login_out_has_its_own_remedy(database_url: str) -> None:
    parts = urlsplit(database_url)
    base, name = f"{parts.hostname}:{parts.port}{parts.path}", parts.path[1:]
    run(database_url, "CREATE ROLE kept_out LOGIN PASSWORD 'right'")
    try:
        for change, back, remedy in (
            ("ROLE kept_out CONNECTION LIMIT 0", "ROLE kept_out CONNECTION LIMIT -1", "LIMIT"),
            ("ROLE kept_out NOLOGIN", "ROLE kept_out LOGIN", "ALTER ROLE"),
            (
                f"DATABASE {name} CONNECTION LIMIT 0",
                f"DATABASE {name} CONNECTION LIMIT -1",
                "LIMIT",
            ),
        ):
            run(database_url, f"ALTER {change}")
            with pytest.raises(DatabaseUnavailable) as kept_out:
                connect(f"postgresql://kept_out:right@{base}")
            assert remedy in (kept_out.value.remedy or ""), change
            run(database_url, f"ALTER {back}")
        run(database_url, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        with pytest.raises(DatabaseUnavailable, match="GRANT CONNECT"):
            connect(f"postgresql://kept_out:right@{base}")
    finally:
        run(database_url, "DROP ROLE kept_out")


def test_a_unit_of_work_has_limits_and_utc(database_url: str) -> None:
    with connect(database_url, statement_timeout_s=1.5, lock_timeout_s=0.5) as connection:
        with unit_of_work(connection):
            assert one(connection, "SHOW statement_timeout") == "1500ms"
            assert one(connection, "SHOW lock_timeout") == "500ms"
            assert one(connection, "SHOW idle_in_transaction_session_timeout") == "30s"
            assert one(connection, "SHOW TimeZone") == "UTC"
        assert connection.info.get_parameters()["connect_timeout"] == "5"
        assert int(server_version(connection).split(".")[0]) >= 13


def test_a_url_overrides_the_defaults(database_url: str) -> None:
    with connect(database_url + "?application_name=mine&connect_timeout=9") as connection:
        assert one(connection, "SHOW application_name") == "mine"
        assert connection.info.get_parameters()["connect_timeout"] == "9"


def test_a_read_leaves_no_transaction_open(database_url: str) -> None:
    with connect(database_url) as connection:
        ping(connection)
        assert connection.info.transaction_status.name == "IDLE"


def work(connection: Connection, *statements: str) -> None:
    with unit_of_work(connection):
        for statement in statements:
            connection.execute(statement.encode())


def test_unit_of_work_is_all_or_nothing(database_url: str) -> None:
    run(database_url, "CREATE TABLE t (n int PRIMARY KEY)")
    with connect(database_url) as connection:
        work(connection, "INSERT INTO t VALUES (1)")
        with pytest.raises(MigrationMissing):
            work(connection, "INSERT INTO t VALUES (2)", "INSERT INTO absent VALUES (1)")
        assert not connection.closed
        assert one(connection, "SELECT array_agg(n) FROM t") == [1]


def test_waiting_for_a_lock_ends_as_busy_and_the_connection_lives(database_url: str) -> None:
    run(database_url, "CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1)")
    with connect(database_url) as holder, connect(database_url, lock_timeout_s=0.1) as other:
        with unit_of_work(holder):
            holder.execute("UPDATE t SET n = 2")
            with pytest.raises(DatabaseBusy), unit_of_work(other):
                other.execute("UPDATE t SET n = 3")
        ping(other)


class Struck(Exception):
    """What a job timeout raises from its signal handler."""


@contextmanager
def alarm(after_s: float) -> Iterator[None]:
    def strike(*_: object) -> None:
        raise Struck

    former = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, after_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def test_a_signal_during_a_statement_closes_the_connection(database_url: str) -> None:
    run(database_url, "CREATE TABLE t (n int)")
    with connect(database_url) as watcher:
        connection = connect(database_url)
        with pytest.raises(Struck), alarm(0.3):
            work(connection, "INSERT INTO t VALUES (1)", "SELECT pg_sleep(20)")
        assert connection.closed
        assert one(watcher, "SELECT count(*) FROM t") == 0


def test_a_signal_during_commit_leaves_all_or_nothing(database_url: str) -> None:
    """A deferred trigger makes the commit itself slow, and the signal strikes inside it."""
    run(
        database_url,
        """
        CREATE TABLE t (n int);
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.8); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION dawdle();
        """,
    )
    with connect(database_url) as watcher:
        connection = connect(database_url, application_name="struck")
        with pytest.raises(Struck), alarm(0.4):
            work(connection, "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)")
        assert connection.closed
        sessions = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'struck'"
        eventually(lambda: one(watcher, sessions))
        assert one(watcher, "SELECT count(*) FROM t") in (0, 2)


def test_a_lost_server_is_named(database_url: str) -> None:
    with connect(database_url) as killer:
        connection = connect(database_url)
        pid = connection.info.backend_pid
        killer.execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1"), unit_of_work(connection):
            connection.execute("SELECT 1")
        assert connection.closed
