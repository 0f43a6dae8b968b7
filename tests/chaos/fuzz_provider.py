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
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Self

import structlog

from db.migrate import migrate
from local.servers.postgres import PostgresServer
from local.servers.valkey import ValkeyServer
from market.quotes import Delay
from market.transport import SendDeadline
from queueing import Claimed
from runtime.context import Context
from tests.chaos.fuzz_shapes import ASSETS, Shape, shapes
from tests.chaos.mutation import Reply, damaged
from tests.chaos.stated import (
    Stored,
    StoredBar,
    bar_rows,
    contents,
    is_cut,
    supported,
    wrong_bar,
    wrong_price,
)
from tests.kit.market_server import Peer, RawServer
from tests.kit.worker import Site, settings_for
from worker.call import Call
from worker.refresh import Refresher
from worker.work import bars_request, is_bars, price_request

SHOWN_PROBLEMS = 20


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
    days: int = 0
    suspect: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ended, calls = (
            ", ".join(f"{name} {count}" for name, count in counter.most_common())
            for counter in (self.ended, self.calls)
        )
        return (
            f"{self.cases} answers: {len(self.problems)} problems\n"
            f"items: {ended}\ncalls: {calls}\n"
            f"compared with the answer: {self.prices} prices ({self.suspect} suspect), "
            f"{self.bars} bars, {self.days} days of coverage"
        )


class Fuzz:
    """One site whose provider answers what it is told."""

    def __init__(self, site: Site, server: RawServer, seed: int) -> None:
        self._site, self._seed = site, seed
        self._reply: Reply = Reply(b"")
        server.script = self._serve
        self._shapes = shapes(datetime.now(UTC))
        self._assets = {asset.symbol: site.asset(asset.symbol) for asset in ASSETS}
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
            refresher, factor = random.choice(self._refreshers), random.choice((None, 1, 3))
            known = {s: price * factor for s, price in shape.known.items()} if factor else {}
            for why in self._refresh(shape, reply, refresher, known):
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

    def _refresh(
        self, shape: Shape, reply: Reply, refresher: Refresher, known: Mapping[str, Decimal]
    ) -> Iterator[str]:
        site, self._reply = self._site, reply
        site.context.redis.flushdb()
        site.connection.execute(
            "UPDATE trading.symbols SET metadata = NULL;"
            "DELETE FROM market_data.ohlcv_5m; DELETE FROM market_data.coverage_days;"
            "DELETE FROM data_sources.api_calls"
        )
        self._know(known)
        request = bars_request if shape.bars else price_request
        site.context.queue.enqueue([request(self._assets[s]) for s in shape.symbols], 3)
        deadline = SendDeadline.after(5)
        claimed = site.context.queue.claim(max_items=shape.feed.max_tickers)
        assert isinstance(claimed, Claimed), claimed
        refresher.refresh(Call(claimed, shape.feed, lambda *_: shape.feed, deadline, "fuzz", 1000))
        (outcome,) = site.outcomes() or ["no audit row"]
        self.findings.calls[outcome] += 1
        now = datetime.fromtimestamp(claimed.granted_at_ms / 1000, UTC)
        tree = contents(reply)
        done = yield from self._check_items(claimed)
        suspects = "SELECT 1 FROM trading.symbols WHERE metadata ? 'suspect_update'"
        self.findings.suspect += len(site.connection.execute(suspects).fetchall())
        yield from self._check_rows(shape, tree, done, now, known)
        yield from self._check_coverage(tree)

    def _know(self, known: Mapping[str, Decimal]) -> None:
        """A price of long ago stands in the table."""
        as_of = "2020-01-01T00:00:00.000000+00:00"
        for symbol, price in known.items():
            update = {"last_price": float(price), "as_of": as_of, "timestamp": as_of}
            self._site.connection.execute(
                "UPDATE trading.symbols SET metadata = %s::jsonb WHERE symbol = %s",
                [json.dumps({"last_update": update | {"observed_at_ms": 1}}), symbol],
            )

    def _check_jump(
        self, shape: Shape, tree: Any, symbol: str, price: Decimal, known: Decimal | None
    ) -> Iterator[str]:
        """A price far from the one that stood there is one that the answer supports."""
        ticker = next(asset.polygon_ticker for asset in ASSETS if asset.symbol == symbol)
        if known is None or max(price, known) <= min(price, known) * Decimal("1.26"):
            return
        if not supported(tree, shape.feed.name, ticker, price):
            yield f"{symbol}: {price} after {known} is supported by nothing"

    def _check_coverage(self, tree: Any) -> Iterator[str]:
        """No day says more than the answer and the table do."""
        tickers = {asset.symbol: asset.polygon_ticker for asset in ASSETS}
        rows = self._site.connection.execute(
            """SELECT c.symbol::text, c.day, c.status, c.bars, c.expected,
                      (SELECT count(*) FROM market_data.ohlcv_5m AS b
                       JOIN trading.symbols AS s ON s.id = b.symbol_id
                       WHERE s.symbol = c.symbol
                             AND (b.ts AT TIME ZONE 'UTC')::date = c.day)
               FROM market_data.coverage AS c WHERE c.timeframe = '5m' AND c.asked_at IS NOT NULL"""
        ).fetchall()
        for symbol, day, status, bars, expected, there in rows:
            self.findings.days += 1
            told = f"{symbol} {day}: {status} with {bars} of {expected} bars, {there} in the table"
            if tree is None:
                yield f"{told}, from an answer that states nothing"
            elif bars != there:
                yield told
            elif status == "complete":
                stated = bar_rows(tree, tickers[symbol])
                of_day = sum(at.date() == day for at in stated)
                later = any(at.date() > day for at in stated)
                if min(there, of_day) < 0.9 * expected or (is_cut(tree) and not later):
                    yield f"{told}, {of_day} stated"

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

    def _check_rows(
        self,
        shape: Shape,
        tree: Any,
        done: list[str],
        now: datetime,
        known: Mapping[str, Decimal],
    ) -> Iterator[str]:
        site = self._site
        tickers = {asset.symbol: asset.polygon_ticker for asset in ASSETS}
        rows = site.connection.execute(
            "SELECT symbol::text, metadata #>> '{last_update}' FROM trading.symbols"
            " WHERE metadata IS NOT NULL"
        ).fetchall()
        entries: Any = site.context.redis.xrange(site.context.keys.updates)
        told = [json.loads(entry["event"], parse_float=Decimal) for _, entry in entries]
        events = {event["symbol"]: event for event in told}
        stored = {symbol: _stored(text) for symbol, text in rows if '"bid"' in text}
        # An item for bars leaves the price as it is, but on a plan whose prices are those of bars;
        # it is done as well where no bar came.
        bars_only = shape.bars and shape.feed.delay is not Delay.END_OF_DAY
        priced = set() if bars_only else set(done)
        for symbol in {*(() if shape.bars else priced), *stored, *events}:
            if symbol in known and symbol not in {*stored, *events}:
                continue  # what came is older than what stands there, or is not believed
            if not (symbol in priced and symbol in stored and symbol in events):
                yield (
                    f"{symbol}: done {symbol in done}, stored {symbol in stored}, "
                    f"told {symbol in events}"
                )
                continue
            self.findings.prices += 1
            price = stored[symbol]
            yield from self._check_jump(shape, tree, symbol, price.last, known.get(symbol))
            if why := wrong_price(tree, shape.feed.name, tickers[symbol], price, now):
                yield f"{symbol}: {why}"
            if float(events[symbol]["last_price"]) != float(price.last):
                yield f"{symbol}: the event tells {events[symbol]['last_price']}, not {price.last}"
        bars = site.connection.execute(
            "SELECT s.symbol::text, ts, open, high, low, close, volume, vwap, trades"
            " FROM market_data.ohlcv_5m b JOIN trading.symbols s ON s.id = b.symbol_id"
        ).fetchall()
        stated = {symbol: bar_rows(tree, tickers[symbol]) for symbol in {bar[0] for bar in bars}}
        for symbol, start, open_, high, low, close, volume, vwap, trades in bars:
            self.findings.bars += 1
            bar = StoredBar(start, (open_, high, low, close), volume, vwap, trades)
            if why := wrong_bar(stated[symbol], bar, now):
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
