"""Every way in which a call, or all work, is held up; and what each place says of it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from flask.testing import FlaskClient
from rq.suspension import resume, suspend

from queueing import Claimed, Keys, Policy, PriorityQueue, QuotaLimiter, Request, Retry
from runtime.context import Context
from runtime.heartbeat import beat
from settings import Settings
from tests.kit.cli_runs import Cli
from tests.kit.waiting import eventually
from web.app import create_app
from worker.capabilities import Capabilities

KEYS = Keys()
WORKER, SCHEDULER = "worker@here-1-abcd", "scheduler@here-2-abcd"


class System:
    """A system in which only what a test does is wrong."""

    def __init__(self, cli: Cli, r: redis.Redis, database_url: str) -> None:
        self.cli, self.r, self.database_url = cli, r, database_url
        self.limiter = QuotaLimiter(r, Policy())
        self.limiter.reset()
        PriorityQueue(r, Policy()).enqueue([Request("EURUSD")], 1)
        beat(r, KEYS, WORKER)
        beat(r, KEYS, SCHEDULER)

    @cached_property
    def site(self) -> FlaskClient:
        """The web process beside it, begun when it is first asked."""
        return create_app(Settings.load(self.cli.env, env_file=None)).test_client()

    def health(self) -> list[dict[str, Any]]:
        """The causes of the page, and what it says of the next call."""
        body = self.site.get("/health/batch").get_json()
        calls = body["quota"]["next_call"].values() if body["quota"] else ()
        calls = [*calls, body["next_refresh"]]
        return [*body["causes"], *({"text": c["text"], "cause": c["why"]} for c in calls)]

    def words(self) -> dict[str, str]:
        """Everything that each place says."""
        site = self.site
        told = {
            "queue stats": self.cli.here("queue", "stats").out,
            "limiter status": self.cli.here("limiter", "status").out,
            "doctor": self.cli.here("doctor").out,
            "pages": shown(site.get("/").text + site.get("/health").text),
        }
        return {name: text.lower() for name, text in told.items()}

    def same_numbers(self, stats: dict[str, Any], limiter: dict[str, Any]) -> None:
        """Each number is the same wherever it is told; given is what two commands told."""
        site = self.site
        metrics, body = site.get("/metrics").text, site.get("/health/batch").get_json()
        page = " ".join(shown(site.get("/").text).split())
        queue = body["queue"]
        assert queue == {name: stats[name] for name in queue} | {
            "oldest_item_age_seconds": queue["oldest_item_age_seconds"]
        }
        for band, count in queue["by_priority"].items():
            assert f'assetq_queued_items{{priority="{band.lower()}"}} {count}.0' in metrics
        for state in ("delayed", "leased", "dead"):
            assert f"assetq_{state}_items {queue[state]}.0" in metrics
        assert f"Waiting {queue['total_items']}" in page
        free, limit = body["quota"]["free"], body["quota"]["limit"]
        assert (limiter["free"], limiter["limit"]) == (free, limit)
        assert f"assetq_quota_free_calls {free}.0" in metrics
        assert f"assetq_quota_limit_calls {limit}.0" in metrics
        assert f"assetq_quota_remaining_calls {body['api_calls_remaining']}.0" in metrics
        assert f"Calls free now {free} of {limit} in" in page

    def metric(self, key: str, what: str = "refresh") -> bool:
        """Do the metrics tell this cause of what comes next?"""
        named = f'assetq_wait_cause{{cause="{key}",next="{what}"}} 1.0'
        return named in self.site.get("/metrics").text

    def listed(self, state: str = "queued") -> dict[str, Any]:
        """What `queue list` tells of the first item in this state."""
        rows = self.cli.here("queue", "list", "--json").json
        return next(row for row in rows if row["state"] == state)


def shown(page: str) -> str:
    """The text of a page."""
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


@contextmanager
def configured(r: redis.Redis, name: str, value: str) -> Iterator[None]:
    before = str(r.config_get(name)[name])
    r.config_set(name, value)
    try:
        yield
    finally:
        r.config_set(name, before)


@contextmanager
def window(s: System) -> Iterator[None]:
    s.limiter.consume(5)
    yield


@contextmanager
def pause(s: System) -> Iterator[None]:
    s.limiter.block(90_000, "429: too many calls")
    yield


@contextmanager
def wrong_key(s: System) -> Iterator[None]:
    s.limiter.block(90_000, "401: the provider does not know API key 0123456789")
    yield


@contextmanager
def lost_count(s: System) -> Iterator[None]:
    s.r.hset(KEYS.quota, "hold_until", s.limiter.status().now_ms + 60_000)
    yield


@contextmanager
def provider_fails(s: System) -> Iterator[None]:
    """The calls of five different items failed in a row."""
    queue = PriorityQueue(s.r, Policy())
    for n in range(5):
        queue.enqueue([Request(f"FAILS{n}")], 1)
    while not s.limiter.status().breaker.open:
        claimed = queue.claim()
        assert isinstance(claimed, Claimed), claimed
        [item] = claimed.items
        retry = Retry(item.symbol, 60_000, 1, "ProviderDown: 502")
        queue.end(claimed, [retry], answered=True, failed=True)
    s.r.zremrangebyrank(KEYS.window, 0, 3)  # the window is not what they wait for
    yield


@contextmanager
def kept_for_the_batch(s: System) -> Iterator[None]:
    s.limiter.plan_batch(s.limiter.status().now_ms + 30_000, 300_000, 5)
    yield


@contextmanager
def other_limits(s: System) -> Iterator[None]:
    hour = QuotaLimiter(s.r, Policy(limit=2, window_ms=3_600_000))
    hour.reset()
    hour.acquire()
    yield


@contextmanager
def large_batch(s: System) -> Iterator[None]:
    s.limiter.plan_batch(s.limiter.status().now_ms + 300_000, 300_000, 26)
    yield


@contextmanager
def no_worker(s: System) -> Iterator[None]:
    seconds, _ = s.r.time()
    s.r.zadd(KEYS.heartbeats, {WORKER: (int(seconds) - 180) * 1000})
    yield


@contextmanager
def suspended(s: System) -> Iterator[None]:
    suspend(s.r)
    try:
        yield
    finally:
        resume(s.r)


@contextmanager
def workers_pause(s: System) -> Iterator[None]:
    s.r.set(KEYS.outage, "PostgreSQL: the disk is full", ex=60)
    yield


@contextmanager
def no_memory(s: System) -> Iterator[None]:
    with configured(s.r, "maxmemory", "1"):
        yield


@contextmanager
def no_disk(s: System) -> Iterator[None]:
    """A directory stands where Redis saves its data."""
    taken = Path(str(s.r.config_get("dir")["dir"])) / str(
        s.r.config_get("dbfilename")["dbfilename"]
    )
    taken.unlink(missing_ok=True)
    taken.mkdir()
    with configured(s.r, "save", "3600 1000000"):
        save(s, "err")
        yield
        taken.rmdir()
        save(s, "ok")


def save(s: System, status: str) -> None:
    s.r.bgsave()
    eventually(lambda: s.r.info("persistence")["rdb_last_bgsave_status"] == status)


@contextmanager
def no_replicas(s: System) -> Iterator[None]:
    with configured(s.r, "min-replicas-to-write", "1"):
        yield


@contextmanager
def no_postgresql(s: System) -> Iterator[None]:
    s.cli.env["DATABASE_URL"] = "postgresql://assetq@127.0.0.1:1/assetq"
    yield


@contextmanager
def read_only(s: System) -> Iterator[None]:
    s.cli.env["DATABASE_URL"] += "?options=-c%20default_transaction_read_only%3Don"
    yield


@contextmanager
def no_rights(s: System) -> Iterator[None]:
    role = f"poor_{abs(hash(s.database_url)) % 10**8}"
    with psycopg.connect(s.database_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'planted'")
        owner.execute(f"GRANT USAGE ON SCHEMA trading, data_sources, market_data, assetq TO {role}")
        owner.execute(
            "GRANT SELECT ON ALL TABLES IN SCHEMA trading, data_sources, market_data, assetq "
            f"TO {role}"
        )
        place = s.database_url.partition("@")[2]
        s.cli.env["DATABASE_URL"] = f"postgresql://{role}:planted@{place}"
        try:
            yield
        finally:
            owner.execute(f"DROP OWNED BY {role}")
            owner.execute(f"DROP ROLE {role}")


@contextmanager
def spacing(s: System) -> Iterator[None]:
    s.cli.env["RATE_MIN_SPACING_SECONDS"] = "50"
    s.limiter.acquire()
    yield


@contextmanager
def delayed(s: System) -> Iterator[None]:
    queue = PriorityQueue(s.r, Policy())
    claimed = queue.claim()
    assert isinstance(claimed, Claimed)
    queue.end(claimed, [Retry("EURUSD", 60_000, 1, "ProviderDown: 502")], answered=True)
    yield


@contextmanager
def leased(s: System) -> Iterator[None]:
    assert isinstance(PriorityQueue(s.r, Policy(), lease_ms=60_000).claim(), Claimed)
    yield


@contextmanager
def newer_version(s: System) -> Iterator[None]:
    queue = PriorityQueue(s.r, Policy())
    queue.cancel(["EURUSD"])
    queue.item_version += 1
    queue.enqueue([Request("EURUSD")], 1)
    yield


@contextmanager
def markets(*, are_open: bool) -> Iterator[None]:
    """Whatever day it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("health.observe.is_open", lambda ticker, at: are_open)
        yield


@contextmanager
def not_published(s: System) -> Iterator[None]:
    loaded = Settings.load(s.cli.env, env_file=None)
    with Context.open(loaded) as context, markets(are_open=True):
        capabilities = Capabilities(context)
        capabilities.not_published("C:EURUSD", datetime.now(UTC))
        yield
        context.redis.delete(capabilities.key)


@contextmanager
def forex_is_closed(s: System) -> Iterator[None]:
    """As on a Saturday."""
    with markets(are_open=False):
        yield
