"""Each status of /health/batch on real servers: provoked, and cleared again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from local.servers.postgres import PostgresServer
from local.servers.valkey import ValkeyServer
from queueing import Bury, Claimed, Death, Done, Priority, Request
from runtime import heartbeat
from settings import Settings
from tests.kit.health import MINUTE_MS, System


def everything(system: System) -> dict[bytes, bytes]:
    """Each key, serialized."""
    with Redis.from_url(system.context.settings.redis_url) as raw:
        return {key: raw.dump(key) for key in sorted(raw.scan_iter("*"))}


def told_within(limit_s: float, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is told; on a busy machine one of three answers comes in time, else none does."""
    for _ in range(3):
        began = time.monotonic()
        body = ask()
        if time.monotonic() - began < limit_s:
            return body
    raise AssertionError(f"never within {limit_s} s")


@pytest.fixture
def settings(redis_url: str, migrated_url: str) -> Settings:
    return Settings.model_validate({"REDIS_URL": redis_url, "DATABASE_URL": migrated_url})


@pytest.fixture
def system(settings: Settings, r: Redis) -> System:
    system = System(settings, r)
    system.make_healthy()
    return system


def test_healthy_tells_everything_that_was_asked_for(system: System) -> None:
    system.context.queue.enqueue([Request("GBPUSD")], Priority.HIGH)
    body = system.becomes("healthy")
    assert body["reasons"] == []
    assert [set(job) for job in body["jobs"]] == [{"id", "name", "next_run", "trigger"}] * 2
    assert all(job["next_run"].endswith("+00:00") for job in body["jobs"])
    queue = body["queue"]
    assert queue["total_items"] == 1
    expected = {"CRITICAL": 0, "HIGH": 1, "MEDIUM": 0, "LOW": 0, "BARS": 0, "BACKFILL": 0}
    assert queue["by_priority"] == expected
    assert 0 <= queue["oldest_item_age_seconds"] < 60
    assert body["last_priority_update"].endswith("Z")
    assert body["api_calls_remaining"] == 5
    assert {name: metric["ok"] for name, metric in body["metrics"].items()} == {
        "batch.priority.success_rate": True,
        "batch.priority.latency_ms": True,
        "queue.size": True,
        "api.rate_limit_waits": True,
    }
    assert [worker["name"] for worker in body["workers"]] == ["worker@test-1"]


def test_looking_changes_nothing(system: System) -> None:
    system.becomes("healthy")

    before = everything(system)
    for path in ("/health/batch", "/metrics", "/healthz", "/"):
        assert system.client.get(path).status_code == 200
    assert everything(system) == before


def test_redis_away_and_back(system: System, valkey_server: ValkeyServer) -> None:
    system.becomes("healthy")
    valkey_server.stop()
    try:
        body = system.becomes("unhealthy", "Redis does not answer (Connection refused), seen since")
        assert body["queue"]["total_items"] is None
        assert body["jobs"][0]["next_run"] is None
        assert 'assetq_server_up{server="redis"} 0' in system.client.get("/metrics").text
    finally:
        valkey_server.start()
    system.beat()  # a busy machine may take its time for a restart
    system.becomes("healthy")  # also over connections that the restart has broken


def test_frozen_redis_is_told_in_time(system: System, valkey_server: ValkeyServer) -> None:
    system.becomes("healthy")
    pid = int(system.context.redis.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        body = told_within(3, system.health)
        assert body["status"] == "unhealthy"
        assert "Redis does not answer (no answer in time)" in body["reasons"][0]
    finally:
        os.kill(pid, signal.SIGCONT)
    system.beat()
    system.becomes("healthy")


def test_postgresql_away_and_back(system: System, pg_server: PostgresServer) -> None:
    system.becomes("healthy")
    pg_server.stop()
    try:
        body = system.becomes("unhealthy", "PostgreSQL cannot be used (Connection refused")
        assert body["queue"]["total_items"] == 0
        assert body["servers"] == {"redis": True, "postgresql": False}
        assert str(pg_server.port) not in str(body)
    finally:
        pg_server.start()
    system.beat()
    system.becomes("healthy")


def test_postgresql_that_never_answers_is_told_in_time(settings: Settings, r: Redis) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts, and says nothing
        url = f"postgresql://u:geheim@127.0.0.1:{mute.getsockname()[1]}/d"
        system = System(settings.model_copy(update={"database_url_given": url}), r)
        system.make_healthy()

        def health_of_five() -> dict[str, Any]:
            threads = [threading.Thread(target=system.health) for _ in range(4)]
            for thread in threads:
                thread.start()
            body = system.health()
            for thread in threads:
                thread.join()
            return body

        body = told_within(4, health_of_five)
        assert "no answer within 2 s" in body["reasons"][0] or "timeout" in body["reasons"][0]
        assert "geheim" not in str(body)


def test_a_database_without_migrations(settings: Settings, r: Redis, database_url: str) -> None:
    system = System(settings.model_copy(update={"database_url_given": database_url}), r)
    system.make_healthy()
    system.becomes("unhealthy", "Run `assetq migrate`")


@pytest.mark.parametrize("role", ["worker", "scheduler"])
def test_nobody_alive(system: System, role: str) -> None:
    limit_s = {"worker": 90, "scheduler": 30}[role]
    redis, keys = system.context.redis, system.context.keys
    seen_ms = system.context.redis_now_ms() - limit_s * 1000
    redis.zadd(keys.heartbeats, {f"{role}@test-1": seen_ms + 5_000})
    system.becomes("healthy")
    redis.zadd(keys.heartbeats, {f"{role}@test-1": seen_ms - 5_000})
    system.observer._last_seen_ms.clear()
    system.web_is_up_since(3600)
    system.becomes("unhealthy", f"No {role} is alive, since 20")
    system.beat()
    system.becomes("healthy")


def test_a_process_that_left_in_order_has_a_moment_to_come_back(system: System) -> None:
    system.becomes("healthy")
    system.web_is_up_since(3600)
    redis, keys = system.context.redis, system.context.keys
    heartbeat.gone(redis, keys, "scheduler@test-1")
    system.becomes("degraded", "No scheduler is alive")
    redis.zincrby(keys.heartbeats, -31_000, "ended:scheduler")
    system.observer._last_seen_ms["scheduler"] -= 31_000
    system.becomes("unhealthy", "No scheduler is alive")
    system.beat()
    system.becomes("healthy")


def test_no_batch_yet_and_then_still_none(system: System) -> None:
    system.forget_batches()
    body = system.becomes("degraded", "No batch has run yet (one is due every 5 min)")
    assert body["last_priority_update"] is None
    system.observer._last_seen_ms["batch"] -= 5 * MINUTE_MS + 1000
    system.becomes("unhealthy", "No batch has run yet")
    system.batch()
    system.becomes("healthy")


def test_batches_stopped(system: System) -> None:
    system.forget_batches()
    system.batch(minutes_ago=10.9)
    system.becomes("healthy")
    system.forget_batches()
    system.batch(minutes_ago=11.1)
    system.becomes("degraded", "No batch has run (one is due every 5 min), since 20")
    system.web_is_up_since(61)
    system.becomes("unhealthy", "No batch has run (one is due every 5 min), since 20")
    system.batch()
    system.becomes("healthy")


def test_switched_off_batches_are_not_missed(settings: Settings, r: Redis) -> None:
    system = System(settings.model_copy(update={"priority_assets_enabled": False}), r)
    system.beat()
    system.schedule()
    system.becomes("healthy")


def test_last_batch_failed_and_the_next_did_not(system: System) -> None:
    system.forget_batches()
    system.batch(minutes_ago=3, error="ProviderDown: 502")
    system.becomes(
        "degraded",
        "The last batch did not refresh XAUUSD (ProviderDown: 502), since 20",
        "batch.priority.success_rate is 66.7, below 90 %, seen since 20",
    )
    for minutes_ago in range(30, 20, -1):
        system.batch(minutes_ago=minutes_ago)
    system.batch()
    system.becomes("healthy")


def test_key_refused(system: System) -> None:
    system.context.limiter.block(MINUTE_MS, "401: the provider does not know API key 123")
    body = system.becomes("unhealthy", "The provider refuses the API key (401: ")
    assert body["quota"]["blocked_reason"].startswith("401")
    system.context.limiter.block(0, "a new key", force=True)
    system.becomes("healthy")


def test_blocked_by_429(system: System) -> None:
    system.context.limiter.block(MINUTE_MS, "429: the provider counts too many calls")
    system.becomes(
        "degraded", "Calls are blocked (429: the provider counts too many calls), until 20"
    )
    system.context.limiter.block(0, "over", force=True)
    system.becomes("healthy")


def test_held_after_a_restart_of_redis(system: System) -> None:
    system.context.redis.hset(system.context.keys.quota, "epoch", "of another server")
    system.context.queue.enqueue([Request("GBPUSD")], Priority.HIGH)
    system.context.queue.claim()
    body = system.becomes("degraded", "The calls of the last window are unknown")
    assert body["quota"]["held_until"]
    system.context.limiter.reset()
    system.becomes("healthy")


def test_poison_and_other_dead_letters(system: System) -> None:
    queue = system.context.queue

    def bury(symbol: str, kind: Death) -> None:
        queue.enqueue([Request(symbol)], Priority.HIGH)
        claimed = queue.claim()
        assert isinstance(claimed, Claimed)
        queue.end(claimed, [Bury(symbol, kind, "why")], answered=True)

    bury("GONE", Death.INVALID)
    system.becomes("healthy")
    bury("KILLER", Death.POISON)
    system.becomes("degraded", "Workers died refreshing KILLER")
    queue.drop_dead(["KILLER"])
    system.becomes("healthy")


def test_schedule_lost_an_entry(system: System) -> None:
    redis, keys = system.context.redis, system.context.keys
    redis.zrem(keys.scheduler_entries, "every-secondary")
    body = system.becomes("degraded", "Missing in the schedule: every-secondary")
    assert [job["next_run"] is None for job in body["jobs"]] == [False, True]
    system.schedule()
    system.becomes("healthy")


def test_workers_cannot_work(system: System) -> None:
    system.context.redis.set(system.context.keys.outage, "PostgreSQL: no route", px=MINUTE_MS)
    system.becomes("degraded", "Workers make no call (PostgreSQL: no route)")
    away = (
        "PostgreSQL: PostgreSQL at db.example:5432, database d, user u is not available: refused."
    )
    system.context.redis.set(system.context.keys.outage, away, px=MINUTE_MS)
    system.becomes("degraded", "Workers make no call (PostgreSQL is not available: refused), seen")
    system.context.redis.delete(system.context.keys.outage)
    system.becomes("healthy")


def test_queue_too_long(system: System) -> None:
    queue = system.context.queue
    queue.enqueue([Request(f"A{n}") for n in range(500)], Priority.LOW)
    queue.enqueue([Request("XAUUSD")], Priority.CRITICAL)  # counts among no secondary assets
    system.becomes("healthy")
    queue.enqueue([Request("ONE-MORE")], Priority.LOW)
    system.becomes("degraded", "queue.size is 501, above 500 items")
    claimed = queue.claim(max_items=250)
    assert isinstance(claimed, Claimed)
    queue.end(claimed, [Done(item.symbol) for item in claimed.items], answered=True)
    system.becomes("healthy")


def test_too_many_waits_for_quota(system: System) -> None:
    redis, keys = system.context.redis, system.context.keys
    now_ms = system.context.redis_now_ms()
    redis.zadd(keys.waits, {f"call:{n}": now_ms - 1000 for n in range(11)})
    system.becomes("degraded", "api.rate_limit_waits is 11, above 10 per hour")
    redis.zadd(keys.waits, {"call:0": now_ms - 3_700_000})
    system.becomes("healthy")


def test_a_defect_is_json_too(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: object) -> None:
        raise KeyError("a rule")

    monkeypatch.setattr("health.report.judge", defect)
    body = system.health()
    assert body["status"] == "unhealthy"
    assert body["reasons"] == ["The state cannot be read (KeyError)."]
