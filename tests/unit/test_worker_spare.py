"""An answer about a whole market, at hand for the claims that follow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from market.feeds import Feed, SnapshotRows, WholeMarket
from market.grouped import DayRows, Grouped
from market.quotes import Delay
from market.transport import SendDeadline
from queueing import Claimed, Hint, Item
from worker.call import Call
from worker.spare import Spares

TICKERS = ("X:AUSD", "X:BUSD", "X:CUSD")
GRANTED_MS = 1_795_803_410_777
SNAPSHOT = {
    "lastTrade": {"p": 2.5, "t": GRANTED_MS - 5_000},
    "day": {"o": 2.4, "h": 2.6, "l": 2.3, "c": 2.5},
}
ROWS = SnapshotRows("crypto", {t: {"ticker": t, **SNAPSHOT} for t in TICKERS}, Delay.REAL_TIME)


def claimed(token: str, symbols: Sequence[str], enqueued_at_ms: int) -> Claimed:
    items = tuple(
        Item(f"{s}USD", {"symbol": f"{s}USD", "ticker": f"X:{s}USD"}, 2, enqueued_at_ms)
        for s in symbols
    )
    return Claimed(token, items, GRANTED_MS, GRANTED_MS + 4_000, GRANTED_MS + 30_000, Hint(0))


def answered(
    spares: Spares,
    claim: Claimed,
    *,
    feed: Feed | None = None,
    seen_at: datetime | None = None,
) -> list[str]:
    """The tickers that get their price of what is at hand."""
    used = feed or WholeMarket()
    call = Call(claim, used, lambda *_: used, SendDeadline(0.0), "drain", 0)
    answer = spares.answer(call, seen_at or call.granted_at)
    return sorted(answer.observations) if answer else []


@pytest.fixture
def spares() -> Spares:
    kept = Spares()
    kept.keep(ROWS, claimed("first", "A", GRANTED_MS - 60_000))
    return kept


def test_what_waited_at_the_grant_is_served(spares: Spares) -> None:
    assert answered(spares, claimed("next", "BC", GRANTED_MS)) == ["X:BUSD", "X:CUSD"]


def test_what_was_asked_for_later_is_not(spares: Spares) -> None:
    assert answered(spares, claimed("next", "BC", GRANTED_MS + 1)) == []


@pytest.mark.parametrize("since_ms", [-180_000, -1, 0])
def test_nothing_is_served_twice_although_the_clock_went_back(
    spares: Spares, since_ms: int
) -> None:
    assert answered(spares, claimed("next", "AB", GRANTED_MS + since_ms)) == []
    assert answered(spares, claimed("third", "BC", GRANTED_MS + since_ms)) == ["X:BUSD", "X:CUSD"]
    assert answered(spares, claimed("again", "BC", GRANTED_MS + since_ms)) == []


# --- the day of a market, which is over: it does not change


BAR = {"o": 2.4, "h": 2.6, "l": 2.3, "c": 2.5, "v": 1}
GRANTED_AT = datetime.fromtimestamp(GRANTED_MS / 1000, UTC)
DAY = GRANTED_AT.date() - timedelta(days=1)


@pytest.fixture
def day() -> Spares:
    kept = Spares()
    rows = DayRows("crypto", {t: {"T": t, **BAR} for t in TICKERS}, DAY)
    kept.keep(rows, claimed("first", "A", GRANTED_MS - 60_000))
    return kept


def test_a_day_serves_what_is_asked_for_later_as_well(day: Spares) -> None:
    later = claimed("next", "BC", GRANTED_MS + 5_000)
    assert answered(day, later, feed=Grouped()) == ["X:BUSD", "X:CUSD"]
    assert answered(day, later, feed=Grouped()) == [], "each once"


def test_a_day_serves_no_call_for_another_day_or_for_live_prices(day: Spares) -> None:
    for days in (-1, 1):
        seen_at = GRANTED_AT + timedelta(days=days)
        claim = claimed("next", "BC", GRANTED_MS)
        assert answered(day, claim, feed=Grouped(), seen_at=seen_at) == []
    assert answered(day, claimed("next", "BC", GRANTED_MS)) == []


def test_live_prices_serve_no_call_for_a_day(spares: Spares) -> None:
    assert answered(spares, claimed("next", "BC", GRANTED_MS), feed=Grouped()) == []
