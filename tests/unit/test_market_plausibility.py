"""Candidates of an answer are weighed: what is not a price falls, and the next takes its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.plausibility import (
    TOLERANCES,
    Candidate,
    Range,
    Verdict,
    weigh,
)
from market.quotes import Basis
from market.tickers import asset_kind

EUR, GOLD, BTC = "C:EURUSD", "C:XAUUSD", "X:BTCUSD"
NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)  # a Tuesday
SATURDAY = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
FRIDAY_CLOSE = datetime(2026, 11, 27, 22, 0, tzinfo=UTC)


def quote(bid: object, ask: object, *, age_s: float = 0) -> Candidate:
    low, high = Decimal(str(bid)), Decimal(str(ask))
    at = NOW - timedelta(seconds=age_s)
    return Candidate(Basis.QUOTE, (low + high) / 2, at, bid=low, ask=high)


def one(
    basis: Basis,
    price: object,
    *,
    age_s: float = 0,
    approximate: bool = False,
    now: datetime = NOW,
) -> Candidate:
    at = now - timedelta(seconds=age_s)
    return Candidate(basis, Decimal(str(price)), at, approximate=approximate)


def trade(price: object, age_s: float = 0) -> Candidate:
    return one(Basis.TRADE, price, age_s=age_s)


def minute(price: object, age_s: float = 30) -> Candidate:
    return one(Basis.MINUTE, price, age_s=age_s)


def session(price: object, age_s: float = 0) -> Candidate:
    return one(Basis.SESSION, price, age_s=age_s, approximate=True)


def span(low: object, high: object) -> Range:
    return Range(Decimal(str(low)), Decimal(str(high)))


def told(verdict: Verdict) -> tuple[str, str] | None:
    chosen = verdict.chosen
    return (chosen.basis.value, str(chosen.price)) if chosen else None


@pytest.mark.parametrize(
    ("ticker", "candidates", "ranges", "wanted"),
    [
        # a stub on one side, on the other, on both, and one that is merely wide
        (EUR, [quote("0.0001", "1.15"), session("1.16")], [span(1, "1.2")], "session"),
        (EUR, [quote("1.15", "199999"), session("1.16")], [span(1, "1.2")], "session"),
        (EUR, [quote("0.01", "9999.99"), minute("1.15")], [], "minute"),
        (EUR, [quote("1.00", "1.30"), session("1.16")], [span(1, "1.2")], "session"),
        # a tight quote of another world
        (EUR, [quote("0.575", "0.5751"), minute("1.15"), session("1.16")], [], "minute"),
        (EUR, [quote("0.575", "0.5751"), session("1.16")], [span(1, "1.2")], "session"),
        (EUR, [quote("115.0", "115.1"), session("1.16")], [span(1, "1.2")], "session"),
        # the day's figures are those of another world, and all the rest agrees
        (EUR, [quote("1.15", "1.151"), minute("1.15"), session("115")], [span(110, 120)], "quote"),
        # crossed: the trade, or the next that is there
        (BTC, [trade("68005"), quote("68010", "68000")], [], "trade"),
        (BTC, [quote("68010", "68000"), minute("68004")], [], "minute"),
        # a three days old quote beside a fresh close
        (EUR, [quote("1.10", "1.1001", age_s=3 * 86400), minute("1.15", 60)], [], "minute"),
        (EUR, [quote("1.10", "1.1001", age_s=3 * 86400), session("1.15")], [], "session"),
        (BTC, [trade("68005", 7200), quote("68100", "68101")], [], "quote"),
        # hardly newer is not newer
        (EUR, [quote("1.15", "1.1501", age_s=90), minute("1.15", 0)], [], "quote"),
        (EUR, [quote("1.15", "1.1501", age_s=600), session("1.15", 0)], [], "quote"),
        # from the future: that figure alone falls
        (EUR, [quote("1.15", "1.1501", age_s=-900), minute("1.15")], [], "minute"),
        # real crashes pass: 10 % in a minute, 40 % in a day
        (EUR, [quote("1.035", "1.0351"), session("1.15")], [span("1.14", "1.16")], "quote"),
        (BTC, [trade("54000"), minute("60000"), session("60000")], [span(59000, 61000)], "trade"),
        (BTC, [trade("36000"), session("36000")], [span(36000, 60000)], "trade"),
    ],
)
def test_the_price_is_what_the_answer_supports(
    ticker: str, candidates: list[Candidate], ranges: list[Range], wanted: str
) -> None:
    verdict = weigh(ticker, candidates, ranges, NOW)
    assert verdict.chosen is not None
    assert verdict.chosen.basis.value == wanted


@pytest.mark.parametrize(
    "candidates",
    [
        [],
        [Candidate(Basis.TRADE, None, NOW)],
        [Candidate(Basis.TRADE, Decimal(5), None)],
        [quote("1.2", "1.1")],
        [quote("0.0001", "1.15")],
        [one(Basis.MINUTE, 5, age_s=-3600)],
    ],
)
def test_where_every_figure_falls_there_is_no_price(candidates: list[Candidate]) -> None:
    verdict = weigh(EUR, candidates, [], NOW)
    assert (verdict.chosen, verdict.as_of, verdict.supported) == (None, None, False)
    assert len(verdict.fallen) == sum(c.price is not None for c in candidates)


def test_a_figure_that_stands_alone_is_used_and_says_so() -> None:
    assert not weigh(EUR, [quote("0.575", "0.5751")], [], NOW).supported
    assert weigh(EUR, [quote("0.575", "0.5751"), minute("0.58")], [], NOW).supported


@pytest.mark.parametrize("ticker", [EUR, GOLD])
def test_a_closed_market_is_not_dated_after_its_close(ticker: str) -> None:
    only = one(Basis.SESSION, "1.16", approximate=True, now=SATURDAY)
    verdict = weigh(ticker, [only], [], SATURDAY)
    assert verdict.as_of == FRIDAY_CLOSE
    late = one(Basis.QUOTE, "1.16", age_s=13 * 3600, now=SATURDAY)  # Friday 23:00
    assert weigh(ticker, [late], [], SATURDAY).as_of == FRIDAY_CLOSE
    early = one(Basis.QUOTE, "1.16", age_s=15 * 3600, now=SATURDAY)  # Friday 21:00
    assert weigh(ticker, [early], [], SATURDAY).as_of == early.at


def test_crypto_never_closes() -> None:
    only = one(Basis.SESSION, "90000", approximate=True, now=SATURDAY)
    assert weigh(BTC, [only], [], SATURDAY).as_of == SATURDAY


def test_an_update_time_ahead_of_the_grant_counts_as_the_grant() -> None:
    soon = Candidate(Basis.SESSION, Decimal("1.16"), NOW + timedelta(seconds=3), approximate=True)
    assert weigh(EUR, [soon], [], NOW).as_of == NOW


prices = st.decimals(
    min_value=Decimal("0.0001"), max_value=Decimal("1e6"), places=4, allow_nan=False
)
ages = st.integers(min_value=-600, max_value=4 * 86400)


@st.composite
def figures(draw: st.DrawFn) -> Candidate:
    basis = draw(st.sampled_from([Basis.QUOTE, Basis.TRADE, Basis.MINUTE, Basis.SESSION]))
    at = draw(st.one_of(st.none(), ages.map(lambda s: NOW - timedelta(seconds=s))))
    if basis is Basis.QUOTE:
        bid, ask = draw(prices), draw(prices)
        return Candidate(basis, (bid + ask) / 2, at, bid=bid, ask=ask)
    return Candidate(basis, draw(prices), at, approximate=basis is Basis.SESSION)


@given(
    candidates=st.lists(figures(), max_size=4),
    ranges=st.lists(st.tuples(prices, prices).map(lambda p: Range(min(p), max(p))), max_size=2),
    ticker=st.sampled_from([EUR, GOLD, BTC]),
)
def test_whatever_comes_the_price_is_one_of_the_best_supported(
    candidates: list[Candidate], ranges: list[Range], ticker: str
) -> None:
    verdict = weigh(ticker, candidates, ranges, NOW)
    chosen, tolerances = verdict.chosen, TOLERANCES[asset_kind(ticker)]
    if chosen is None:
        assert len(verdict.fallen) == len(candidates)
        return
    assert chosen in candidates
    assert chosen.price is not None
    assert chosen.at is not None
    assert verdict.as_of is not None
    assert verdict.as_of <= chosen.at <= NOW + timedelta(minutes=2)
    if chosen.bid is not None and chosen.ask is not None:
        assert chosen.bid <= chosen.ask
        assert chosen.ask - chosen.bid <= tolerances.spread * chosen.price
