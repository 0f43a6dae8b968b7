"""What an external writer may leave in each key of ours: it is left out, and nothing else stops."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from local.watching import Watcher
from queueing import Bury, Death, Priority, Retry
from runtime import heartbeat
from scheduler.process import TickScheduler
from tests.kit import worker as worker_kit
from tests.kit.cli_runs import Cli
from tests.kit.worker import Site, settings_for
from web.action_log import record
from web.app import create_app
from worker.batch import begin
from worker.capabilities import Capabilities
from worker.hours import note_hour
from worker.secondary import enqueue_secondary

SOUND = '{"planned_at_ms":1e30,"started_at_ms":-7,"assets":[7,null],"payload":{},"priority":"x"}'
RUBBISH = (
    *("", "x", "a\x00b", "[7", "7", "[]", "{}", "null", '"t"', "1.5", "-1", "nan", "1e400"),
    *("²", "9" * 400, str(2**63 - 1), "[" * 100_000, SOUND),
    b"\xff\xfe\x00",
)
SCORES = (-1, 0.5, 9e15, 1e300, float("inf"), float("-inf"))
PAGES = ("/", "/freshness", "/quota", "/health", "/asset?symbol=GBPUSD", "/asset?symbol=EURUSD")
COMMANDS = (
    *("queue list", "queue peek", "queue stats", "dead list", "limiter status", "plan show"),
    *("schedule list", "symbols show GBPUSD", "watch --last 50 --for 0.1", "rebuild"),
    "enqueue USDJPY --priority HIGH",
)


@pytest.fixture
def site(redis_url: str, migrated_url: str) -> Iterator[Site]:
    with (
        worker_kit.sandbox("starter") as provider,
        Site.open(
            settings_for(redis_url, migrated_url, provider.url, polygon_rate_limit=900)
        ) as opened,
    ):
        furnish(opened)
        yield opened


@pytest.fixture
def client(site: Site) -> FlaskClient:
    app = create_app(site.context.settings)
    app.testing = True
    del app.error_handler_spec[None][None][Exception]  # an unforeseen error fails the test
    return app.test_client()


def furnish(site: Site) -> None:
    """Something in every key."""
    context, keys, r = site.context, site.context.keys, site.context.redis
    context.limiter.reset()
    begin(context, site.connection, site.capabilities)
    site.drain(slice_s=0.5).run()
    heartbeat.beat(r, keys, "worker@test-1")
    TickScheduler(context, site.ticks).run_once()
    enqueue_secondary(context, site.connection, site.capabilities)
    for verdict in (
        lambda name: Retry(name, 3_600_000, Priority.LOW, "HTTP 500"),
        lambda name: Bury(name, Death.INVALID, "unknown"),
    ):
        claimed = site.claim(1).claimed
        context.queue.end(claimed, [verdict(claimed.items[0].symbol)], answered=True)
    site.claim(1)
    site.capabilities.refuse("snapshot", "not in the plan")
    site.capabilities.not_published("C:EURUSD", datetime.now(UTC))
    context.limiter.mark()
    record(context, "admin", "127.0.0.1", "refresh", "told", True)
    now_ms = context.redis_now_ms()
    for key in (keys.waits, keys.overtaken, keys.older_processes):
        r.zadd(key, {"GBPUSD": now_ms})
    for key in (keys.secondary, keys.bars, keys.outage, keys.outage_pause, keys.waiter):
        r.set(key, "7")
    r.set(keys.scheduler_lock, "7")
    r.lpush(keys.wake, "7")
    r.hset(keys.causes, mapping={"worker": now_ms, "looked": now_ms})
    r.delete(site.ticks.queue.key)  # a drain leaves for ticks that wait


def restoring(site: Site) -> Callable[[str], None]:
    """Puts everything back; of the keys that hold work up, the named one alone."""
    raw = site.ticks.queue.connection
    keys = site.context.keys
    holding = {keys.outage, keys.waiter, keys.wake, keys.scheduler_lock}
    kept = {name.decode(): raw.dump(name) for name in raw.scan_iter("*")}

    def restore(key: str) -> None:
        raw.flushdb()
        for name, dump in kept.items():
            if name == key or name not in holding:
                raw.restore(name, 600_000, dump or b"")

    return restore


def spoil(site: Site, key: str, turn: int) -> None:
    """Each value of the key another one, in turn; and more beside them."""
    r: Any = site.context.redis
    values = [RUBBISH[(n + turn) % len(RUBBISH)] for n in range(200)]
    now_ms = int(time.time() * 1000)
    match r.type(key):
        case "hash":
            fields = sorted(r.hkeys(key))
            for field, value in zip(fields, values, strict=False):
                r.hset(key, field, value)
            r.hset(key, mapping={"\x00": "x", "": "y", "granted:x": "z", "wait:1:inf": "w"})
        case "zset":
            for n, member in enumerate(r.zrange(key, 0, -1)):
                r.zadd(key, {member: SCORES[(n + turn) % len(SCORES)]})
            r.zadd(key, dict.fromkeys(RUBBISH, (1, now_ms)[turn % 2]))
        case "set":
            r.sadd(key, *RUBBISH)
        case "list":
            r.lpush(key, *RUBBISH)
        case "stream":
            for value in RUBBISH:
                r.xadd(key, {"event": value})
            r.xadd(key, {"other": "field"})
        case "string":
            r.set(key, values[0], px=600_000)


def documented() -> list[str]:
    """The keys of the table in docs/internals.md."""
    page = (Path(__file__).parents[2] / "docs" / "internals.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[^|]*`) \| [A-Z, ]+ \|", page, re.M)
    return [name for row in rows for name in re.findall(r"`([\w:]+)", row)]


def every_key(site: Site, *, whole: bool = True) -> list[str]:
    keys = sorted(site.context.redis.scan_iter(site.context.keys.every))
    named = {re.sub(r"(capabilities:).*", r"\1", key.rpartition("}:")[2]) for key in keys}
    assert not whole or named == set(documented()), "furnish() fills each key that there is"
    return keys


def look(site: Site, client: FlaskClient) -> None:
    """What runs all the time."""
    context = site.context
    told = client.get("/health/batch").get_json()
    assert told["queue"]["total_items"] is not None, told["reasons"]
    assert client.get("/metrics").status_code == 200
    watcher = Watcher(context)
    watcher.earlier(50)
    watcher.status()
    TickScheduler(context, site.ticks).run_once()
    note_hour(context, site.connection)


def test_a_spoilt_key_stops_neither_looks_nor_work(site: Site, client: FlaskClient) -> None:
    restore = restoring(site)
    for key in every_key(site):
        for turn in (0, 7):
            restore(key)
            spoil(site, key, turn)
            look(site, client)


def test_pages_and_commands_tell_the_rest_where_every_key_is_spoilt(
    site: Site, client: FlaskClient, tmp_path: Path
) -> None:
    cli = Cli(tmp_path, worker_kit.process_env(site.context.settings, tmp_path))
    restore = restoring(site)
    for number, run in enumerate((*PAGES, *COMMANDS, "doctor --json")):
        restore("")
        for key in every_key(site, whole=False):
            spoil(site, key, number)
        if run in PAGES:
            assert client.get(run).status_code == 200
            continue
        done = cli.here(*run.split())
        assert "Traceback" not in done.err + done.out
        if run == "doctor --json":
            told = [check["text"] for check in done.json["checks"]]
            assert not [text for text in told if re.match(r"\w+Error:", text)]
        else:
            assert done.code == 0, done.err


def test_doctor_names_each_key_of_which_something_is_left_out(site: Site, tmp_path: Path) -> None:
    cli = Cli(tmp_path, worker_kit.process_env(site.context.settings, tmp_path))
    restoring(site)("")
    keys, r = site.context.keys, site.context.redis
    assert not [check for check in checks_of(cli) if "left out" in check]
    slot, letter = (str(r.zrange(key, 0, 0)[0]) for key in (keys.batches, keys.dead))
    spoilt = {
        keys.counters: "granted:1",
        keys.timings: "call:ok:sum",
        keys.causes: "looked",
        keys.batch_records: slot,
        keys.dead_items: letter,
    }
    for key, entry in spoilt.items():
        r.hset(key, entry, "[rubbish")
    told = [text for text in checks_of(cli) if "left out" in text]
    assert len(told) == len(spoilt)
    for key, entry in spoilt.items():
        assert [text for text in told if text.startswith(f"{key}: 1 ") and text.endswith(entry)]


def checks_of(cli: Cli) -> list[str]:
    """What doctor says, line by line."""
    return [check["text"] for check in cli.here("doctor", "--json").json["checks"]]


def test_doctor_names_each_key_that_holds_something_else(site: Site, tmp_path: Path) -> None:
    cli = Cli(tmp_path, worker_kit.process_env(site.context.settings, tmp_path))
    restoring(site)("")
    keys, r = every_key(site, whole=False), site.context.redis
    for key in keys:
        kind = r.type(key)
        r.delete(key)
        r.hset(key, "x", "y") if kind == "string" else r.set(key, "x", px=600_000)
    told = checks_of(cli)
    assert [key for key in keys if not any(text.startswith(f"{key} is a ") for text in told)] == []
    assert not [text for text in told if re.match(r"\w+Error:", text)]
    cli.here("queue", "stats").failed(1, "`assetq doctor` names it")


def test_work_goes_on_where_every_key_is_spoilt(site: Site) -> None:
    """But for the permits of the window: what counts there is not known any more."""
    restoring(site)("")
    for key in set(every_key(site, whole=False)) - {site.context.keys.window}:
        spoil(site, key, 0)
    site.context.limiter.reset()
    before = len(site.outcomes())
    begin(site.context, site.connection, Capabilities(site.context), by_hand=True)
    site.drain(slice_s=2.0).run()
    assert site.outcomes()[before:].count("ok") > 0
