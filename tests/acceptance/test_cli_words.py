"""A cause of waiting is told in the same words, and with the same numbers, by the pages, commands,
`/health/batch` and `/metrics`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from queueing import Policy, Priority, PriorityQueue, Request
from tests.kit.cli_runs import Cli
from tests.kit.held_calls import (
    System,
    delayed,
    forex_is_closed,
    kept_for_the_batch,
    large_batch,
    leased,
    lost_count,
    newer_version,
    no_disk,
    no_memory,
    no_postgresql,
    no_replicas,
    no_rights,
    no_worker,
    not_published,
    other_limits,
    pause,
    provider_fails,
    read_only,
    spacing,
    suspended,
    window,
    workers_pause,
    wrong_key,
)


@pytest.fixture
def system(tmp_path: Path, redis_url: str, r: redis.Redis, migrated_url: str) -> System:
    env = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": migrated_url,
        "MASSIVE_API_KEY": "planted-key-4711",
        "POLYGON_BASE_URL": "http://127.0.0.1:9",
    }
    return System(Cli(tmp_path, env), r, migrated_url)


@pytest.mark.parametrize(
    ("begin", "key", "told"),
    [
        (delayed, "delayed", "It waits for its retry or a pause of its own"),
        (leased, "leased", "It is being refreshed now"),
        (newer_version, "version", "What waits needs workers of a newer version"),
    ],
)
def test_each_wait_of_the_queue_has_one_wording(
    system: System, begin: Callable[[System], Any], key: str, told: str
) -> None:
    with begin(system):
        (cause,) = [c for c in system.health() if c["cause"] == key]
        words = system.words()
        stats = system.cli.here("queue", "stats", "--json").json
        limiter = system.cli.here("limiter", "status", "--json").json
        item = system.listed("queued" if key == "version" else key)
        system.same_numbers(stats, limiter)
        assert system.metric(key)
    assert cause["text"] == told
    assert (item["waits_for"], item["why"]) == (key, told)
    for place, text in words.items():
        assert told.lower() in text, (place, text)
    assert stats["waits_for"] == limiter["next_refresh"]["waits_for"] == key
    assert limiter["next_critical"]["waits_for"] is None, "the quota allows a call"


@pytest.mark.parametrize(
    ("begin", "key", "told"),
    [
        (window, "window", "The calls of this window are used up"),
        (pause, "blocked", "Calls are blocked (429: too many calls)"),
        (wrong_key, "blocked", "The provider refuses the API key (401"),
        (provider_fails, "breaker", "The provider fails; the next call is a probe (ProviderDown"),
        (other_limits, "policy", "The quota is kept for other limits than this process is set to"),
        (spacing, "spacing", "The least time between two calls has not passed"),
        (lost_count, "hold", "The calls of the last window are unknown"),
        (no_worker, "worker", "No worker is alive"),
        (suspended, "suspended", "RQ is suspended in this Redis"),
        (workers_pause, "outage", "Workers make no call (PostgreSQL"),
        (no_memory, "redis.memory", "Redis has no memory left (maxmemory)"),
        (no_disk, "redis.disk", "Redis cannot write to its disk and refuses changes"),
        (no_replicas, "redis.replicas", "Redis has too few replicas"),
        (no_postgresql, "postgresql.unreachable", "PostgreSQL cannot be used"),
        (read_only, "postgresql.read-only", "PostgreSQL cannot be used (it is read-only)"),
        (no_rights, "postgresql.rights", "PostgreSQL cannot be used (the database user lacks"),
    ],
)
def test_each_cause_of_waiting_has_one_wording(
    system: System, begin: Callable[[System], Any], key: str, told: str
) -> None:
    with begin(system):
        (cause, *_) = [c for c in system.health() if c["cause"] == key]
        words = system.words()
        stats = system.cli.here("queue", "stats", "--json").json
        limiter = system.cli.here("limiter", "status", "--json").json
        call = limiter["next_critical"]
        item = system.listed()
        system.same_numbers(stats, limiter)
        assert system.metric(key)
        assert system.metric(key, "critical_call")
    assert cause["text"].startswith(told)
    assert item["waits_for"] == key
    assert item["why"].startswith(cause["text"])
    for place, text in words.items():
        assert cause["text"].lower() in text, (place, text)
    assert (stats["waits_for"], call["waits_for"]) == (key, key)
    assert stats["why"].startswith(cause["text"])
    assert stats["remedy"] == cause.get("remedy")


def test_calls_that_are_kept_for_the_batch_have_one_wording(system: System) -> None:
    PriorityQueue(system.r, Policy()).cancel(["EURUSD"])
    PriorityQueue(system.r, Policy()).enqueue([Request("EURUSD")], Priority.LOW)
    with kept_for_the_batch(system):
        (cause, *_) = [c for c in system.health() if c["cause"] == "reserved"]
        words = system.words()
        stats = system.cli.here("queue", "stats", "--json").json
        limiter = system.cli.here("limiter", "status", "--json").json
        call = limiter["next_background"]
        item = system.listed()
        system.same_numbers(stats, limiter)
        assert system.metric("reserved", "other_call")
    assert (item["waits_for"], item["why"]) == ("reserved", cause["text"])
    assert cause["text"] == "Calls are kept free for the next batch"
    for place, text in words.items():
        assert cause["text"].lower() in text, (place, text)
    assert (stats["waits_for"], call["waits_for"]) == ("reserved", "reserved")


def test_a_batch_that_cannot_fit_is_told_in_the_same_words(system: System) -> None:
    with large_batch(system):
        (cause,) = [c for c in system.health() if c["cause"] == "capacity"]
        words = system.words()
    assert cause["text"].startswith("A batch takes 26 of 25 calls that the quota allows in 5 min")
    for place in ("doctor", "limiter status"):
        assert words[place].count(cause["text"].lower()) == 1, words[place]


def test_a_worker_that_was_killed_is_told_with_its_last_heartbeat(system: System) -> None:
    with no_worker(system):
        for place, text in system.words().items():
            assert "no worker is alive" + (", since" if place != "pages" else "") in text
            assert re.search(r"\(\s*3 min", text)


def test_nothing_holds_a_call_where_nothing_is_wrong(system: System) -> None:
    words = system.words()
    assert "for nothing: a call is free now" in words["queue stats"]
    assert "next critical call  now" in words["limiter status"]


def test_a_redis_that_is_away_is_told_in_the_same_words(system: System) -> None:
    system.cli.env["REDIS_URL"] = "redis://127.0.0.1:1/0"
    (cause, *_) = [c for c in system.health() if c["cause"] == "redis.unreachable"]
    for command in ("queue stats", "limiter status", "enqueue EURUSD"):
        done = system.cli.here(*command.split())
        assert cause["text"] in done.err or command.startswith("enqueue"), done
        assert done.code in (4, 6)
    assert cause["text"] in system.cli.here("doctor").out


@pytest.mark.parametrize(
    ("begin", "key", "told"),
    [
        (not_published, "unpublished.forex", "The newest day of forex is not published yet"),
        (forex_is_closed, "closed.forex", "The forex market is closed: its prices do not change"),
    ],
)
def test_a_quiet_market_is_told_in_the_same_words(
    system: System, begin: Callable[[System], Any], key: str, told: str
) -> None:
    with begin(system):
        words, site = system.words(), system.site
        [note] = site.get("/health/batch").get_json()["notes"]
        metrics = site.get("/metrics").text
    assert note.startswith(told)
    for place in ("queue stats", "doctor", "pages"):
        assert words[place].count(note.lower()) == (2 if place == "pages" else 1), words[place]
    assert f'assetq_quiet_cause{{cause="{key}"}} 1.0' in metrics
