"""The embedded servers: start, stop, crash, second start, strangers on the port."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from local.servers.errors import ExecutableMissing, StartFailed
from local.servers.postgres import PostgresServer
from local.servers.process import Child, Command, command_line
from local.servers.valkey import ValkeyServer
from tests.kit.ports import own_port
from tests.kit.waiting import eventually


def test_valkey_keeps_its_data_over_a_stop_and_a_kill(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "with a space", port=own_port())
    server.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            client.set("a", 1)
        server.stop()
        assert not server.is_running
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("a") == b"1"
            client.set("b", 2)
            client.config_set("appendfsync", "always")
            client.set("c", 3)
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.mget("b", "c") == [b"2", b"3"]
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
    finally:
        server.kill()


def test_valkey_says_whether_all_of_it_is_there(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path)
    assert server.ended_in_order() is None, "there was none"
    server.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            run_id = client.info("server")["run_id"]
        assert server.ended_in_order() is None, "it runs"
        server.stop()
        assert server.ended_in_order() == run_id
        server.start()
        server.kill()
        assert server.ended_in_order() is None, "it was killed"
    finally:
        server.kill()


def test_a_server_that_a_crash_left_behind_is_ended_first(tmp_path: Path) -> None:
    left, ours = ValkeyServer(tmp_path), ValkeyServer(tmp_path)
    left.start()
    try:
        with redis.Redis.from_url(left.url) as client:
            client.set("a", 1)
        ours.start()
        assert not left.is_running
        with redis.Redis.from_url(ours.url) as client:
            assert client.get("a") == b"1"
    finally:
        left.kill()
        ours.kill()


def test_a_stranger_on_the_port_is_not_taken_for_ours(
    tmp_path: Path, valkey_server: ValkeyServer
) -> None:
    valkey_server.start()
    ours = ValkeyServer(tmp_path, port=valkey_server.port)
    with pytest.raises(StartFailed, match=r"valkey did not start"):
        ours.start()


def test_a_port_taken_in_the_meantime_is_exchanged(
    tmp_path: Path, valkey_server: ValkeyServer
) -> None:
    valkey_server.start()
    ours = ValkeyServer(tmp_path)
    ours.port = valkey_server.port
    ours.start()
    try:
        assert ours.port != valkey_server.port
    finally:
        ours.kill()


def test_postgres_survives_a_crash_with_what_was_committed(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "with a space", port=own_port(), durable=False)
    server.start()
    try:
        url = server.ensure_database()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS a")
        server.kill()
        server.start()
        with psycopg.connect(url, autocommit=True) as connection:
            assert connection.execute("SELECT a FROM t").fetchone() == (1,)
            server.stop()  # fast, although a client is connected
        assert not server.is_running
        # A process id that belongs to another process by now must not stop the next start.
        (server.cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{server.cluster}\n0\n")
        server.start()
        assert server.ensure_database() == url
    finally:
        server.kill()


def test_busy_sessions_of_a_killed_postgres_are_waited_for(tmp_path: Path) -> None:
    def refused(command: Command) -> Child:
        """A server that starts, or whose refusal is not the last word of the log."""
        child = Child(command)
        eventually(lambda: child.exit_code() is not None or server.answers(child.pid))
        with command.log.open("a") as log:
            log.write("FATAL:  terminating connection due to unexpected postmaster exit\n")
        return child

    server = PostgresServer(tmp_path, port=own_port(), durable=False)
    server.start()
    try:
        url = server.ensure_database()
        busy = "SELECT count(*) FROM generate_series(1, 20000000)"  # some seconds, and deaf
        session = subprocess.Popen(
            [sys.executable, "-c", "import psycopg, sys; psycopg.connect(sys.argv[1], "
             "autocommit=True).execute(sys.argv[2])", url, busy], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with psycopg.connect(url, autocommit=True) as connection:
            running = "SELECT 1 FROM pg_stat_activity WHERE query = %s AND state = 'active'"
            eventually(lambda: connection.execute(running, (busy,)).fetchone() is not None)
        server.kill()
        server.start(refused)
        assert server.ensure_database() == url
        session.wait(60)
        assert "old server processes" in server.log.read_text()  # it was refused at first
    finally:
        server.kill()


def test_a_postgres_that_a_crash_left_behind_is_ended_first(tmp_path: Path) -> None:
    left = PostgresServer(tmp_path, durable=False)
    left.start()
    ours = PostgresServer(tmp_path, durable=False)
    try:
        ours.start()
        assert not left.is_running
        assert ours.ensure_database()
    finally:
        left.kill()
        ours.kill()


def test_an_interrupted_initdb_is_begun_again(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path, durable=False)
    half = server.cluster.with_name(server.cluster.name + ".new")
    half.mkdir()
    (half / "half").touch()
    server.start()
    try:
        assert not half.exists()
    finally:
        server.kill()


def test_postgres_asks_for_its_password(pg_server: PostgresServer) -> None:
    pg_server.start()
    password = pg_server.data_dir / "postgres.password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert stat.S_IMODE(pg_server.cluster.stat().st_mode) == 0o700
    wrong = pg_server.url("postgres").replace(password.read_text(), "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    assert password.read_text() not in pg_server.log.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a closed home and another user")
def test_as_root_postgres_runs_as_nobody_below_a_closed_directory(tmp_path: Path) -> None:
    closed = tmp_path / "closed home"
    closed.mkdir(mode=0o700)
    server = PostgresServer(closed / "data", durable=False)
    server.start()
    try:
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert "Uid:\t65534" in status
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert server.ensure_database()
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("variable", "build"), [("VALKEY_SERVER", ValkeyServer), ("PG_BIN", PostgresServer)]
)
def test_a_wrong_override_is_named(
    variable: str, build: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/no/such/thing")
    with pytest.raises(ExecutableMissing, match=f"{variable}=/no/such/thing"):
        build(tmp_path)


_OWNER = """
import signal, sys
from pathlib import Path
from local.servers.postgres import PostgresServer
from local.servers.valkey import ValkeyServer
servers = [ValkeyServer(Path(sys.argv[1])), PostgresServer(Path(sys.argv[1]), durable=False)]
for server in servers:
    server.start()
print(*(server.pid for server in servers), flush=True)
signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_servers_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pids = [int(word) for word in owner.stdout.readline().split()]
    assert len(pids) == 2
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    eventually(lambda: not any(command_line(pid) for pid in pids), what="servers are gone")
