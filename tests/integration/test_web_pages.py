"""The pages on real servers: who gets in, what they show, and what stays readable in an outage."""

from __future__ import annotations

import re
from base64 import b64encode

import pytest
from flask.testing import FlaskClient
from redis import Redis

from db.connection import connect
from db.symbols import Asset, SymbolRepository
from local.servers.postgres import PostgresServer
from local.servers.valkey import ValkeyServer
from queueing import Priority, Request
from settings import Settings
from tests.kit.db_data import CRITICAL
from tests.kit.health import System
from tests.kit.waiting import eventually
from web.app import create_app

PAGES = ("/", "/freshness", "/asset?symbol=XAUUSD", "/quota", "/health")
ASSETS = (*CRITICAL, *(Asset(f"T{n:03}USD", f"X:T{n:03}USD", "crypto", None, 4) for n in range(97)))


def login(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


ADMIN, READER = login("admin", "of-the-admin"), login("reader", "of-the-reader")


@pytest.fixture
def settings(redis_url: str, migrated_url: str) -> Settings:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many(ASSETS)
    return Settings.model_validate({"REDIS_URL": redis_url, "DATABASE_URL": migrated_url})


@pytest.fixture
def system(settings: Settings, r: Redis) -> System:
    system = System(settings, r)
    system.make_healthy()
    return system


@pytest.fixture
def locked(settings: Settings) -> FlaskClient:
    passwords = {"web_password": "of-the-admin", "web_reader_password": "of-the-reader"}
    return create_app(Settings(**{**settings.model_dump(), **passwords})).test_client()


def symbols(client: FlaskClient, path: str) -> list[str]:
    return re.findall(r'<tr id="a-([^"]+)"', client.get(path).text)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_says_what_it_is_and_lets_no_foreign_script_run(system: System, path: str) -> None:
    answer = system.client.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", answer.text)
    assert not re.search(r'(?:href|src|action)="/', answer.text), "only relative links"


def test_static_files_are_kept_for_ever_under_names_of_their_content(system: System) -> None:
    found = set(re.findall(r'(static/[\w.]+)"', system.client.get("/").text))
    assert len(found) == 3
    for path in found:
        answer = system.client.get(f"/{path}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]
    assert system.client.get("/static/app.000000000000.js").status_code == 404
    assert system.client.get("/static/../app.py").status_code == 404


@pytest.mark.parametrize("path", [*PAGES, "/live"])
def test_without_a_password_pages_are_for_this_machine(system: System, path: str) -> None:
    for given in (
        {"environ_base": {"REMOTE_ADDR": "10.1.2.3"}},
        {"headers": {"X-Forwarded-For": "10.1.2.3"}},
        {"headers": {"Host": "attacker.example"}},
    ):
        answer = system.client.get(path, **given)
        assert answer.status_code == 403
        assert "set WEB_PASSWORD" in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_with_a_password_both_users_look_and_others_are_asked_to_log_in(
    locked: FlaskClient, path: str
) -> None:
    assert locked.get(path).status_code == 401
    assert locked.get(path, headers=login("reader", "of-the-admin")).status_code == 401
    elsewhere = {"REMOTE_ADDR": "10.1.2.3"}
    for user in (ADMIN, READER):
        assert locked.get(path, headers=user, environ_base=elsewhere).status_code == 200
    assert locked.get("/rq/", headers=READER).status_code == 403


def test_wrong_logins_are_throttled(locked: FlaskClient) -> None:
    wrong = [locked.get("/", headers=login("admin", str(n))).status_code for n in range(61)]
    assert wrong == [401] * 60 + [429]
    assert locked.get("/", headers=ADMIN).status_code == 429


def test_now_shows_what_waits(system: System) -> None:
    system.context.queue.enqueue([Request("T001USD")], Priority.HIGH)
    system.context.limiter.consume(5, who="elsewhere")
    text = system.client.get("/").text
    assert 'id="q-T001USD"' in text
    assert "The calls of this window are used up" in text
    assert text.count("elsewhere: counted") == 5


def test_freshness_is_searched_filtered_and_paged(system: System) -> None:
    client = system.client
    assert len(symbols(client, "/freshness")) == 50
    assert len(symbols(client, "/freshness?page=2")) == 50
    assert symbols(client, "/freshness?page=99") == symbols(client, "/freshness?page=2")
    assert symbols(client, "/freshness?q=t07&sort=symbol") == [f"T07{n}USD" for n in range(10)]
    assert symbols(client, "/freshness?q=eur/usd") == ["EURUSD"]
    assert symbols(client, "/freshness?q=gold&state=never") == ["XAUUSD"]
    assert symbols(client, "/freshness?state=dead&market=%00&page=-1") == []
    assert "No asset matches" in client.get("/freshness?q=<script>").text
    assert "<script>" not in client.get("/freshness?q=<script>").text.partition("<main")[2]


def test_pages_outlive_postgresql(system: System, pg_server: PostgresServer) -> None:
    assert "never" in system.client.get("/freshness").text
    pg_server.stop()
    try:
        for path in PAGES:
            assert "PostgreSQL" in system.client.get("/health").text
            assert system.client.get(path).status_code == 200
        system.app.extensions["assetq-site"].board.forget()
        assert "PostgreSQL cannot be used (Connection refused)" in (
            system.client.get("/freshness").text
        )
    finally:
        pg_server.start()

    def it_is_back() -> list[str]:  # the look that found it away is believed for a second
        return symbols(system.client, "/freshness?q=gold")

    assert eventually(it_is_back) == ["XAUUSD"]


def test_pages_outlive_redis(system: System, valkey_server: ValkeyServer) -> None:
    valkey_server.stop()
    try:
        for path in PAGES:
            answer = system.client.get(path)
            assert answer.status_code == 200
            assert "Redis does not answer" in answer.text
    finally:
        valkey_server.start()
    assert "healthy" in system.client.get("/").text


def test_pages_and_metrics_share_one_connection_to_postgresql(system: System) -> None:
    def sessions() -> list[int]:
        query = b"""SELECT pid FROM pg_stat_activity
                    WHERE application_name = 'assetq web' AND datname = current_database()"""
        with connect(system.context.settings.database_url) as connection:
            return [row[0] for row in connection.execute(query)]

    assert 'assetq_asset_target_seconds{priority="critical",symbol="EURUSD"}' in system.metrics()
    kept = sessions()
    assert len(kept) == 1
    for _ in range(3):
        system.metrics()
        system.client.get("/freshness")
    assert sessions() == kept
