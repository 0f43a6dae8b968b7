"""Damaged answers of the provider, through the whole refresh: does anything break, lie or get lost?

Real shapes (from the sandbox) are damaged and served from a socket; the real client, feeds and
writer work on real PostgreSQL and Valkey. After each answer everything is read back and compared
with what the answer states, by a reader of its own (`stated`).

    python -m tests.chaos.fuzz_provider --count 10000 --seed 1     # or exit code 1
    python -m tests.chaos.fuzz_provider --seed 1 --only 4711       # that one case, told in full
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Self

import structlog

from db.migrate import migrate
from db.symbols import Asset
from local.sandbox import SandboxServer
from local.servers.postgres import PostgresServer
from local.servers.valkey import ValkeyServer
from market.aggregates import Aggregates
from market.feeds import Feed
from market.quotes import Delay
from market.snapshots import Snapshot, SnapshotV3
from market.transport import SendDeadline
from queueing import Claimed
from runtime.context import Context
from tests.chaos.mutation import Reply, damaged
from tests.chaos.stated import Stored, StoredBar, contents, wrong_bar, wrong_price
from tests.kit.market_server import Peer, RawServer
from tests.kit.worker import Site, settings_for
from worker.call import Call
from worker.refresh import Refresher
from worker.work import bars_request, is_bars, price_request

ASSETS = (
    Asset("EURUSD", "C:EURUSD", "forex"),
    Asset("XAUUSD", "C:XAUUSD", "forex"),
    Asset("GBPUSD", "C:GBPUSD", "forex"),
    Asset("BTCUSD", "X:BTCUSD", "crypto"),
    Asset("ETHUSD", "X:ETHUSD", "crypto"),
)
BARS_SHOWN = 12
"""Bars of an answer that is served; the real one has some hundred, and no other shape."""
SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class Shape:
    """A good answer, and who asks for it."""

    feed: Feed
    symbols: tuple[str, ...]
    body: bytes
    bars: bool = False


@dataclass
class Findings:
    """What the damaged answers did."""

    cases: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    """done, goes on, retried, given back, buried: items."""
    calls: Counter[str] = field(default_factory=Counter)
    """The audited outcome of each call."""
    prices: int = 0
    bars: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ended, calls = (
            ", ".join(f"{name} {count}" for name, count in counter.most_common())
            for counter in (self.ended, self.calls)
        )
        return (
            f"{self.cases} answers: {len(self.problems)} problems\n"
            f"items: {ended}\ncalls: {calls}\n"
            f"compared with the answer: {self.prices} prices, {self.bars} bars"
        )


def shapes(now: datetime) -> list[Shape]:
    """The provider's answers as they are, from the sandbox."""
    v3, single, day, today = SnapshotV3(), Snapshot(), Aggregates(), Aggregates(end_of_day=False)
    tickers = {asset.symbol: asset.polygon_ticker for asset in ASSETS}
    found = []
    with SandboxServer(plan="starter", limit=0) as sandbox:

        def ask(path: str) -> Any:
            request = urllib.request.Request(sandbox.url + path)
            request.add_header("Authorization", "Bearer any")
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)

        for symbols in (tuple(tickers), ("EURUSD",), ("BTCUSD", "XAUUSD")):
            names = ",".join([*(tickers[symbol] for symbol in symbols), "C:ZZZZZZ"])
            body = ask(f"/v3/snapshot?ticker.any_of={names}&limit=250")
            found.append(Shape(v3, symbols, json.dumps(body).encode()))
        for symbol in ("EURUSD", "BTCUSD"):
            ticker = tickers[symbol]
            market = "crypto" if ticker.startswith("X") else "forex"
            body = ask(f"/v2/snapshot/locale/global/markets/{market}/tickers/{ticker}")
            found.append(Shape(single, (symbol,), json.dumps(body).encode()))
            for feed in (day, today):
                last = feed.newest_day(ticker, now)
                first = last - timedelta(days=4)
                body = ask(f"/v2/aggs/ticker/{ticker}/range/5/minute/{first}/{last}?sort=desc")
                body["results"] = body["results"][:BARS_SHOWN]
                raw = json.dumps(body).encode()
                found += [Shape(feed, (symbol,), raw), Shape(feed, (symbol,), raw, bars=True)]
    return found


class Fuzz:
    """One site whose provider answers what it is told."""

    def __init__(self, site: Site, server: RawServer, seed: int) -> None:
        self._site, self._seed = site, seed
        self._reply: Reply = Reply(b"")
        server.script = self._serve
        self._shapes = shapes(datetime.now(UTC))
        hasty = site.context.settings.model_copy(update={"retry_max_attempts": 0})
        self._refreshers = (
            site.refresher,
            Refresher(
                Context.on(site.context.redis, hasty),
                site.client,
                site.connection,
                site.capabilities,
            ),
        )
        self.findings = Findings()

    @classmethod
    @contextmanager
    def open(cls, redis_url: str, database_url: str, seed: int) -> Iterator[Self]:
        """On an empty Valkey and a migrated database that nobody else uses."""
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        try:
            with RawServer(lambda peer: None) as server:
                settings = settings_for(
                    redis_url, database_url, server.url, request_timeout_seconds=3
                )
                with Site.open(settings, ASSETS) as site:
                    yield cls(site, server, seed)
        finally:
            structlog.reset_defaults()

    def case(self, number: int) -> tuple[Shape, Reply, Random]:
        """The same for a seed and a number, whenever it runs (but for the hour in its times)."""
        random = Random(f"{self._seed}/{number}")
        shape = random.choice(self._shapes)
        return shape, damaged(random, shape.body), random

    def run(self, number: int) -> None:
        """One damaged answer and everything that it did."""
        shape, reply, random = self.case(number)
        found = self.findings
        found.cases += 1
        try:
            for why in self._refresh(shape, reply, random.choice(self._refreshers)):
                told = ", ".join(reply.told) or "nothing damaged"
                found.problems.append(f"case {number} ({shape.feed.name}; {told}): {why}")
        except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
            last = traceback.format_exc(limit=-4)
            found.problems.append(f"case {number} ({shape.feed.name}; {reply.told}): {last}")
            self._site.connection.rollback()

    def _serve(self, peer: Peer) -> None:
        while peer.read_head():
            reply = self._reply
            if not peer.send(reply.wire()) or reply.closes:
                return

    def _refresh(self, shape: Shape, reply: Reply, refresher: Refresher) -> Iterator[str]:
        site, self._reply = self._site, reply
        site.context.redis.flushdb()
        site.connection.execute(
            "UPDATE trading.symbols SET metadata = NULL;"
            "DELETE FROM market_data.ohlcv_5m; DELETE FROM market_data.coverage_days;"
            "DELETE FROM data_sources.api_calls"
        )
        request = bars_request if shape.bars else price_request
        site.context.queue.enqueue([request(site.asset(s)) for s in shape.symbols], 3)
        deadline = SendDeadline.after(5)
        claimed = site.context.queue.claim(max_items=shape.feed.max_tickers)
        assert isinstance(claimed, Claimed), claimed
        refresher.refresh(Call(claimed, shape.feed, lambda *_: shape.feed, deadline, "fuzz", 1000))
        (outcome,) = site.outcomes() or ["no audit row"]
        self.findings.calls[outcome] += 1
        now = datetime.fromtimestamp(claimed.granted_at_ms / 1000, UTC)
        tree = contents(reply)
        done = yield from self._check_items(claimed)
        yield from self._check_rows(shape, tree, done, now)

    def _check_items(self, claimed: Claimed) -> Generator[str, None, list[str]]:
        """Where each item is now; returns the assets of those that are done."""
        keys, done = self._site.context.keys, []
        pipe = self._site.context.redis.pipeline()
        for key in (keys.queue, keys.delayed, keys.leases, keys.dead):
            pipe.zrange(key, 0, -1)
        pipe.smembers(keys.pending)
        pipe.hgetall(keys.items)
        pipe.hgetall(keys.dead_items)
        queue, delayed, leases, dead, pending, items, letters = pipe.execute()
        for item in claimed.items:
            name = item.symbol
            places = [place for place in (queue, delayed, leases, dead) if name in place]
            if len(places) > 1 or (name in pending) != (name in {*queue, *delayed, *leases}):
                yield f"{name} is in {len(places)} places, pending: {name in pending}"
            if name in leases:
                yield f"{name} is still leased: lost until the lease ends"
            elif name in dead:
                self.findings.ended["buried"] += 1
                if not json.loads(letters[name])["reason"].strip():
                    yield f"{name} is buried without a reason"
            elif name in delayed or name in queue:
                if self._back(name, json.loads(items[name])):
                    done.append(item.payload["symbol"])
            else:
                self.findings.ended["done"] += 1
                done.append(item.payload["symbol"])
        return done

    def _back(self, name: str, item: dict[str, Any]) -> bool:
        """True for a series of which a part is done: it goes on, and nothing went wrong."""
        goes_on = is_bars(name) and not (item["attempts"] or item.get("last_error"))
        what = "goes on" if goes_on else "retried" if item["attempts"] else "given back"
        self.findings.ended[what] += 1
        return goes_on

    def _check_rows(self, shape: Shape, tree: Any, done: list[str], now: datetime) -> Iterator[str]:
        site = self._site
        tickers = {asset.symbol: asset.polygon_ticker for asset in ASSETS}
        rows = site.connection.execute(
            "SELECT symbol::text, metadata #>> '{last_update}' FROM trading.symbols"
            " WHERE metadata IS NOT NULL"
        ).fetchall()
        entries: Any = site.context.redis.xrange(site.context.keys.updates)
        told = [json.loads(entry["event"], parse_float=Decimal) for _, entry in entries]
        events = {event["symbol"]: event for event in told}
        stored = {symbol: _stored(text) for symbol, text in rows}
        # An item for bars leaves the price as it is, but on a plan whose prices are those of bars;
        # it is done as well where no bar came.
        bars_only = shape.bars and shape.feed.delay is not Delay.END_OF_DAY
        priced = set() if bars_only else set(done)
        for symbol in {*(() if shape.bars else priced), *stored, *events}:
            if not (symbol in priced and symbol in stored and symbol in events):
                yield (
                    f"{symbol}: done {symbol in done}, stored {symbol in stored}, "
                    f"told {symbol in events}"
                )
                continue
            self.findings.prices += 1
            price = stored[symbol]
            if why := wrong_price(tree, shape.feed.name, tickers[symbol], price, now):
                yield f"{symbol}: {why}"
            if float(events[symbol]["last_price"]) != float(price.last):
                yield f"{symbol}: the event tells {events[symbol]['last_price']}, not {price.last}"
        bars = site.connection.execute(
            "SELECT s.symbol::text, ts, open, high, low, close, volume, vwap, trades"
            " FROM market_data.ohlcv_5m b JOIN trading.symbols s ON s.id = b.symbol_id"
        ).fetchall()
        for symbol, start, open_, high, low, close, volume, vwap, trades in bars:
            self.findings.bars += 1
            bar = StoredBar(start, (open_, high, low, close), volume, vwap, trades)
            if why := wrong_bar(tree, tickers[symbol], bar, now):
                yield f"{symbol}: {why}"


def _stored(text: str) -> Stored:
    price = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    names = ("daily_open", "daily_high", "daily_low", "daily_close")
    return Stored(
        last=price["last_price"],
        as_of=datetime.fromisoformat(price["as_of"]),
        bid=price["bid"],
        ask=price["ask"],
        daily=tuple(price[name] for name in names),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one case, told in full")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assetq-fuzz-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user if we are root
        valkey = ValkeyServer(folder / "valkey")
        postgres = PostgresServer(folder / "postgres", durable=False)
        try:
            valkey.start()
            postgres.start()
            database_url = postgres.ensure_database()
            migrate(database_url)
            return _fuzz(valkey.url, database_url, given)
        finally:
            valkey.stop()
            postgres.stop()


def _fuzz(redis_url: str, database_url: str, given: argparse.Namespace) -> int:
    started = time.monotonic()
    cases = range(given.count) if given.only is None else [given.only]
    with Fuzz.open(redis_url, database_url, given.seed) as fuzz:
        for number in cases:
            if given.only is not None:
                shape, reply, _ = fuzz.case(number)
                print(shape, reply, sep="\n")
            fuzz.run(number)
            if sys.stderr.isatty() and number % 100 == 0:
                print(f"\r{number}", end="", file=sys.stderr)
        findings = fuzz.findings
    for problem in findings.problems[:SHOWN_PROBLEMS]:
        print(f"PROBLEM {problem}")
    print(f"provider, seed {given.seed}, {time.monotonic() - started:.0f} s: {findings}")
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())
