"""What others may have written: rows of trading.symbols, items in Redis, entries, answers."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from rq import Queue

from local.sandbox import SandboxServer
from market.errors import BadAnswer
from market.feeds import FEEDS
from queueing import Death, Priority
from scheduler.entries import entries_key
from scheduler.process import TickScheduler
from tests.kit import worker as worker_kit
from tests.kit.cli_runs import Cli
from tests.kit.worker import CRITICAL, OTHERS, Site, settings_for
from worker.batch import begin, plan_changed
from worker.critical import batch_assets
from worker.secondary import enqueue_secondary
from worker.work import unusable

BAD_TICKERS = [
    "C:../../v3/x",
    "C:EURUSD\n",
    "c:eurusd",
    "EURUSD",
    "C:EUR USD",
    "X:BTC/USD?a=b",
    "C:",
]


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter") as server:
        yield server


@pytest.fixture
def site(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[Site]:
    with Site.open(settings_for(redis_url, migrated_url, provider.url)) as opened:
        yield opened


def spoil(site: Site, symbol: str, column: str, value: str) -> None:
    """What a user's own SQL may leave behind; the price that stands there stays."""
    query = f"UPDATE trading.symbols SET {column} = %s WHERE symbol = %s"
    site.connection.execute(query.encode(), (value, symbol))


def letters(site: Site) -> dict[str, tuple[Death, str]]:
    return {letter.symbol: (letter.kind, letter.reason) for letter in site.context.queue.dead()}


def requested(provider: SandboxServer) -> str:
    return " ".join(f"{a.path} {' '.join(a.tickers)}" for a in provider.arrivals())


def drain(site: Site) -> None:
    site.drain(slice_s=30).run()


@pytest.mark.parametrize("ticker", [*BAD_TICKERS[:2], BAD_TICKERS[-1]])
@pytest.mark.parametrize("refreshed_before", [False, True])
def test_a_malformed_ticker_in_a_table_stops_no_round_and_reaches_no_url(
    site: Site, provider: SandboxServer, ticker: str, refreshed_before: bool
) -> None:
    if refreshed_before:
        site.refresh(*(a.symbol for a in (*CRITICAL, *OTHERS)))
    spoil(site, "EURUSD", "polygon_ticker", ticker)  # critical
    spoil(site, "USDJPY", "polygon_ticker", ticker)
    slot = begin(site.context, site.connection, site.capabilities)
    round_ = enqueue_secondary(site.context, site.connection, site.capabilities)
    plan_changed(site.context, site.connection, site.capabilities)
    record = site.context.queue.batch_record(slot)
    assert record
    assert "not a ticker" in dict(record.failed)["EURUSD"]
    assert "USDJPY" not in round_.refused + round_.dead
    before = len(site.events())
    drain(site)
    asked = set(site.events()[before:])
    assert "EURUSD" not in asked
    assert "USDJPY" not in asked
    assert asked or refreshed_before
    assert ticker not in {t for arrival in provider.arrivals() for t in arrival.tickers}
    assert not re.search(r"\.\.|\s[a-z]|%", requested(provider))
    assert site.where("EURUSD") == site.where("USDJPY") == "nowhere"


@pytest.mark.parametrize("symbol", ["EUR USD", "EURUSD/5m", "ÄÖÜ", "A" * 62, "x\ny", "{massive}"])
def test_a_malformed_symbol_in_a_table_stops_no_round(site: Site, symbol: str) -> None:
    spoil(site, "USDJPY", "symbol", symbol)
    with structlog.testing.capture_logs() as logs:
        round_ = enqueue_secondary(site.context, site.connection, site.capabilities)
    assert round_.enqueued >= len(OTHERS) - 1
    assert [log["symbol"] for log in logs if log["event"] == "symbol.malformed"] == [symbol[:40]]
    assert symbol not in site.context.queue.pending()


def test_the_doctor_names_them(site: Site, tmp_path: Path) -> None:
    spoil(site, "USDJPY", "polygon_ticker", "C:../../x")
    cli = Cli(tmp_path, worker_kit.process_env(site.context.settings, tmp_path))
    checks = cli.here("doctor", "--json").json["checks"]
    [told] = [c for c in checks if c["check"] == "symbols" and c["status"] == "warn"]
    assert "'C:../../x' is not a ticker" in told["text"]


def test_flaws_are_told_and_sound_ones_are_not() -> None:
    assert all(unusable(a.symbol, a.polygon_ticker) is None for a in (*CRITICAL, *OTHERS))
    assert unusable("BRK.B", "C:EURUSD") is None
    assert all(unusable("EURUSD", ticker) for ticker in BAD_TICKERS)


def tamper(site: Site, symbol: str, **fields: Any) -> None:
    keys, r = site.context.keys, site.context.redis
    raw = r.hget(keys.items, symbol)
    assert raw
    r.hset(keys.items, symbol, json.dumps(json.loads(raw) | fields))


TAMPERED: list[dict[str, Any]] = [
    {"payload": '{"symbol": "GBPUSD", "ticker": "C:../../v3/snapshot"}'},
    {"payload": '{"symbol": "GBPUSD", "ticker": "C:GBPUSD\\nHost: evil"}'},
    {"payload": '{"symbol": "GBPUSD", "ticker": 7}'},
    {"payload": '{"symbol": "GBPUSD", "ticker": null}'},
    {"payload": '{"symbol": ["GBPUSD"], "ticker": "C:GBPUSD"}'},
    {"payload": '{"symbol": "EURUSD", "ticker": "C:GBPUSD"}'},
    {"payload": '{"symbol": "GBPUSD"}'},
    {"payload": "[1, 2]"},
    {"payload": '"text"'},
    {"payload": "{torn"},
    {"payload": ""},
    {"payload": "null"},
    {"priority": 2.5},
    {"priority": 77},
    {"enqueued_at_ms": 1.5},
    {"payload": pickle.dumps({"ticker": "C:GBPUSD"}, 0).decode("latin-1")},
]


@pytest.mark.parametrize("others", [[], ["USDJPY", "ETHUSDT"]], ids=["alone", "with others"])
def test_a_tampered_item_is_buried_with_a_reason_and_costs_nobody_else(
    site: Site, provider: SandboxServer, others: list[str]
) -> None:
    for number, fields in enumerate(TAMPERED):
        site.ask("GBPUSD", *others)
        tamper(site, "GBPUSD", **fields)
        site.context.queue.peek(9)
        site.context.queue.stats()
        drain(site)
        kind, reason = letters(site)["GBPUSD"]
        assert kind is Death.INVALID, (fields, reason)
        assert "Redis" in reason or "not a ticker" in reason, fields
        assert site.where("GBPUSD") == "dead", fields
        assert len(provider.arrivals()) == (number + 1 if others else 0), fields
        site.context.queue.drop_dead(["GBPUSD"])
    assert set(site.events()) == set(others)
    assert "evil" not in requested(provider)
    assert ".." not in requested(provider)
    assert site.status("EURUSD") is None


def test_an_item_that_is_none_is_cleared_away(site: Site) -> None:
    for value in ("", "7", "null", "[]", '{"priority": 3}', "\x80\x04", "{}"):
        site.ask("GBPUSD", "USDJPY")
        site.context.redis.hset(site.context.keys.items, "GBPUSD", value)
        drain(site)
        assert site.where("GBPUSD") == "dead", value
        assert site.where("USDJPY") == "nowhere", value
        site.context.queue.drop_dead(["GBPUSD"])
    assert set(site.events()) == {"USDJPY"}


def test_commands_show_tampered_items_and_dead_letters(site: Site, tmp_path: Path) -> None:
    site.ask("GBPUSD", "USDJPY", "ETHUSDT")
    tamper(site, "GBPUSD", payload="{torn")
    keys, r = site.context.keys, site.context.redis
    for symbol, value in (
        ("A", "torn"),
        ("B", '{"kind": "odd"}'),
        ("C", "[]"),
        ("D", '{"kind": 1}'),
    ):
        r.zadd(keys.dead, {symbol: 1})
        r.hset(keys.dead_items, symbol, value)
    cli = Cli(tmp_path, worker_kit.process_env(site.context.settings, tmp_path))
    for command in ("queue list", "queue peek", "queue stats", "dead list", "limiter status"):
        assert cli.here(*command.split()).code == 0
    drain(site)
    assert sorted(site.events()) == ["ETHUSDT", "USDJPY"]


def test_the_command_line_asks_for_no_malformed_ticker(site: Site, tmp_path: Path) -> None:
    spoil(site, "USDJPY", "polygon_ticker", "C:../../x")
    cli = Cli(tmp_path, worker_kit.process_env(site.context.settings, tmp_path))
    cli.here("enqueue", "GBPUSD", "USDJPY").failed(2, "'C:../../x' is not a ticker")
    assert site.context.queue.size == 0


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
def test_a_ticker_that_nobody_asked_for_is_not_stored(site: Site, feed: Any) -> None:
    """The provider answers about BTCUSD when asked for EURUSD."""
    foreign = {"ticker": "X:BTCUSD", "name": "x", "session": {"price": 9.0, "last_updated": 10**18}}
    bodies: dict[str, dict[str, Any]] = {
        "snapshot_v3": {"status": "OK", "results": [foreign]},
        "snapshot": {
            "status": "OK",
            "ticker": {"ticker": "X:BTCUSD", "day": {"c": 9.0}, "updated": 1_790_000_000_000},
        },
        "grouped": {"status": "OK", "results": [{"T": "X:BTCUSD", "o": 9, "h": 9, "l": 9, "c": 9}]},
        "aggregates": {"status": "OK", "ticker": "X:BTCUSD", "results": []},
    }

    class Liar:
        def get(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return bodies[feed.name]

    site.ask("EURUSD")
    now, deadline = datetime.now(UTC), site.claim().deadline
    if feed.name in ("snapshot_v3", "grouped"):
        answer = feed.fetch(Liar(), ["C:EURUSD"], now=now, deadline=deadline)
        assert not answer.observations
        assert set(answer.missing) == {"C:EURUSD"}
    else:
        with pytest.raises(BadAnswer, match="another ticker"):
            feed.fetch(Liar(), ["C:EURUSD"], now=now, deadline=deadline)


class Trap:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_foreign_entries_in_our_schedule_are_cleared_and_stock_ones_left(
    site: Site, tmp_path: Path
) -> None:
    """Pickled jobs behind our scheduler's keys, and rq-scheduler's own keys beside them."""
    trap = tmp_path / "it-ran"
    assert pickle.loads(pickle.dumps(Trap(tmp_path / "armed"))) is None
    assert (tmp_path / "armed").exists(), "the trap works"
    r = site.context.redis
    data = pickle.dumps(("os.mkdir", None, (Trap(trap),), {}))
    raw = site.ticks.queue.connection
    for job_id in ("evil", "every-batch"):
        raw.hset(
            f"rq:job:{job_id}",
            mapping={"data": data, "origin": "assetq-massive", "status": "scheduled"},
        )
        raw.zadd(entries_key(site.context.keys), {job_id: 1})
    stock = {"theirs": 1.0}
    raw.zadd("rq:scheduler:scheduled_jobs", stock)
    Queue("default", connection=raw).enqueue("os.getpid", job_id="theirs")
    raw.set("rq:scheduler:scheduler_lock", "their-lock")
    scheduler = TickScheduler(site.context, site.ticks)
    for _ in range(3):
        scheduler.run_once()
    assert not trap.exists()
    assert "evil" not in r.zrange(entries_key(site.context.keys), 0, -1)
    assert r.zcard(entries_key(site.context.keys)) == 3
    assert r.zrange("rq:scheduler:scheduled_jobs", 0, -1, withscores=True) == [("theirs", 1.0)]
    assert r.get("rq:scheduler:scheduler_lock") == "their-lock"
    assert r.lrange("rq:queue:default", 0, -1) == ["theirs"]
    ticks = [
        job
        for job in r.lrange("rq:queue:assetq-massive", 0, -1)
        if not str(job).startswith("drain")
    ]
    assert len(ticks) == 3


def test_a_band_that_is_none_is_the_nearest_one(site: Site) -> None:
    """Below 1 that is CRITICAL: the batch takes the asset, and no round beside it."""
    site.connection.execute(b"UPDATE trading.symbols SET priority = -7 WHERE symbol = 'USDJPY'")
    assert "USDJPY" in batch_assets(site.context.settings, site.connection)[0]
    enqueue_secondary(site.context, site.connection, site.capabilities)
    assert site.where("USDJPY") == "nowhere"


def test_named_assets_alone_are_critical_whatever_the_table_says(site: Site) -> None:
    """With PRIORITY_ASSETS a round asks for the others at HIGH at most."""
    site.connection.execute(b"UPDATE trading.symbols SET priority = -7 WHERE symbol = 'USDJPY'")
    named = site.context.settings.model_copy(update={"priority_assets": ("EURUSD",)})
    enqueue_secondary(replace(site.context, settings=named), site.connection, site.capabilities)
    assert site.item("USDJPY").priority == Priority.HIGH
