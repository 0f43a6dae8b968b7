"""Our client and feeds against the sandbox, which was written from the provider's format alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from local.sandbox import SandboxServer
from market.aggregates import Aggregates
from market.client import MarketClient
from market.deadline import SendDeadline
from market.errors import (
    BadAnswer,
    MarketError,
    NotEntitled,
    NotFound,
    NotYetPublished,
    OutsidePlan,
    ProviderDown,
    RateLimited,
    Unauthorized,
)
from market.feeds import Feed
from market.freshness import nothing_newer
from market.quotes import Answer, Delay
from market.snapshots import Snapshot, SnapshotV3

NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)  # a Tuesday, every market open
GOLD, EUR, BTC, UNKNOWN = "C:XAUUSD", "C:EURUSD", "X:BTCUSD", "C:XXXYYY"


@contextmanager
def sandbox_at(
    now: datetime, plan: str, *, timeout_s: float = 10.0, **options: Any
) -> Iterator[tuple[SandboxServer, MarketClient]]:
    stamp_ms = int(now.timestamp() * 1000)
    options = {"limit": 0} | options
    server = SandboxServer(plan, key="test_key", now_ms=lambda: stamp_ms, **options)
    with server, MarketClient(server.url, SecretStr("test_key"), timeout_s=timeout_s) as client:
        yield server, client


def fetch(client: MarketClient, feed: Feed, *tickers: str, now: datetime = NOW) -> Answer:
    return feed.fetch(client, tickers, now=now, deadline=SendDeadline.after(5))


def test_starter_answers_everything_in_one_call() -> None:
    with sandbox_at(NOW, "starter") as (server, client):
        answer = fetch(client, SnapshotV3(), GOLD, EUR, BTC, UNKNOWN)
        assert len(server.arrivals()) == 1
    assert set(answer.observations) == {GOLD, EUR, BTC}
    assert answer.missing[UNKNOWN].permanent
    for ticker, seen in answer.observations.items():
        price = seen.price
        assert price.delay is Delay.REAL_TIME, ticker
        assert timedelta(0) <= NOW - price.as_of <= timedelta(minutes=2), ticker
        assert price.daily_low is not None
        assert price.daily_high is not None
        assert price.daily_low <= price.last <= price.daily_high, ticker
    euro = answer.observations[EUR].price
    assert euro.bid is not None
    assert euro.ask is not None
    assert euro.bid <= euro.last <= euro.ask


@pytest.mark.parametrize("ticker", [GOLD, EUR, BTC])
def test_spec_answers_single_snapshots_only(ticker: str) -> None:
    with sandbox_at(NOW, "spec") as (server, client):
        with pytest.raises(NotEntitled):
            fetch(client, SnapshotV3(), ticker)
        single = fetch(client, Snapshot(), ticker).observations[ticker].price
        bars = fetch(client, Aggregates(end_of_day=False), ticker).observations[ticker]
        assert len(server.arrivals()) == 3
    assert NOW - single.as_of <= timedelta(minutes=2)
    assert bars.price.as_of == NOW.replace(second=0)
    assert bars.bars[-1].start == NOW.replace(second=0) - timedelta(minutes=5)


def test_an_unknown_ticker() -> None:
    with sandbox_at(NOW, "spec") as (_, client):
        for feed in (Snapshot(), Aggregates()):
            with pytest.raises(NotFound) as caught:
                fetch(client, feed, UNKNOWN)
            assert caught.value.unknown_ticker


@pytest.mark.parametrize(
    ("now", "ticker", "as_of"),
    [
        (NOW, BTC, datetime(2026, 11, 24, tzinfo=UTC)),
        (NOW, EUR, datetime(2026, 11, 24, tzinfo=UTC)),
        (datetime(2026, 11, 22, 12, tzinfo=UTC), EUR, datetime(2026, 11, 20, 22, tzinfo=UTC)),
        (datetime(2026, 11, 23, 12, tzinfo=UTC), GOLD, datetime(2026, 11, 23, tzinfo=UTC)),
        (datetime(2026, 7, 18, 12, tzinfo=UTC), EUR, datetime(2026, 7, 17, 21, tzinfo=UTC)),
    ],
)
def test_free_gives_the_newest_day_and_then_nothing_newer(
    now: datetime, ticker: str, as_of: datetime
) -> None:
    with sandbox_at(now, "free") as (_, client):
        for feed in (SnapshotV3(), Snapshot()):
            with pytest.raises(NotEntitled):
                fetch(client, feed, ticker, now=now)
        seen = fetch(client, Aggregates(), ticker, now=now).observations[ticker]
    assert seen.price.delay is Delay.END_OF_DAY
    assert as_of - timedelta(minutes=15) <= seen.price.as_of <= as_of
    assert nothing_newer(ticker, seen.price.as_of, Aggregates(), now)
    assert [bar.start for bar in seen.bars] == sorted({bar.start for bar in seen.bars})
    assert len(seen.bars) > 250


def test_free_refuses_today_and_what_is_not_published() -> None:
    early = datetime(2026, 11, 24, 1, tzinfo=UTC)
    with sandbox_at(early, "free", day_turns_in_new_york=True) as (_, client):
        with pytest.raises(NotYetPublished):
            fetch(client, Aggregates(), BTC, now=early)
        with pytest.raises(NotYetPublished):  # in other words: the newest day is not in the plan
            fetch(client, Aggregates(end_of_day=False), BTC, now=early)
        long_ago, deadline = date(2024, 1, 1), SendDeadline.after(5)
        with pytest.raises(OutsidePlan):
            Aggregates().fetch_days(client, BTC, long_ago, long_ago, now=early, deadline=deadline)


def test_the_limit_and_a_wrong_key() -> None:
    with sandbox_at(NOW, "spec", limit=2) as (server, client):
        fetch(client, Snapshot(), EUR)
        fetch(client, Snapshot(), EUR)
        with pytest.raises(RateLimited) as caught:
            fetch(client, Snapshot(), EUR)
        assert caught.value.answered
        assert [arrival.status for arrival in server.arrivals()] == [200, 200, 429]
        with (
            MarketClient(server.url, SecretStr("wrong_key")) as stranger,
            pytest.raises(Unauthorized),
        ):
            fetch(stranger, Snapshot(), EUR)


@pytest.mark.parametrize(
    ("fault", "expected", "answered"),
    [
        ({"kind": "hang"}, ProviderDown, False),
        ({"kind": "reset"}, ProviderDown, False),
        ({"kind": "drip", "drip_s": 0.05}, ProviderDown, True),
        ({"kind": "cut"}, BadAnswer, True),
        ({"kind": "truncated"}, BadAnswer, True),
        ({"kind": "html"}, BadAnswer, True),
        ({"kind": "empty"}, BadAnswer, True),
        ({"kind": "redirect"}, BadAnswer, True),
        ({"kind": "nan"}, BadAnswer, True),
        ({"kind": "wrong_types"}, BadAnswer, True),
        ({"kind": "refusal"}, NotEntitled, True),
        ({"kind": "server_error", "status": 503}, ProviderDown, True),
        ({"kind": "rate_limited", "retry_after_s": 9}, RateLimited, True),
        ({"kind": "empty_429"}, RateLimited, True),
    ],
)
def test_misbehaviour(fault: dict[str, Any], expected: type[MarketError], answered: bool) -> None:
    endless = fault["kind"] in ("hang", "drip")
    with sandbox_at(NOW, "spec", timeout_s=1.0 if endless else 10.0) as (server, client):
        server.configure(fault)
        with pytest.raises(expected) as caught:
            fetch(client, Snapshot(), EUR)
        assert (caught.value.sent, caught.value.answered) == (True, answered)
        assert len(server.arrivals()) == 1
        assert caught.value.retry_after_s == fault.get("retry_after_s")
        server.configure()
        assert EUR in fetch(client, Snapshot(), EUR).observations


def test_zeros_are_missing_in_every_feed() -> None:
    with sandbox_at(NOW, "starter") as (server, client):
        server.configure({"kind": "zeros"})
        for feed in (SnapshotV3(), Snapshot(), Aggregates()):
            answer = fetch(client, feed, EUR)
            assert answer.observations == {}
            assert not answer.missing[EUR].permanent
