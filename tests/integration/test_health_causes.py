"""Causes on real servers: each is named while it lasts, with its remedy, and gone afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from redis import Redis

from local.servers.postgres import PostgresServer
from queueing import Bury, Claimed, Death, Priority, Request, Retry
from runtime import heartbeat
from runtime.logs import Lines
from runtime.redis_outage import OutageKind
from settings import Settings
from tests.integration.test_runtime_redis_outage import busy, configured, replica
from tests.kit.db_data import run
from tests.kit.health import MINUTE_MS, System
from tests.kit.security import ROLE, least_role
from worker.rq_classes import TickJob
from worker.ticks import Ticks

HOUR_MS = 60 * MINUTE_MS


@pytest.fixture
def settings(redis_url: str, migrated_url: str) -> Settings:
    return Settings.model_validate({"REDIS_URL": redis_url, "DATABASE_URL": migrated_url})


@pytest.fixture
def system(settings: Settings, r: Redis) -> System:
    system = System(settings, r)
    system.make_healthy()
    return system


# --- servers


@pytest.mark.parametrize(
    ("kind", "text", "provoked"),
    [
        ("memory", "no memory left", lambda r: configured(r, "maxmemory", "100kb", "0")),
        (
            "replicas",
            "too few replicas",
            lambda r: configured(r, "min-replicas-to-write", "1", "0"),
        ),
        ("read-only", "read-only replica", replica),
        ("script", "A script keeps Redis busy", busy),
    ],
)
def test_redis_answers_and_refuses(
    system: System,
    r: Redis,
    kind: str,
    text: str,
    provoked: Callable[[Redis], AbstractContextManager[None]],
) -> None:
    system.becomes("healthy")
    with provoked(r):
        body = system.becomes("unhealthy", text)
        assert body["servers"] == {"redis": False, "postgresql": True}
        (cause,) = body["causes"]
        assert cause["cause"] == f"redis.{kind}"
        assert cause["remedy"] in body["reasons"][0]
        assert f'assetq_cause{{cause="redis.{kind}",level="unhealthy"}} 1' in system.metrics()
        assert 'assetq_server_up{server="redis"} 0' in system.metrics()
    system.becomes("healthy")
    assert "assetq_cause{" not in system.metrics()


def test_redis_takes_a_right_away(settings: Settings, r: Redis) -> None:
    r.execute_command("ACL", "SETUSER", "u", "on", ">p", "~*", "&*", "+@all")
    try:
        url = settings.redis_url.replace("redis://", "redis://u:p@")
        system = System(
            Settings.model_validate({"REDIS_URL": url, "DATABASE_URL": settings.database_url}), r
        )
        system.make_healthy()
        system.becomes("healthy")
        r.execute_command("ACL", "SETUSER", "u", "-xadd")
        system.becomes("unhealthy", "Redis does not let this user work (no right to XADD its keys)")
        r.execute_command("ACL", "SETUSER", "u", "-@all")
        body = system.becomes("unhealthy", "Redis does not let this user work (no permissions")
        assert body["causes"][0]["cause"] == f"redis.{OutageKind.RIGHTS}"
    finally:
        r.acl_deluser("u")


def test_postgresql_is_read_only(system: System, pg_server: PostgresServer) -> None:
    url = system.context.settings.database_url
    name = url.rpartition("/")[2].partition("?")[0]
    run(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    body = system.becomes("unhealthy", "PostgreSQL cannot be used (it is read-only)")
    assert body["servers"]["postgresql"] is False
    run(pg_server.url("postgres"), f"ALTER DATABASE {name} RESET default_transaction_read_only")
    system.becomes("healthy")


@pytest.mark.parametrize(
    "right", ["INSERT ON market_data.ohlcv_5m", "UPDATE (metadata) ON trading.symbols"]
)
def test_postgresql_takes_a_right_away(
    settings: Settings, r: Redis, migrated_url: str, right: str
) -> None:
    with least_role(migrated_url) as url:
        system = System(settings.model_copy(update={"database_url_given": url}), r)
        system.make_healthy()
        system.becomes("healthy")
        verb, _, table = right.partition(" ON ")
        run(migrated_url, f"REVOKE {verb} ON {table} FROM assetq_worker")
        system.becomes("unhealthy", f"the database user lacks {right}")
        assert ROLE not in str(system.health())
        run(migrated_url, f"GRANT {verb} ON {table} TO assetq_worker")
        system.becomes("healthy")


# --- processes and rounds


def test_rq_is_suspended(system: System, r: Redis) -> None:
    r.set("rq:suspended", 1)
    system.becomes("unhealthy", "RQ is suspended in this Redis")
    assert "`rq resume -u $REDIS_URL`" in system.health()["reasons"][0]
    assert system.health()["quota"]["next_call"]["urgent"]["why"] == "suspended"
    r.delete("rq:suspended")
    system.becomes("healthy")


def test_secondary_rounds_are_missing(system: System, r: Redis) -> None:
    system.web_is_up_since(3 * 3600)
    key, now_s = system.context.keys.secondary, system.context.redis_now_ms() // 1000
    system.becomes("degraded", "No secondary round has run (one is due every 30 min), since 20")
    for strange in (str(now_s + 3600), "9" * 30, "-5", "soon"):
        r.set(key, strange)
        system.becomes("degraded", "No secondary round has run")
    r.set(key, now_s - 3000)
    system.becomes("healthy")


def test_ticks_fail(system: System) -> None:
    ticks = Ticks(system.context.redis, system.context.keys)
    try:
        for kind, ttl_s in (("batch", 0), ("batch", 0), ("drain", 0), ("secondary", -3700)):
            job = TickJob.fetch(ticks.push(kind), connection=ticks.queue.connection)
            ticks.queue.remove(job)
            ticks.queue.failed_job_registry.add(job, ttl=TickJob.FAILURE_TTL_S + ttl_s)
        system.becomes("degraded", "Ticks failed within the last hour (2 batch, 1 drain)")
        assert "assetq_failed_ticks 3" in system.metrics()
    finally:
        ticks.close()


# --- assets


def fail(system: System, symbol: str, *, attempts: int) -> None:
    queue = system.context.queue
    queue.enqueue([Request(symbol)], Priority.HIGH)
    for _ in range(attempts):
        system.context.redis.zadd(system.context.keys.delayed, {symbol: 1}, xx=True)
        claimed = queue.claim()
        assert isinstance(claimed, Claimed), claimed
        retry = Retry(symbol, 60_000, Priority.LOW, "ProviderDown: 502")
        queue.end(claimed, [retry], answered=True)
        system.context.limiter.reset()


def test_failing_and_dead_assets_are_listed_with_their_reasons(system: System) -> None:
    fail(system, "ONCE", attempts=1)
    system.becomes("healthy")
    fail(system, "TWICE", attempts=2)
    body = system.becomes("degraded", "1 asset fails: TWICE (ProviderDown: 502)")
    listed = {row["symbol"]: row for row in body["assets"]["failing_assets"]}
    assert body["assets"]["failing"] == 2
    assert listed["TWICE"] == {"symbol": "TWICE", "attempts": 2, "error": "ProviderDown: 502"}
    assert "assetq_failing_items 2" in system.metrics()
    system.context.queue.cancel(["ONCE", "TWICE"])

    queue = system.context.queue
    for symbol, kind in (("GONE", Death.INVALID), ("SPENT", Death.TRANSIENT)):
        queue.enqueue([Request(symbol)], Priority.HIGH)
        claimed = queue.claim()
        assert isinstance(claimed, Claimed)
        queue.end(claimed, [Bury(symbol, kind, "its reason")], answered=True)
    body = system.becomes("degraded", "1 asset fails: SPENT (its reason)")
    assert {row["symbol"] for row in body["assets"]["dead_assets"]} == {"GONE", "SPENT"}
    assert "assetq_dead_items 2" in system.metrics()


def test_a_failing_asset_is_found_behind_many_that_pause(system: System) -> None:
    queue, redis = system.context.queue, system.context.redis
    names = [f"PAUSED{n}" for n in range(450)]
    queue.enqueue(map(Request, names), Priority.CRITICAL)
    redis.zadd(queue.keys.delayed, dict.fromkeys(names, system.context.redis_now_ms() + MINUTE_MS))
    redis.delete(queue.keys.queue)
    fail(system, "TWICE", attempts=2)
    redis.zincrby(queue.keys.delayed, MINUTE_MS, "TWICE")
    system.becomes("degraded", "1 asset fails: TWICE (ProviderDown: 502)")


def test_a_log_that_cannot_be_written(
    system: System, r: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.becomes("healthy")
    with Path("/dev/full").open("w") as full:
        log = Lines(full)
        monkeypatch.setattr("runtime.logs._configured", [log])
        log.msg("lost")
        heartbeat.beat(r, system.context.keys, "worker@test-1")
        system.becomes("degraded", "The log of worker@test-1 cannot be written")
    log.lost = 0
    heartbeat.beat(r, system.context.keys, "worker@test-1")
    system.becomes("healthy")


# --- clocks


def test_times_of_the_future_are_unknown(system: System, r: Redis) -> None:
    """Redis' clock was an hour ahead, and has been set right."""
    keys, now_ms = system.context.keys, system.context.redis_now_ms()
    system.forget_batches()
    system.batch(minutes_ago=-60)
    r.zadd(keys.heartbeats, {"worker@test-1": now_ms + HOUR_MS})
    r.set(keys.secondary, now_ms // 1000 + 3600)
    system.web_is_up_since(3 * 3600)
    system.observer._last_seen_ms.clear()
    body = system.becomes("unhealthy", "No worker is alive")
    assert body["last_priority_update"] is None
    assert body["workers"] == []
    assert "last_batch_timestamp" not in system.metrics()
    assert "worker@test-1" not in system.metrics()
    heartbeat.beat(r, keys, "worker@test-1")
    system.becomes("unhealthy", "No batch has run yet", "No secondary round has run")
    r.set(keys.secondary, now_ms // 1000)
    system.batch()
    system.becomes("healthy")


def test_no_calls_remain_while_they_are_blocked(system: System) -> None:
    assert system.health()["api_calls_remaining"] == 5
    system.context.limiter.block(MINUTE_MS, "429: too many calls")
    body = system.health()
    assert (body["api_calls_remaining"], body["quota"]["free"]) == (0, 5)
    assert body["quota"]["next_call"]["urgent"]["text"] == "Calls are blocked (429: too many calls)"
