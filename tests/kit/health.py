"""A system as /health/batch sees it, of which any part can be taken away."""

from __future__ import annotations

import json
from typing import Any

from flask.testing import FlaskClient
from redis import Redis

from health.observe import Observer
from queueing import Batch, BatchOutcome, Priority
from runtime import heartbeat
from runtime.context import Context
from scheduler.process import TickScheduler
from settings import Settings
from tests.kit.waiting import eventually
from web.app import create_app
from worker.ticks import Ticks

ASSETS = ("XAUUSD", "EURUSD", "BTCUSD")
MINUTE_MS = 60_000


class System:
    """A healthy system of which any part can be taken away; nothing of it runs by itself."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self.context = Context.on(redis, settings)
        self.app = create_app(settings)
        self.client: FlaskClient = self.app.test_client()

    @property
    def observer(self) -> Observer:
        observer: Observer = self.app.extensions["assetq"]
        return observer

    def health(self) -> dict[str, Any]:
        answer = self.client.get("/health/batch")
        body: dict[str, Any] = answer.get_json()
        assert answer.status_code == (503 if body["status"] == "unhealthy" else 200)
        return body

    def becomes(self, status: str, *reasons: str) -> dict[str, Any]:
        """Waits for the status; all its reasons are these, in any order."""

        def check() -> dict[str, Any]:
            body = self.health()
            assert body["status"] == status, body["reasons"]
            assert len(body["reasons"]) == len(reasons), body["reasons"]
            for reason in reasons:
                assert any(reason in given for given in body["reasons"]), body["reasons"]
            return body

        return eventually(check)

    def make_healthy(self) -> None:
        self.context.limiter.reset()
        self.beat()
        self.schedule()
        self.batch()

    def beat(self) -> None:
        for role in ("worker", "scheduler"):
            heartbeat.beat(self.context.redis, self.context.keys, f"{role}@test-1")

    def schedule(self) -> None:
        ticks = Ticks(self.context.redis, self.context.keys)
        TickScheduler(self.context, ticks).restore_entries()
        ticks.close()

    def batch(self, minutes_ago: float = 0, error: str | None = None) -> None:
        """A finished batch: all current, or its first asset failed."""
        now_ms = self.context.redis_now_ms()
        planned_ms = now_ms - int(minutes_ago * MINUTE_MS)
        ok = BatchOutcome("current")
        outcomes = dict.fromkeys(ASSETS, ok)
        if error:
            outcomes["XAUUSD"] = BatchOutcome("failed", error)
        batch = Batch(
            str(planned_ms), planned_ms, planned_ms + 1, 5 * MINUTE_MS, 0, ASSETS, outcomes
        )
        assert not self.context.queue.enqueue([], Priority.CRITICAL, batch=batch).exists
        redis, records = self.context.redis, self.context.keys.batch_records
        head = json.loads(str(redis.hget(records, batch.slot)))
        redis.hset(records, batch.slot, json.dumps(head | {"started_at_ms": planned_ms}))
        for symbol, outcome in outcomes.items():
            told = {"status": outcome.status, "error": outcome.error, "at_ms": planned_ms}
            redis.hset(records, f"{batch.slot}:outcome:{symbol}", json.dumps(told))

    def forget_batches(self) -> None:
        redis, keys = self.context.redis, self.context.keys
        redis.delete(keys.batches, keys.batch_records)

    def metrics(self) -> str:
        return self.client.get("/metrics").text

    def web_is_up_since(self, seconds: float) -> None:
        self.observer._began -= seconds
