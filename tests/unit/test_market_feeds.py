"""What each feed makes of the provider's answers; the shapes are those of its own examples."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.aggregates import Aggregates
from market.client import JsonDict, MarketClient
from market.deadline import SendDeadline
from market.errors import (
    BadAnswer,
    InvalidTicker,
    MarketError,
    NotFound,
    NoTrading,
    NotYetPublished,
    OutsidePlan,
)
from market.feeds import FEEDS, Feed, bars_feed, feeds_for, price_feeds
from market.grouped import Grouped
from market.quotes import Answer, Basis, DaysAsked, Delay
from market.snapshots import Snapshot, SnapshotV3
from market.tiers import TIERS, Tier
from market.whole import WholeMarket

NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
DEADLINE = SendDeadline.after(60)
EUR, BTC = "C:EURUSD", "X:BTCUSD"


class Canned:
    """Stands where the client stands: one answer, and what was asked for. The client itself is
    tested against real sockets."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, str]]] = []

    def get(self, path: str, params: Mapping[str, str], *, deadline: SendDeadline) -> JsonDict:
        self.asked.append((path, dict(params)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return cast(JsonDict, self.answer)


def fetch(feed: Feed, answer: Any, *tickers: str) -> Answer:
    canned = answer if isinstance(answer, Canned) else Canned(answer)
    client = cast(MarketClient, canned)
    return feed.fetch(client, tickers, now=NOW, deadline=DEADLINE)


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def ns(moment: datetime) -> int:
    return ms(moment) * 1_000_000


SESSION = {"open": 1.15, "high": Decimal("1.17"), "low": 1.14, "close": 1.16, "change": 0.01}


def fx_item(**changes: Any) -> dict[str, Any]:
    item = {
        "ticker": EUR,
        "type": "fx",
        "session": SESSION,
        "last_quote": {
            "ask": Decimal("1.16020"),
            "bid": Decimal("1.16010"),
            "last_updated": ns(NOW),
            "timeframe": "REAL-TIME",
        },
    }
    return item | changes


def crypto_item(**changes: Any) -> dict[str, Any]:
    trade = {"price": Decimal("98765.43"), "size": 1, "participant_timestamp": ns(NOW)}
    return {"ticker": BTC, "type": "crypto", "session": SESSION, "last_trade": trade} | changes


def v3(*results: Any, **more: Any) -> dict[str, Any]:
    return {"status": "OK", "request_id": "r", "results": list(results)} | more


def test_one_call_reads_both_markets() -> None:
    canned = Canned(v3(fx_item(), crypto_item()))
    answer = fetch(SnapshotV3(), canned, EUR, BTC)
    assert canned.asked == [
        ("/v3/snapshot", {"ticker.any_of": "C:EURUSD,X:BTCUSD", "limit": "250"})
    ]
    euro, bitcoin = answer.observations[EUR].price, answer.observations[BTC].price
    assert (euro.last, euro.bid, euro.ask) == (
        Decimal("1.16015"),
        Decimal("1.16010"),
        Decimal("1.16020"),
    )
    assert (euro.daily_high, euro.daily_close) == (Decimal("1.17"), Decimal("1.16"))
    assert (euro.as_of, euro.source, euro.delay) == (
        NOW,
        "snapshot_v3",
        Delay.REAL_TIME,
    )
    assert (bitcoin.last, bitcoin.bid) == (Decimal("98765.43"), None)
    assert answer.missing == {}
    assert answer.observations[EUR].bars == ()


def test_delayed_is_said_by_the_item() -> None:
    quote = {"ask": 1.161, "bid": 1.16, "last_updated": ns(NOW), "timeframe": "DELAYED"}
    answer = fetch(SnapshotV3(), v3(fx_item(last_quote=quote)), EUR)
    assert answer.observations[EUR].price.delay is Delay.DELAYED


@pytest.mark.parametrize(
    ("changes", "last", "age_s"),
    [
        ({"last_quote": {"ask": 0, "bid": 0, "last_updated": 0}}, "1.16", 90),
        ({"last_quote": None}, "1.16", 90),
        ({"last_quote": {"ask": 0, "bid": "1.16010", "last_updated": ns(NOW)}}, "1.16", 90),
        (
            {"last_quote": None, "last_minute": {"close": 1.161, "last_updated": ns(NOW)}},
            "1.161",
            0,
        ),
    ],
)
def test_without_a_quote_the_close_counts(changes: Any, last: str, age_s: int) -> None:
    session = SESSION | {"last_updated": ns(NOW - timedelta(seconds=90))}
    answer = fetch(SnapshotV3(), v3(fx_item(session=session, **changes)), EUR)
    price = answer.observations[EUR].price
    assert price.last == Decimal(last)
    assert price.as_of == NOW - timedelta(seconds=age_s)


NO_PRICES = {"open": 0, "high": 0, "low": 0, "close": 0, "last_updated": ns(NOW)}


@pytest.mark.parametrize(
    ("item", "reason", "permanent"),
    [
        ({"ticker": EUR, "error": "NOT_FOUND", "message": "Ticker not found."}, "NOT_FOUND", True),
        ({"ticker": EUR, "error": "INTERNAL", "message": "x"}, "INTERNAL", False),
        (fx_item(last_quote={"ask": 1, "bid": 2, "last_updated": ns(NOW)}), "crossed", False),
        (fx_item(last_quote={"ask": 1, "bid": -2, "last_updated": ns(NOW)}), "malformed", False),
        (fx_item(last_quote={"ask": "x", "bid": 1}), "malformed: last_quote.ask", False),
        (fx_item(last_quote={"ask": 1.161, "bid": 1.16}), "quote: no time of its own", False),
        (fx_item(last_quote=None, session=NO_PRICES), "no price in the answer", False),
        (
            fx_item(last_quote={"ask": 1.15, "bid": 0.0001, "last_updated": ns(NOW)}),
            "quote: a spread from 0.0001 to 1.15",
            False,
        ),
        (
            fx_item(last_quote={"ask": 2, "bid": 1, "last_updated": ns(NOW + timedelta(hours=1))}),
            "future",
            False,
        ),
        ({"ticker": "C:OTHERS"}, "left it out", False),
        ("not an object", "left it out", False),
    ],
)
def test_one_bad_ticker_does_not_spoil_the_others(item: Any, reason: str, permanent: bool) -> None:
    answer = fetch(SnapshotV3(), v3(item, crypto_item()), EUR, BTC)
    assert set(answer.observations) == {BTC}
    assert reason in answer.missing[EUR].reason
    assert answer.missing[EUR].permanent is permanent


@pytest.mark.parametrize("body", [{}, {"results": None}, {"results": []}])
def test_an_empty_answer_leaves_everything_missing(body: dict[str, Any]) -> None:
    answer = fetch(SnapshotV3(), {"status": "OK"} | body, EUR, BTC)
    assert answer.observations == {}
    assert set(answer.missing) == {EUR, BTC}
    assert not any(m.permanent for m in answer.missing.values())


def test_a_malformed_ticker_does_not_stop_the_others() -> None:
    canned = Canned(v3(crypto_item()))
    answer = fetch(SnapshotV3(), canned, "C:EUR/USD", BTC)
    assert canned.asked[0][1]["ticker.any_of"] == BTC
    assert set(answer.observations) == {BTC}
    assert answer.missing["C:EUR/USD"].permanent


def test_not_entitled_for_some_or_for_all() -> None:
    refused = {"ticker": EUR, "error": "NOT_ENTITLED", "message": "Not entitled to this ticker."}
    answer = fetch(SnapshotV3(), v3(refused, crypto_item()), EUR, BTC)
    assert answer.missing[EUR].not_entitled
    assert answer.missing[EUR].elsewhere, (
        "it costs the asset no attempt, and the next feed is asked"
    )
    answer = fetch(SnapshotV3(), v3(refused), EUR)
    assert answer.missing[EUR].elsewhere, "the feed is not refused: others may be given"


def test_a_second_page_is_a_call_of_its_own() -> None:
    page = v3(fx_item(), next_url="https://elsewhere.example/v3/snapshot?cursor=abc&apiKey=k")
    answer = fetch(SnapshotV3(), page, EUR, BTC)
    assert (set(answer.observations), answer.missing) == ({EUR}, {})
    assert answer.cut_short
    assert not fetch(SnapshotV3(), v3(fx_item()), EUR).cut_short
    answer = fetch(SnapshotV3(), v3(next_url="http://x/?cursor=abc"), EUR)
    assert set(answer.missing) == {EUR}  # a page without any of ours must not be asked for ever


def test_results_of_the_wrong_type_are_a_bad_answer() -> None:
    with pytest.raises(BadAnswer, match="results"):
        fetch(SnapshotV3(), {"status": "OK", "results": "none"}, EUR)


def v2(ticker: str, status: str = "OK", **parts: Any) -> dict[str, Any]:
    day = {"o": 1.15, "h": 1.17, "l": 1.14, "c": 1.16, "v": 10}
    return {
        "status": status,
        "ticker": {"ticker": ticker, "updated": ms(NOW), "day": day} | parts,
    }


def test_single_forex_snapshot() -> None:
    quote = {"a": Decimal("1.1602"), "b": Decimal("1.1600"), "t": ms(NOW), "x": 48}
    canned = Canned(v2(EUR, lastQuote=quote))
    price = fetch(Snapshot(), canned, EUR).observations[EUR].price
    assert canned.asked == [
        (f"/v2/snapshot/locale/global/markets/forex/tickers/{EUR}", {}),
    ]
    assert (price.last, price.bid, price.ask) == (
        Decimal("1.1601"),
        Decimal("1.1600"),
        Decimal("1.1602"),
    )
    assert (price.daily_open, price.source) == (Decimal("1.15"), "snapshot")
    assert price.as_of == NOW


def test_single_crypto_snapshot_and_its_delay() -> None:
    trade = {"p": "98765.43", "s": 0.1, "t": ms(NOW), "x": 1, "c": [2], "i": 17}
    day = {"o": 97000, "h": 99000, "l": 96000, "c": 98000}
    canned = Canned(v2(BTC, status="DELAYED", lastTrade=trade, day=day))
    price = fetch(Snapshot(), canned, BTC).observations[BTC].price
    assert "/crypto/" in canned.asked[0][0]
    assert (price.last, price.delay) == (Decimal("98765.43"), Delay.DELAYED)


def test_the_last_minute_counts_as_of_its_end_and_is_no_bar() -> None:
    start = NOW.replace(second=0) - timedelta(minutes=3)
    minute = {"o": 1.1, "h": 1.3, "l": 1.0, "c": 1.2, "v": 3, "n": 3, "t": ms(start)}
    (seen,) = fetch(Snapshot(), v2(EUR, min=minute), EUR).observations.values()
    assert (seen.price.last, seen.bars) == (Decimal("1.2"), ())
    assert seen.price.as_of == start + timedelta(minutes=1)
    running = minute | {"t": ms(NOW.replace(second=0))}
    (seen,) = fetch(Snapshot(), v2(EUR, min=running), EUR).observations.values()
    assert seen.price.as_of == NOW


def test_a_cleared_snapshot_is_no_price() -> None:
    zeros = {"o": 0, "h": 0, "l": 0, "c": 0, "v": 0, "t": 0}
    body = v2(EUR, day=zeros, min=zeros, lastQuote={"a": 0, "b": 0, "t": 0})
    assert "no price" in fetch(Snapshot(), body, EUR).missing[EUR].reason


@pytest.mark.parametrize("feed", FEEDS[1:], ids=lambda feed: feed.name)
@pytest.mark.parametrize(("text", "unknown"), [("Ticker not found.", True), ("No data.", False)])
def test_a_404_says_what_is_not_there(feed: Feed, text: str, unknown: bool) -> None:
    with pytest.raises(NotFound) as caught:
        fetch(feed, NotFound(text, status=404), EUR)
    assert caught.value.unknown_ticker is unknown


@pytest.mark.parametrize("body", [{"status": "OK"}, v2(BTC), v2(EUR, day={"c": "x"})])
def test_a_senseless_snapshot_is_a_bad_answer(body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        fetch(Snapshot(), body, EUR)


DAY = datetime(2026, 11, 23, tzinfo=UTC)


def row(minute: int, close: Any = 1.16, **changes: Any) -> dict[str, Any]:
    start = ms(DAY + timedelta(minutes=minute))
    bar = {"o": 1.15, "h": 1.17, "l": 1.14, "c": close, "v": 12, "vw": 1.155, "n": 12, "t": start}
    return bar | changes


def aggs(*rows: Any, status: str = "DELAYED") -> dict[str, Any]:
    results: dict[str, Any] = {"results": list(rows)} if rows else {}
    return {"ticker": EUR, "status": status, "resultsCount": len(rows)} | results


def test_aggregates_of_the_newest_day() -> None:
    canned = Canned(aggs(row(1435, Decimal("1.161")), row(1430, h=1.18), row(1425, l=1.13)))
    (seen,) = fetch(Aggregates(), canned, EUR).observations.values()
    path = f"/v2/aggs/ticker/{EUR}/range/5/minute/2026-11-19/2026-11-23"
    assert canned.asked == [(path, {"adjusted": "true", "sort": "asc", "limit": "50000"})]
    assert [bar.start.minute for bar in seen.bars] == [45, 50, 55]
    assert (seen.bars[0].vwap, seen.bars[0].trades) == (Decimal("1.155"), 12)
    price = seen.price
    assert (price.last, price.as_of) == (Decimal("1.161"), DAY + timedelta(days=1))
    assert (price.daily_open, price.daily_high, price.daily_low, price.daily_close) == (
        Decimal("1.15"),
        Decimal("1.18"),
        Decimal("1.13"),
        Decimal("1.161"),
    )
    assert (price.source, price.delay, price.bid) == ("aggregates", Delay.END_OF_DAY, None)


def test_a_day_belongs_to_the_last_bar_only() -> None:
    friday = row(-3 * 1440, h=9, c=1.15)
    (seen,) = fetch(Aggregates(), aggs(row(0), friday), EUR).observations.values()
    assert len(seen.bars) == 2
    assert seen.price.daily_high == Decimal("1.17")


@pytest.mark.parametrize(
    "bad",
    [
        row(5, 0),
        row(5, h=1.0),
        row(7),
        row(5, t=0),
        row(5, h=None),
        row(2160),  # starts at 12:00, and now it is 12:00:30
    ],
)
def test_rows_that_are_no_completed_bar_are_left_out(bad: dict[str, Any]) -> None:
    (seen,) = fetch(Aggregates(), aggs(bad, row(0)), EUR).observations.values()
    assert [bar.start for bar in seen.bars] == [DAY]


@pytest.mark.parametrize(
    "bad", [row(5, "x"), row(5, -1), row(5, n=-1), row(5, v="NaN"), "row", row(5, t="noon"), None]
)
def test_a_row_that_cannot_be_read_costs_itself_alone(bad: Any) -> None:
    (seen,) = fetch(Aggregates(), aggs(row(0), bad, row(10)), EUR).observations.values()
    assert [bar.start.minute for bar in seen.bars] == [0, 10]
    (dropped,) = seen.dropped
    assert "malformed" in str(dropped)
    if isinstance(bad, dict) and bad["t"] != "noon":
        assert dropped.start == DAY + timedelta(minutes=5)


def test_an_answer_of_such_rows_only_is_a_bad_answer() -> None:
    with pytest.raises(BadAnswer, match="malformed"):
        fetch(Aggregates(), aggs("row", row(5, t="noon")), EUR)


@pytest.mark.parametrize(
    ("changes", "high", "low"),
    [
        ({"h": Decimal("1.1599999"), "o": Decimal("1.15")}, "1.16", "1.14"),
        ({"l": Decimal("1.1500001")}, "1.17", "1.15"),
    ],
)
def test_a_rounding_error_is_mended(changes: dict[str, Any], high: str, low: str) -> None:
    only = row(5, Decimal("1.16"), o=Decimal("1.15")) | changes
    (seen,) = fetch(Aggregates(), aggs(row(0), only), EUR).observations.values()
    assert (seen.bars[1].high, seen.bars[1].low) == (Decimal(high), Decimal(low))
    assert seen.dropped == ()


def test_the_last_bar_needs_another_that_tells_of_the_same_market() -> None:
    (alone,) = fetch(Aggregates(), aggs(row(0)), EUR).observations.values()
    (two,) = fetch(Aggregates(), aggs(row(0), row(5)), EUR).observations.values()
    odd = row(5, 116, o=115, h=117, l=114)
    (odd_one,) = fetch(Aggregates(), aggs(row(0), odd), EUR).observations.values()
    supported = [seen.price.supported for seen in (alone, two, odd_one)]
    assert supported == [False, True, False]


@pytest.mark.parametrize(
    "text", ["before end of day", "Your plan doesn't include this data timeframe."]
)
def test_an_unpublished_day_may_be_refused_as_one_outside_the_plan(text: str) -> None:
    refused = NotYetPublished if "end of day" in text else OutsidePlan
    with pytest.raises(NotYetPublished):
        fetch(Aggregates(), refused(text, status=403), EUR)


def test_a_snapshot_takes_the_next_figure_where_one_cannot_be_true() -> None:
    crossed = {"bid": 68010, "ask": 68000, "last_updated": ns(NOW)}
    trade = {"price": 68005, "participant_timestamp": None, "last_updated": ns(NOW)}
    item = crypto_item(last_quote=crossed, last_trade=trade, session={})
    price = fetch(SnapshotV3(), v3(item), BTC).observations[BTC].price
    assert (price.last, price.bid, price.basis) == (Decimal(68005), None, Basis.TRADE)
    assert price.as_of == NOW


@pytest.mark.parametrize("body", [aggs(), aggs() | {"results": None}, aggs(row(5, 0))])
def test_no_bars_is_missing_for_now(body: dict[str, Any]) -> None:
    answer = fetch(Aggregates(), body, EUR)
    assert answer.observations == {}
    assert not answer.missing[EUR].permanent


def test_another_tickers_bars_are_refused() -> None:
    with pytest.raises(BadAnswer, match="another ticker"):
        fetch(Aggregates(), aggs(row(0)) | {"ticker": BTC}, EUR)


def test_paid_plans_ask_up_to_now_and_say_what_the_provider_says() -> None:
    for status, delay in (("OK", Delay.REAL_TIME), ("DELAYED", Delay.DELAYED)):
        canned = Canned(aggs(row(2150), row(0), status=status))
        feed = feeds_for(TIERS[Tier.STARTER])[-1]
        (seen,) = fetch(feed, canned, EUR).observations.values()
        assert canned.asked[0][0].endswith("/2026-11-20/2026-11-24")
        assert seen.price.delay is delay
        assert seen.price.as_of == DAY + timedelta(minutes=2155)


def test_a_price_is_asked_with_the_days_before_it() -> None:
    """Where the newest day was a holiday the session before it is the price."""
    monday = datetime(2026, 11, 23, 12, tzinfo=UTC)
    for ticker in (EUR, "C:XAUUSD", BTC):
        canned = Canned({"ticker": ticker, "status": "OK"})
        Aggregates().fetch(cast(MarketClient, canned), [ticker], now=monday, deadline=DEADLINE)
        assert canned.asked[0][0].endswith("2026-11-18/2026-11-22")


def test_bars_of_many_days_in_one_call() -> None:
    first, last = date(2026, 10, 20), date(2026, 11, 22)
    for more, cut in (
        ({}, False),
        ({"queryCount": 49_999}, False),
        ({"queryCount": 50_000}, True),
        ({"next_url": "https://x/y?cursor=z"}, True),
    ):
        canned = Canned(aggs(row(-1440)) | more)
        client = cast(MarketClient, canned)
        answer = Aggregates().fetch_days(client, EUR, first, last, now=NOW, deadline=DEADLINE)
        assert canned.asked[0][0].endswith("/2026-10-20/2026-11-22")
        assert answer.observations[EUR].asked == DaysAsked(first, last, cut)
        empty = Canned({"ticker": EUR, "status": "OK"} | more)
        answer = Aggregates().fetch_days(
            cast(MarketClient, empty), EUR, first, last, now=NOW, deadline=DEADLINE
        )
        assert answer.missing[EUR].asked == DaysAsked(first, last, cut)


def test_history_that_the_plan_does_not_hold_is_no_newest_day() -> None:
    client = cast(MarketClient, Canned(OutsidePlan("x", status=403)))
    for last, error in ((date(2026, 11, 23), NotYetPublished), (date(2024, 1, 5), OutsidePlan)):
        with pytest.raises(error):
            Aggregates().fetch_days(client, EUR, date(2024, 1, 1), last, now=NOW, deadline=DEADLINE)


GROUPED = {
    "status": "OK",
    "results": [
        {"T": EUR, "o": 1.15, "h": 1.17, "l": 1.14, "c": 1.16, "v": 9, "t": 1},
        {"T": BTC, "o": 90000, "h": 91000, "l": 89000, "c": 90500, "v": 9, "t": 1},
        {"T": "C:GBPUSD", "o": 1.3, "h": 1.2, "l": 1.4, "c": 1.3, "t": 1},
        {"T": 5},
        "row",
    ],
}


def test_a_whole_markets_day() -> None:
    canned = Canned(GROUPED)
    answer = fetch(Grouped(), canned, EUR, "C:GBPUSD", BTC, "C:USDJPY")
    path = "/v2/aggs/grouped/locale/global/market/fx/2026-11-23"
    assert canned.asked == [(path, {"adjusted": "true"})]
    price = answer.observations[EUR].price
    assert (price.last, price.daily_high, price.delay) == (
        Decimal("1.16"),
        Decimal("1.17"),
        Delay.END_OF_DAY,
    )
    assert (price.as_of, price.source, price.bid) == (DAY + timedelta(days=1), "grouped", None)
    assert set(answer.missing) == {"C:GBPUSD", "C:USDJPY"}
    assert all(missing.elsewhere for missing in answer.missing.values())
    assert answer.cut_short  # BTC is of the other market
    friday = datetime(2026, 11, 21, 12, tzinfo=UTC)
    (seen,) = (
        Grouped()
        .fetch(cast(MarketClient, canned), [EUR], now=friday, deadline=DEADLINE)
        .observations.values()
    )
    assert seen.price.as_of == datetime(2026, 11, 20, 22, tzinfo=UTC)


def test_a_market_without_rows_is_not_published_yet_or_had_a_holiday() -> None:
    for hour, error in ((2, NotYetPublished), (7, NoTrading)):
        at = datetime(2026, 11, 24, hour, tzinfo=UTC)
        client = cast(MarketClient, Canned({"status": "OK", "resultsCount": 0}))
        with pytest.raises(error) as caught:
            Grouped().fetch(client, [EUR], now=at, deadline=DEADLINE)
        assert getattr(caught.value, "day", date(2026, 11, 23)) == date(2026, 11, 23)


def test_a_sunday_of_forex_is_another_feeds() -> None:
    monday = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert [Grouped().serves(t, monday) for t in (EUR, "C:XAUUSD", BTC)] == [False, False, True]
    assert all(Grouped().serves(ticker, NOW) for ticker in (EUR, BTC))


def test_feeds_in_order_of_worth() -> None:
    assert [feed.name for feed in FEEDS] == ["snapshot_v3", "snapshot", "grouped", "aggregates"]
    assert [feed.max_tickers for feed in FEEDS] == [250, 1, 500, 1]
    assert FEEDS[-1].delay is Delay.END_OF_DAY
    names = [feed.name for feed in FEEDS]
    for refused in range(len(names) + 1):
        left = [feed.name for feed in price_feeds(names[:refused])]
        assert left == (names[refused:] or ["aggregates"])


def test_a_whole_market_holds_what_nobody_asked_for_yet() -> None:
    gbp, jpy = "C:GBPUSD", "C:USDJPY"
    rows = [v2(EUR)["ticker"], v2(gbp)["ticker"], {"ticker": 7}, None, {"ticker": jpy, "day": "x"}]
    canned = Canned({"status": "OK", "tickers": rows})
    answer = fetch(WholeMarket(), canned, EUR, BTC, "C:NOPEUSD", jpy)
    assert canned.asked == [("/v2/snapshot/locale/global/markets/forex/tickers", {})]
    assert list(answer.observations) == [EUR]
    assert answer.observations[EUR].price.source == "snapshot_market"
    assert {t: m.elsewhere for t, m in answer.missing.items()} == {"C:NOPEUSD": True, jpy: False}
    assert answer.cut_short, "crypto is a call of its own"
    kept = WholeMarket().fetch_rows(cast(MarketClient, canned), EUR, now=NOW, deadline=DEADLINE)
    assert list(kept.read([gbp], NOW).observations) == [gbp]


@pytest.mark.parametrize("body", [{}, {"tickers": None}, {"tickers": {}}, {"tickers": []}])
def test_an_empty_market_sends_every_ticker_elsewhere(body: dict[str, Any]) -> None:
    answer = fetch(WholeMarket(), body, EUR, BTC)
    assert [missing.elsewhere for missing in answer.missing.values()] == [True]


def test_the_feeds_of_a_live_plan() -> None:
    feeds = feeds_for(TIERS[Tier.STARTER])
    facts = [(feed.name, feed.max_tickers, feed.worth_from) for feed in feeds]
    assert facts == [
        ("snapshot_market", 500, 251),
        ("snapshot_v3", 250, 1),
        ("snapshot", 1, 1),
        ("aggregates", 1, 1),
    ]


def test_the_facts_of_each_feed() -> None:
    facts = [(f.brings_bars, f.not_found_is_final, f.last_resort) for f in FEEDS]
    assert facts == [*[(False, False, False)] * 3, (True, True, True)]
    assert bars_feed().name == "aggregates"


@pytest.mark.parametrize("feed", [*FEEDS, WholeMarket()])
def test_nothing_is_asked_for_a_malformed_ticker(feed: Feed) -> None:
    canned = Canned({})
    with pytest.raises(InvalidTicker):
        fetch(feed, canned, "C:EUR/USD")
    with pytest.raises(ValueError, match="tickers"):
        fetch(feed, canned)
    with pytest.raises(ValueError, match="tickers"):
        fetch(feed, canned, *[EUR] * (feed.max_tickers + 1))
    assert canned.asked == []


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.decimals(),
        st.text(max_size=8),
        st.sampled_from(
            [0, -1, "0", "1.1", "NaN", EUR, BTC, "OK", 253402300799000, 2**63, "http://["]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
SHAPES = (
    (SnapshotV3(), v3(fx_item(last_minute=row(0)), crypto_item(), next_url="http://x/?cursor=a")),
    (Snapshot(), v2(EUR, lastQuote={"a": 2, "b": 1, "t": ms(NOW)}, min=row(0))),
    (Aggregates(), aggs(row(5), row(0))),
)


def mutated(value: Any, data: st.DataObject) -> Any:
    """The value with one part of it, at any depth, dropped or replaced."""
    if not isinstance(value, dict | list) or not value or data.draw(st.integers(0, 3)) == 0:
        return data.draw(JSON)
    parts = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    key = data.draw(st.sampled_from(list(parts)))
    if data.draw(st.integers(0, 5)) == 0:
        del parts[key]
    else:
        parts[key] = mutated(parts[key], data)
    return parts if isinstance(value, dict) else list(parts.values())


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SHAPES), st.data())
def test_no_answer_makes_a_feed_fail_in_an_unknown_way(
    shape: tuple[Feed, dict[str, Any]], data: st.DataObject
) -> None:
    feed, body = shape
    key = data.draw(st.sampled_from(list(body)))
    broken = body | {key: mutated(body[key], data)}
    try:
        answer = fetch(feed, broken, *([EUR, BTC][: feed.max_tickers]))
    except MarketError:
        return
    for seen in answer.observations.values():
        numbers = [seen.price.last, *(bar.close for bar in seen.bars)]
        assert all(isinstance(n, Decimal) and n.is_finite() and n > 0 for n in numbers)
        assert seen.price.as_of <= NOW + timedelta(minutes=2)
        assert seen.price.as_of.tzinfo is UTC
