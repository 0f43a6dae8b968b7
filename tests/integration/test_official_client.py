"""The provider's own Python client reads the sandbox, and our models read the same numbers.

Known gaps of the official client: it maps the `lastQuote` of a forex snapshot to names that the
provider does not send, so bid and ask come out None there; and floats where we keep decimals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from massive import RESTClient  # type: ignore[import-untyped]
from pydantic import SecretStr

from local.sandbox import SandboxServer
from market.aggregates import Aggregates
from market.client import MarketClient
from market.deadline import SendDeadline
from market.feeds import Feed
from market.quotes import Observation
from market.snapshots import Snapshot, SnapshotV3

NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
STAMP_MS = int(NOW.timestamp() * 1000)
KEY = "test_key"
TICKERS = ("C:XAUUSD", "C:EURUSD", "X:BTCUSD")


@pytest.fixture(scope="module")
def starter() -> Iterator[SandboxServer]:
    server = SandboxServer("starter", key=KEY, now_ms=lambda: STAMP_MS)
    with server:
        yield server


@pytest.fixture
def official(starter: SandboxServer) -> Any:
    return RESTClient(KEY, base=starter.url, retries=0, pagination=False)


@pytest.fixture
def ours(starter: SandboxServer) -> Iterator[MarketClient]:
    with MarketClient(starter.url, SecretStr(KEY)) as client:
        yield client


def observe(client: MarketClient, feed: Feed, *tickers: str) -> dict[str, Observation]:
    return dict(feed.fetch(client, tickers, now=NOW, deadline=SendDeadline.after(5)).observations)


def exact(value: float | None) -> Decimal | None:
    """The decimal that a float was written as."""
    return None if value is None else Decimal(repr(value))


def test_universal_snapshot(official: Any, ours: MarketClient) -> None:
    theirs = {
        item.ticker: item
        for item in official.list_universal_snapshots(ticker_any_of=list(TICKERS), limit=250)
    }
    seen = observe(ours, SnapshotV3(), *TICKERS)
    assert set(theirs) == set(seen) == set(TICKERS)
    for ticker, item in theirs.items():
        price = seen[ticker].price
        assert price.daily_open == exact(item.session.open)
        assert price.daily_high == exact(item.session.high)
        assert price.daily_low == exact(item.session.low)
        assert price.daily_close == exact(item.session.close)
    for ticker in ("C:XAUUSD", "C:EURUSD"):
        price, quote = seen[ticker].price, theirs[ticker].last_quote
        assert (price.bid, price.ask) == (exact(quote.bid), exact(quote.ask))
        assert int(price.as_of.timestamp() * 1000) == quote.last_updated // 1_000_000
    assert seen["X:BTCUSD"].price.last == exact(theirs["X:BTCUSD"].last_trade.price)


@pytest.mark.parametrize("ticker", TICKERS)
def test_single_snapshot(official: Any, ours: MarketClient, ticker: str) -> None:
    market = "crypto" if ticker.startswith("X:") else "forex"
    theirs = official.get_snapshot_ticker(market, ticker)
    price = observe(ours, Snapshot(), ticker)[ticker].price
    assert theirs.ticker == ticker
    assert (price.daily_open, price.daily_high, price.daily_low, price.daily_close) == (
        exact(theirs.day.open),
        exact(theirs.day.high),
        exact(theirs.day.low),
        exact(theirs.day.close),
    )
    if market == "crypto":
        assert price.last == exact(theirs.last_trade.price)
    else:
        assert price.bid is not None  # the official client cannot read these two
        assert price.ask is not None


@pytest.mark.parametrize("ticker", TICKERS)
def test_aggregates(official: Any, ours: MarketClient, ticker: str) -> None:
    bars = observe(ours, Aggregates(), ticker)[ticker].bars
    first, last = bars[0].start.date(), bars[-1].start.date()
    theirs = official.get_aggs(ticker, 5, "minute", str(first), str(last), limit=50000)
    assert len(bars) == len(theirs) > 250
    for bar, agg in zip(bars, theirs, strict=True):
        assert int(bar.start.timestamp() * 1000) == agg.timestamp
        assert (bar.open, bar.high, bar.low, bar.close) == (
            exact(agg.open),
            exact(agg.high),
            exact(agg.low),
            exact(agg.close),
        )
        assert bar.volume == exact(agg.volume)
        assert bar.trades == agg.transactions
