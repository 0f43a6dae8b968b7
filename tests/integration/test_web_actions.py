"""Changing something on the pages: each right apart, for admin alone, from our own pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import structlog
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from db.connection import connect
from db.symbols import SymbolRepository
from queueing import Bury, Claimed, Death, Priority, Request
from settings import Settings
from tests.integration.test_web_pages import ADMIN, READER
from tests.kit.db_data import CRITICAL, ETH
from tests.kit.health import System
from web.app import create_app

ACTIONS: Mapping[str, dict[str, str]] = {
    "refresh": {"symbol": "EURUSD"},
    "dead": {"symbol": "ETHUSDT", "do": "retry"},
    "pause": {"symbol": "EURUSD", "do": "pause"},
    "block": {"minutes": "15"},
    "consume": {"count": "2"},
}
"""Right → fields that change something."""

FROM_ELSEWHERE = (
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://attacker.example"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://attacker.example"},
    {"Origin": "null"},
)
BACK = {
    "freshness?q=eur&page=2": "../freshness?q=eur&page=2&told=",
    "./?": ".././?told=",
    "health": "../health?told=",
    "https://attacker.example/": ".././?told=",
    "//attacker.example": ".././?told=",
    "../../x": ".././?told=",
    "health?\r\nX: y": ".././?told=",
}
MISTAKES: tuple[tuple[str, dict[str, str], str], ...] = (
    ("refresh", {}, "is not an asset"),
    ("refresh", {"symbol": "'; DROP TABLE"}, "is not an asset"),
    ("refresh", {"symbol": "é" * 900}, "is not an asset"),
    ("dead", {"symbol": "ETHUSDT"}, "retry or drop"),
    ("dead", {"symbol": "ETHUSDT", "do": "eat"}, "retry or drop"),
    ("pause", {"symbol": "EURUSD"}, "pause or resume"),
    ("pause", {"symbol": "NOSUCH", "do": "pause"}, "is not an asset"),
    ("block", {"minutes": "0"}, "a whole number from 1 to 1440"),
    ("block", {"minutes": "-1"}, "a whole number"),
    ("block", {"minutes": "1e3"}, "a whole number"),
    ("block", {"minutes": "99999"}, "a whole number"),
    ("consume", {"count": "٣"}, "a whole number from 1 to 10000"),
    ("consume", {}, "a whole number"),
)


@pytest.fixture
def settings(redis_url: str, migrated_url: str) -> Settings:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many([*CRITICAL, ETH])
    return Settings.model_validate(
        {
            "REDIS_URL": redis_url,
            "DATABASE_URL": migrated_url,
            "web_password": "of-the-admin",
            "web_reader_password": "of-the-reader",
        }
    )


@pytest.fixture
def system(settings: Settings, r: Redis) -> System:
    """One dead letter, and every permit free."""
    system = System(settings, r)
    system.make_healthy()
    queue = system.context.queue
    queue.enqueue([Request("ETHUSDT", {"symbol": "ETHUSDT", "ticker": "X:ETHUSDT"})])
    claimed = queue.claim(who="test")
    assert isinstance(claimed, Claimed)
    queue.end(claimed, [Bury("ETHUSDT", Death.INVALID, "404")], answered=True)
    system.context.limiter.reset()
    return system


def state_of(system: System) -> Any:
    """Everything that an action may change."""
    context, redis = system.context, system.context.redis
    quota = context.limiter.status()
    with connect(context.settings.database_url) as connection:
        assets = SymbolRepository(connection).list()
    return (
        [asset.symbol for asset in assets],
        sorted(context.queue.pending()),
        [letter.symbol for letter in context.queue.dead()],
        quota.in_use,
        quota.blocked_until_ms > quota.now_ms,
        redis.llen("rq:queue:assetq-massive"),
    )


def act(client: FlaskClient, name: str, user: Any = ADMIN, **more: Any) -> TestResponse:
    given = {"data": ACTIONS[name], "headers": user, **more}
    return client.post(f"/actions/{name}", **given)


def told(answer: TestResponse, code: int = 200) -> str:
    assert answer.status_code == code, answer.text
    return str(answer.get_json()["told"])


def as_json(**more: str) -> dict[str, str]:
    return {**ADMIN, "Accept": "application/json", **more}


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_changes_something_and_is_written_down(system: System, name: str) -> None:
    before = state_of(system)
    with structlog.testing.capture_logs() as lines:
        answer = act(system.client, name, as_json(), environ_base={"REMOTE_ADDR": "10.1.2.3"})
    text = told(answer)
    assert state_of(system) != before
    (line,) = [line for line in lines if line["event"] == "web.action"]
    assert (line["user"], line["address"], line["action"]) == ("admin", "10.1.2.3", name)
    page = system.client.get("/health", headers=READER).text.partition('id="actions"')[2]
    assert "10.1.2.3" in page
    assert text[:12] in page


@pytest.mark.parametrize("name", ACTIONS)
def test_nobody_else_changes_anything(settings: Settings, system: System, name: str) -> None:
    client, before = system.client, state_of(system)
    refused = act(client, name, READER)
    assert refused.status_code == 403
    assert "needs the login admin" in refused.text
    assert act(client, name, {}).status_code == 401
    for elsewhere in FROM_ELSEWHERE:
        answer = act(client, name, {**ADMIN, **elsewhere})
        assert answer.status_code == 403
        assert "another site" in answer.text
    query = "&".join(f"{key}={value}" for key, value in ACTIONS[name].items())
    assert client.get(f"/actions/{name}?{query}", headers=ADMIN).status_code == 405
    for less in (
        {"web_password": None},
        {"web_password": None, "web_reader_password": None},
        {"web_actions": ",".join(set(ACTIONS) - {name})},
    ):
        other = create_app(Settings.model_validate({**settings.model_dump(), **less}))
        for user in (ADMIN, READER, {}):
            assert act(other.test_client(), name, user).status_code in (401, 403)
        for path in ("/", "/freshness", "/health"):
            text = other.test_client().get(path, headers=ADMIN).text
            assert f"actions/{name}" not in text
    assert state_of(system) == before
    health = client.get("/health", headers=READER).text
    assert "actions/" not in health
    assert "refused: no right" in health


def test_a_form_leads_back_to_its_page_and_nowhere_else(system: System) -> None:
    for back, page in BACK.items():
        answer = system.client.post(
            "/actions/refresh", data={"symbol": "EURUSD", "back": back}, headers=ADMIN
        )
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith(page)
        token = answer.headers["Location"].rpartition("told=")[2]
        shown = system.client.get(f"/health?told={token}", headers=ADMIN).text
        assert "EURUSD is asked for" in shown


def test_refresh_raises_an_asset_to_high_and_starts_a_drain(system: System) -> None:
    system.client.post("/actions/refresh", data={"symbol": "ETHUSDT"}, headers=ADMIN)
    (item,) = system.context.queue.peek(5)
    assert (item.symbol, item.priority) == ("ETHUSDT", Priority.HIGH)
    assert system.context.redis.llen("rq:queue:assetq-massive") == 1


def test_dead_letters_are_dropped_one_by_one_and_all_retried(system: System) -> None:
    one = {"symbol": "ETHUSDT", "do": "drop"}
    answer = system.client.post("/actions/dead", data=one, headers=as_json())
    assert told(answer).startswith("Deleted: ETHUSDT.")
    assert system.context.queue.dead() == []
    every = {"symbol": "*", "do": "retry"}
    answer = system.client.post("/actions/dead", data=every, headers=as_json())
    assert "not among the dead letters" in told(answer, 409)


def test_a_paused_asset_is_not_asked_for_until_it_is_resumed(system: System) -> None:
    system.context.queue.enqueue([Request("EURUSD")], Priority.CRITICAL)
    assert told(act(system.client, "pause", as_json())) == "EURUSD is paused."
    assert told(act(system.client, "pause", as_json())) == "EURUSD was paused before."
    assert system.context.queue.pending() == []
    assert "is not an asset" in told(act(system.client, "refresh", as_json()), 409)
    row = system.client.get("/freshness?q=EURUSD", headers=ADMIN).text
    assert "word-paused" in row
    resume = {"symbol": "EURUSD", "do": "resume"}
    answer = system.client.post("/actions/pause", data=resume, headers=as_json())
    assert told(answer) == "EURUSD is asked for again."
    assert "EURUSD" in system.context.queue.pending()


def test_a_block_is_lifted(system: System) -> None:
    act(system.client, "block")
    status = system.context.limiter.status()
    assert 14 * 60_000 < status.blocked_until_ms - status.now_ms <= 15 * 60_000
    lift = system.client.post("/actions/block", data={"do": "lift"}, headers=as_json())
    assert told(lift) == "Calls are not blocked."
    assert system.context.limiter.status().blocked_until_ms <= status.now_ms


def test_a_mistake_is_told_and_changes_nothing(system: System) -> None:
    before = state_of(system)
    for name, fields, why in MISTAKES:
        answer = system.client.post(f"/actions/{name}", data=fields, headers=as_json())
        text = told(answer, 409)
        assert why in text
        assert len(text) < 500
    assert state_of(system) == before
    assert system.client.post("/actions/eat", headers=ADMIN).status_code == 404
    huge = {"symbol": "x" * 20_000}
    assert system.client.post("/actions/refresh", data=huge, headers=ADMIN).status_code == 413


def test_the_log_of_actions_is_bounded_and_survives_what_others_write(system: System) -> None:
    redis, key = system.context.redis, system.context.keys.actions
    for _ in range(3):
        act(system.client, "consume")
    redis.lpush(key, "not json", json.dumps({"odd": 1}))
    assert "Counted 2 calls" in system.client.get("/health", headers=ADMIN).text
    assert 0 < redis.pttl(key) <= 90 * 24 * 3600 * 1000
