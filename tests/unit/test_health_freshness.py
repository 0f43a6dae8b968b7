"""The word for each price: by its age against its target, and by what the plan can give."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import fakeredis
import pytest

from db.latest import LatestPrice
from health.freshness import Freshness, FreshnessRow, freshness, supplies
from market.feeds import Aggregates, Feed
from market.freshness import nothing_newer
from market.snapshots import SnapshotV3
from market.tickers import asset_kind
from runtime.context import Context
from settings import Settings
from worker.capabilities import Capabilities

SETTINGS = Settings.model_validate({"PRIORITY_ASSETS": "XAUUSD"})
WEDNESDAY = datetime(2026, 11, 25, 12, tzinfo=UTC)
SATURDAY = datetime(2026, 11, 28, 12, tzinfo=UTC)
TICKERS = {"XAUUSD": "C:XAUUSD", "EURUSD": "C:EURUSD", "BTCUSD": "X:BTCUSD"}


class Plan(Capabilities):
    """Capabilities of a plan whose best feed is given, without Redis."""

    def __init__(self, feed: Feed, unpublished: dict[str, int] | None = None) -> None:
        self._feed, self._unpublished_ms = feed, unpublished or {}

    def price_feed_for(self, ticker: str, now: datetime, count: int = 1) -> Feed:
        return self._feed

    def seen_at(self, ticker: str, feed: Feed, now: datetime) -> datetime:
        return now - timedelta(days=1) if self._unpublished_ms else now

    def unpublished(self) -> dict[str, int]:
        return self._unpublished_ms


LIVE, DAILY = Plan(SnapshotV3()), Plan(Aggregates())


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def asset(symbol: str, now: datetime, age: timedelta, as_of: datetime | None = None) -> LatestPrice:
    return LatestPrice(
        symbol=symbol,
        ticker=TICKERS[symbol],
        name=None,
        band=1,
        every_s=600,
        active=True,
        price=Decimal("101"),
        day_open=Decimal("100"),
        as_of_ms=ms(as_of or now - age),
        fetched_at_ms=ms(now - age),
    )


def row(found: LatestPrice, now: datetime, plan: Plan = LIVE) -> FreshnessRow:
    (only,) = freshness([found], SETTINGS, supplies(plan, ms(now)), ms(now))
    return only


@pytest.mark.parametrize(
    ("minutes", "state"),
    [(0, "fresh"), (12, "fresh"), (12.1, "late"), (20, "late"), (20.1, "stale")],
)
def test_an_open_market_is_judged_by_age_and_target(minutes: float, state: str) -> None:
    found = row(asset("BTCUSD", WEDNESDAY, timedelta(minutes=minutes)), WEDNESDAY)
    assert (found.state, found.target_s) == (state, 600)
    over = minutes * 60 - 600 if state != "fresh" else None
    assert found.over_s == pytest.approx(over) if over else found.over_s is None


def test_the_target_of_a_priority_asset_is_the_batch() -> None:
    assert row(asset("XAUUSD", WEDNESDAY, timedelta(minutes=1)), WEDNESDAY).target_s == 300


def test_a_closed_market_is_never_late_once_its_last_price_is_stored() -> None:
    closed = asset("EURUSD", SATURDAY, timedelta(hours=13))  # fetched two hours after the close
    assert row(closed, SATURDAY).state is Freshness.CLOSED
    before = asset("EURUSD", SATURDAY, timedelta(hours=18))
    assert row(before, SATURDAY).state is Freshness.STALE


def test_a_market_that_has_just_opened_is_not_late_yet() -> None:
    opened = datetime(2026, 11, 29, 22, 5, tzinfo=UTC)  # Sunday, five minutes after the opening
    found = asset("EURUSD", opened, timedelta(days=2))
    assert row(found, opened).state is Freshness.FRESH
    assert row(found, opened + timedelta(minutes=8)).state is Freshness.LATE


def test_an_end_of_day_plan_is_fresh_with_the_close_of_the_newest_day() -> None:
    close = datetime(2026, 11, 24, 23, 59, tzinfo=UTC)
    assert row(asset("BTCUSD", WEDNESDAY, timedelta(hours=11), close), WEDNESDAY, DAILY).state == (
        "fresh"
    )
    old = asset("BTCUSD", WEDNESDAY, timedelta(hours=20), close - timedelta(days=1))
    assert row(old, WEDNESDAY, DAILY).state is Freshness.STALE
    later = Plan(Aggregates(), {"crypto": ms(WEDNESDAY) + 1})
    assert row(old, WEDNESDAY, later).state is Freshness.PENDING


@pytest.mark.parametrize("hour", range(0, 24 * 8, 5))
def test_the_word_agrees_with_what_the_rounds_ask_for(hour: int) -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC) + timedelta(hours=hour)
    for plan in (LIVE, DAILY):
        given = supplies(plan, ms(now))
        for symbol, ticker in TICKERS.items():
            for days in (0.01, 0.4, 1, 1.7, 3):
                found = asset(symbol, now, timedelta(days=days / 2), now - timedelta(days=days))
                expected = nothing_newer(
                    ticker,
                    now - timedelta(days=days),
                    plan.price_feed_for(ticker, now),
                    now,
                    observed_at=now - timedelta(days=days / 2),
                )
                assert given[asset_kind(ticker)].is_newest(found) is expected, (symbol, now, days)


def test_the_worst_comes_first_and_then_the_furthest_over_its_target() -> None:
    now = WEDNESDAY
    old = asset("BTCUSD", now, timedelta(hours=2))
    assets = [
        replace(old, symbol="FRESH", fetched_at_ms=ms(now)),
        replace(old, symbol="OLD"),
        replace(old, symbol="PAUSED", active=False),
        replace(old, symbol="OLDER", fetched_at_ms=ms(now) - 9_000_000),
        replace(old, symbol="NEVER", price=None, fetched_at_ms=None),
        replace(old, symbol="DEAD"),
        replace(old, symbol="FAILING"),
        replace(old, symbol="ODD", ticker="stock", fetched_at_ms=ms(now)),
    ]
    rows = freshness(
        assets, SETTINGS, supplies(LIVE, ms(now)), ms(now), failing={"FAILING"}, dead={"DEAD"}
    )
    assert [found.symbol for found in rows] == [
        "DEAD", "FAILING", "NEVER", "OLDER", "OLD", "FRESH", "ODD", "PAUSED",
    ]  # fmt: skip
    assert rows[0].change == pytest.approx(0.01)


def test_redis_tells_what_the_provider_has_not_published(redis_of: Context) -> None:
    capabilities = Capabilities(redis_of)
    now_ms = ms(WEDNESDAY)
    capabilities.not_published("X:BTCUSD", WEDNESDAY)
    capabilities.refuse("snapshot_v3", "no")
    capabilities.refuse("snapshot", "no")
    assert supplies(capabilities, now_ms)[asset_kind("X:BTCUSD")].unpublished_until_ms > now_ms


@pytest.fixture
def redis_of() -> Context:
    return Context.on(fakeredis.FakeRedis(decode_responses=True), SETTINGS)
