"""An answer about a whole market, at hand for the claims that follow."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from market.feeds import MarketRows, WholeMarket
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
ROWS = MarketRows("crypto", {t: {"ticker": t, **SNAPSHOT} for t in TICKERS}, Delay.REAL_TIME)


def claimed(token: str, symbols: Sequence[str], enqueued_at_ms: int) -> Claimed:
    items = tuple(
        Item(f"{s}USD", {"symbol": f"{s}USD", "ticker": f"X:{s}USD"}, 2, enqueued_at_ms)
        for s in symbols
    )
    return Claimed(token, items, GRANTED_MS, GRANTED_MS + 4_000, GRANTED_MS + 30_000, Hint(0))


def answered(spares: Spares, claim: Claimed) -> list[str]:
    """The tickers that get their price of what is at hand."""
    feed = WholeMarket()
    call = Call(claim, feed, lambda *_: feed, SendDeadline(0.0), "drain", 0)
    answer = spares.answer(call)
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
