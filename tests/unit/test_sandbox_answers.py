"""The sandbox's answers without sockets: shapes, plans, refusals, pages; nothing crashes it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.sandbox.app import App
from local.sandbox.arrivals import ArrivalLog
from local.sandbox.faults import FaultBook
from local.sandbox.hours import DAY_MS
from local.sandbox.instruments import load_instruments
from local.sandbox.plans import PLANS
from local.sandbox.series import Series
from local.sandbox.wire import Reply, Request
from settings.checkout import CATALOGUE

NOW: Final = datetime(2026, 11, 24, 12, 2, 30, tzinfo=UTC)  # a Tuesday
SERIES: Final = Series(load_instruments([CATALOGUE]))
FOREX: Final = "/v2/snapshot/locale/global/markets/forex/tickers"
CRYPTO: Final = "/v2/snapshot/locale/global/markets/crypto/tickers"
EURUSD: Final = "/v2/aggs/ticker/C:EURUSD/range/5/minute"
STAMPS: Final = count(1)


def app_of(plan: str, *, now: datetime = NOW, limit: int | None = None, **more: Any) -> App:
    at_ms = round(now.timestamp() * 1000)
    log = ArrivalLog(limit, 60.0)
    return App(PLANS[plan], SERIES, log, FaultBook(), now_ms=lambda: at_ms, **more)


def ask(app: App, target: str, *, key: str | None = "k", method: str = "GET") -> Reply:
    parts = urlsplit(target)
    headers = {"host": "api.test:80"} | ({"authorization": f"Bearer {key}"} if key else {})
    seq = app.log.begin(next(STAMPS), 0.0)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    reply = app.answer(Request(seq, method, parts.path, query, headers))
    app.log.finish(seq, reply.status)
    return reply


def body_of(reply: Reply) -> Any:
    assert reply.content_type == "application/json"
    return json.loads(reply.body)


def good(app: App, target: str) -> Any:
    reply = ask(app, target)
    assert reply.status == 200, reply.body
    return body_of(reply)


# --- shapes -----------------------------------------------------------------------------------


def test_a_forex_snapshot() -> None:
    body = good(app_of("spec"), f"{FOREX}/C:EURUSD")
    assert set(body) == {"status", "request_id", "ticker"}
    ticker = body["ticker"]
    assert set(ticker) == {
        *("ticker", "todaysChange", "todaysChangePerc", "updated"),
        *("day", "min", "prevDay", "lastQuote"),
    }
    assert set(ticker["lastQuote"]) == {"a", "b", "t", "x"}
    assert set(ticker["day"]) == {"o", "h", "l", "c", "v"}
    assert set(ticker["min"]) == {"o", "h", "l", "c", "v", "n", "t"}
    assert set(ticker["prevDay"]) == {"o", "h", "l", "c", "v", "vw"}
    assert ticker["lastQuote"]["b"] < ticker["lastQuote"]["a"]
    now_ms = NOW.timestamp() * 1000
    assert now_ms - 60_000 < ticker["lastQuote"]["t"] <= now_ms  # ms
    assert ticker["min"]["t"] == (now_ms // 60_000 - 1) * 60_000


def test_a_crypto_snapshot_has_a_trade_and_no_quote() -> None:
    ticker = good(app_of("spec"), f"{CRYPTO}/X:BTCUSD")["ticker"]
    assert "lastQuote" not in ticker
    assert set(ticker["lastTrade"]) == {"p", "s", "t", "x", "c", "i"}
    assert isinstance(ticker["lastTrade"]["i"], str)
    assert "vw" in ticker["day"]
    assert "vw" in ticker["min"]


def test_a_market_snapshot_leaves_unknown_tickers_out() -> None:
    body = good(app_of("starter"), f"{CRYPTO}?tickers=X:BTCUSD,X:NOPEUSD,C:EURUSD")
    assert set(body) == {"status", "tickers"}
    assert [row["ticker"] for row in body["tickers"]] == ["X:BTCUSD"]
    assert isinstance(body["tickers"][0]["lastTrade"]["i"], int)
    assert len(good(app_of("starter"), FOREX)["tickers"]) > 60


def test_in_a_closed_market_a_snapshot_has_zeros_for_today() -> None:
    saturday = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    ticker = good(app_of("spec", now=saturday), f"{FOREX}/C:EURUSD")["ticker"]
    assert set(ticker["day"].values()) == set(ticker["min"].values()) == {0}
    assert ticker["prevDay"]["c"] > 0
    assert ticker["lastQuote"]["t"] < (saturday.timestamp() - 12 * 3600) * 1000


def test_a_universal_snapshot_mixes_markets_and_names_what_is_unknown() -> None:
    body = good(app_of("starter"), "/v3/snapshot?ticker.any_of=X:BTCUSD,C:XAUUSD,C:NOPEXX")
    assert set(body) == {"status", "request_id", "results"}
    missing, gold, bitcoin = body["results"]  # sorted by ticker
    assert missing == {"ticker": "C:NOPEXX", "error": "NOT_FOUND", "message": "Ticker not found."}
    assert (gold["type"], bitcoin["type"]) == ("fx", "crypto")
    assert "price" not in gold["session"]
    assert "last_trade" not in gold
    quote = gold["last_quote"]
    assert quote["bid"] < quote["midpoint"] < quote["ask"]
    assert NOW.timestamp() - 60 < quote["last_updated"] / 1e9 <= NOW.timestamp()  # ns
    assert bitcoin["last_trade"]["price"] == bitcoin["session"]["price"]


def test_a_universal_snapshot_takes_ten_unless_told_and_at_most_250() -> None:
    app = app_of("starter")
    tickers = ",".join(SERIES.instruments)
    body = good(app, f"/v3/snapshot?ticker.any_of={tickers}")
    assert len(body["results"]) == 10
    assert "next_url" in body
    whole = good(app, f"/v3/snapshot?ticker.any_of={tickers}&limit=250")
    assert len(whole["results"]) == len(SERIES.instruments)
    assert "next_url" not in whole
    assert ask(app, "/v3/snapshot?limit=251").status == 400
    many = ",".join(f"C:A{n:04}" for n in range(251))
    assert ask(app, f"/v3/snapshot?ticker.any_of={many}").status == 400


def pages(app: App, target: str) -> Iterator[Any]:
    while target:
        body = good(app, target)
        yield body
        following = urlsplit(body.get("next_url", ""))
        if following.netloc:
            assert (following.scheme, following.netloc) == ("http", "api.test:80")
        target = following._replace(scheme="", netloc="").geturl()


@pytest.mark.parametrize("path", ["/v3/snapshot", "/v3/reference/tickers"])
def test_pages_together_hold_everything_once_and_no_key(path: str) -> None:
    app = app_of("starter")
    found = []
    for body in pages(app, f"{path}?limit=40&order=desc&apiKey=secret"):
        found += [row["ticker"] for row in body["results"]]
        assert "secret" not in read_everything(body.get("next_url", ""))
    assert found == sorted(SERIES.instruments, reverse=True)


def read_everything(url: str) -> str:
    """The address with its cursor decoded."""
    cursor = dict(parse_qsl(urlsplit(url).query)).get("cursor", "")
    return url + base64.urlsafe_b64decode(cursor).decode()


def test_reference_tickers_are_filtered() -> None:
    app = app_of("free")
    rows = good(app, "/v3/reference/tickers?market=crypto&search=bitcoin&limit=1000")["results"]
    assert {row["market"] for row in rows} == {"crypto"}
    assert {"X:BTCUSD", "X:BCHUSD"} <= {row["ticker"] for row in rows}
    assert rows[0]["locale"] == "global"
    assert rows[0]["active"] is True
    gone = good(app, "/v3/reference/tickers?market=crypto&active=false")["results"]
    assert [(row["ticker"], row["active"]) for row in gone] == [("X:LUNAUSD", False)]
    assert good(app, "/v3/reference/tickers?ticker=X:LUNAUSD")["results"] == []


def test_market_status_is_flat() -> None:
    body = good(app_of("free"), "/v1/marketstatus/now")
    assert body["currencies"] == {"crypto": "open", "fx": "open"}
    assert body["serverTime"] == "2026-11-24T07:02:30-05:00"
    assert not {"status", "request_id"} & set(body)
    closed = app_of("free", now=datetime(2026, 11, 21, 12, tzinfo=UTC))
    assert good(closed, "/v1/marketstatus/now")["currencies"]["fx"] == "closed"


# --- aggregates -------------------------------------------------------------------------------


def test_five_minute_bars_of_a_day() -> None:
    body = good(app_of("spec"), f"{EURUSD}/2026-11-23/2026-11-23")
    assert {key: body[key] for key in ("ticker", "queryCount", "resultsCount", "status")} == {
        "ticker": "C:EURUSD",
        "queryCount": 1440,
        "resultsCount": 288,
        "status": "OK",
    }
    bars = body["results"]
    assert body["count"] == len(bars) == 288
    assert set(bars[0]) == {"o", "h", "l", "c", "v", "vw", "t", "n"}
    midnight = NOW.timestamp() * 1000 // DAY_MS * DAY_MS - DAY_MS
    assert [bar["t"] for bar in bars] == [midnight + 300_000 * i for i in range(288)]
    assert all(bar["v"] == bar["n"] for bar in bars)  # forex: ticks, not volume


def test_an_empty_range_has_no_results_key() -> None:
    body = good(app_of("spec"), f"{EURUSD}/2026-11-21/2026-11-21")
    assert "results" not in body
    assert (body["resultsCount"], body["status"]) == (0, "OK")
    future = good(app_of("spec"), f"{EURUSD}/2026-12-24/2026-12-25")
    assert "results" not in future


def test_today_ends_with_the_bar_in_progress() -> None:
    bars = good(app_of("spec"), f"{EURUSD}/2026-11-24/2026-11-24")["results"]
    assert bars[-1]["t"] == NOW.timestamp() * 1000 // 300_000 * 300_000
    assert bars[-1]["n"] < bars[-2]["n"]


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize(("limit", "step"), [(1000, "5/minute"), (7, "5/minute"), (2, "1/day")])
def test_limit_counts_base_aggregates_and_pages_meet_without_gap(
    sort: str, limit: int, step: str
) -> None:
    path = f"/v2/aggs/ticker/C:XAUUSD/range/{step}"
    since, until = ("2026-11-20", "2026-11-23") if limit > 7 else ("2026-11-23", "2026-11-23")
    if step == "1/day":
        since = "2026-11-16"
    app = app_of("starter")
    whole = good(app, f"{path}/{since}/{until}?limit=50000&sort={sort}")["results"]
    found = []
    for body in pages(app, f"{path}/{since}/{until}?limit={limit}&sort={sort}"):
        assert body["queryCount"] <= limit
        found += body.get("results", [])
        if len(found) > len(whole):
            break
    assert found == whole
    assert [bar["t"] for bar in whole] == sorted(
        (bar["t"] for bar in whole), reverse=sort == "desc"
    )


def test_the_previous_close_is_stamped_with_the_end_of_its_day() -> None:
    body = good(app_of("free"), "/v2/aggs/ticker/X:BTCUSD/prev")
    (bar,) = body["results"]
    assert bar["T"] == "X:BTCUSD"
    assert bar["t"] == NOW.timestamp() * 1000 // DAY_MS * DAY_MS - 1
    assert bar["c"] == good(app_of("spec"), f"{CRYPTO}/X:BTCUSD")["ticker"]["prevDay"]["c"]


def test_grouped_days() -> None:
    path = "/v2/aggs/grouped/locale/global/market"
    app = app_of("free")
    fx = good(app, f"{path}/fx/2026-11-23")
    assert "ticker" not in fx
    assert fx["resultsCount"] == len(fx["results"]) > 60
    assert "C:XAUUSD" in {row["T"] for row in fx["results"]}
    crypto = good(app, f"{path}/crypto/2026-11-22")["results"]
    assert {row["T"][0] for row in crypto} == {"X"}
    assert {row["t"] % DAY_MS for row in crypto} == {DAY_MS - 1}
    for weekend in ("2026-11-21", "2026-11-22"):
        body = good(app, f"{path}/fx/{weekend}")
        assert body["resultsCount"] == 0
        assert "results" not in body


# --- plans and refusals -----------------------------------------------------------------------

NOT_ENTITLED: Final = "You are not entitled to this data."
TIMEFRAME: Final = "Your plan doesn't include this data timeframe."
TOO_EARLY: Final = "Attempted to request today's data before end of day."


@pytest.mark.parametrize(
    ("plan", "target", "text"),
    [
        ("free", f"{FOREX}/C:EURUSD", NOT_ENTITLED),
        ("free", FOREX, NOT_ENTITLED),
        ("free", "/v3/snapshot?ticker.any_of=C:EURUSD", NOT_ENTITLED),
        ("spec", "/v3/snapshot?ticker.any_of=C:EURUSD", NOT_ENTITLED),
        ("spec", FOREX, NOT_ENTITLED),
        ("free", "/v2/aggs/ticker/C:EURUSD/range/1/second/2026-11-23/2026-11-23", NOT_ENTITLED),
        ("free", f"{EURUSD}/2026-11-24/2026-11-24", TIMEFRAME),
        ("free", f"{EURUSD}/2026-11-20/2026-11-24", TIMEFRAME),
        ("free", f"{EURUSD}/2024-01-01/2024-01-05", TIMEFRAME),
        ("free", "/v2/aggs/grouped/locale/global/market/fx/2026-11-24", TOO_EARLY),
        ("free", "/v2/aggs/grouped/locale/global/market/fx/2024-01-03", TIMEFRAME),
    ],
)
def test_the_three_refusals(plan: str, target: str, text: str) -> None:
    reply = ask(app_of(plan), target)
    body = body_of(reply)
    assert (reply.status, body["status"]) == (403, "NOT_AUTHORIZED")
    assert set(body) == {"status", "request_id", "message"}
    assert body["message"].startswith(text)


def test_the_paid_plan_refuses_nothing() -> None:
    app = app_of("starter")
    for target in (
        *(f"{FOREX}/C:EURUSD", CRYPTO, "/v3/snapshot", f"{EURUSD}/2026-11-24/2026-11-24"),
        *("/v2/aggs/grouped/locale/global/market/fx/2026-11-24", "/v3/reference/tickers"),
    ):
        assert ask(app, target).status == 200


def test_the_free_plan_cuts_what_is_older_than_two_years_and_says_delayed() -> None:
    body = good(app_of("free"), "/v2/aggs/ticker/X:BTCUSD/range/1/day/2024-01-01/2026-11-23")
    assert body["status"] == "DELAYED"
    assert body["results"][0]["t"] == (NOW.timestamp() * 1000 // DAY_MS - 730) * DAY_MS
    assert len(body["results"]) == 730


def test_a_day_can_be_published_at_midnight_in_new_york() -> None:
    early = datetime(2026, 11, 24, 4, 59, tzinfo=UTC)  # 23:59 there
    app = app_of("free", now=early, day_turns_in_new_york=True)
    grouped = "/v2/aggs/grouped/locale/global/market/crypto"
    for target in (f"{grouped}/2026-11-23", f"{EURUSD}/2026-11-23/2026-11-23"):
        assert body_of(ask(app, target))["message"].startswith(TOO_EARLY)
        assert ask(app_of("free", now=early), target).status == 200
    assert ask(app, f"{grouped}/2026-11-22").status == 200
    at_midnight = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)
    later = app_of("free", now=at_midnight, day_turns_in_new_york=True)
    assert ask(later, f"{grouped}/2026-11-23").status == 200


@pytest.mark.parametrize(
    "target",
    [
        f"{FOREX}/C:NOPEXX",
        f"{FOREX}/X:BTCUSD",
        f"{CRYPTO}/x:btcusd",
        "/v2/aggs/ticker/C:NOPEXX/prev",
        "/v2/aggs/ticker/C:NOPEXX/range/5/minute/2026-11-23/2026-11-23",
    ],
)
def test_unknown_tickers(target: str) -> None:
    reply = ask(app_of("starter"), target)
    assert reply.status == 404
    assert body_of(reply)["status"] == "NOT_FOUND"
    assert body_of(reply)["message"] == "Ticker not found."


def test_unrouted_paths_are_plain_text() -> None:
    for target in ("/", "/v2/aggs", "/v9/nothing", "/v2/snapshot/locale/global/markets/x/tickers"):
        reply = ask(app_of("starter"), target)
        assert (reply.status, reply.body) == (404, b"404 page not found")
        assert reply.content_type.startswith("text/plain")
    assert ask(app_of("starter"), "/v1/marketstatus/now", method="POST").status == 404


@pytest.mark.parametrize(
    "target",
    [
        f"{EURUSD}/2026-11-23/2026-11-22",
        f"{EURUSD}/yesterday/2026-11-22",
        f"{EURUSD}/2026-11-23/2026-11-23?limit=0",
        f"{EURUSD}/2026-11-23/2026-11-23?limit=50001",
        f"{EURUSD}/2026-11-23/2026-11-23?sort=up",
        "/v2/aggs/ticker/C:EURUSD/range/0/minute/2026-11-23/2026-11-23",
        "/v2/aggs/ticker/C:EURUSD/range/5/fortnight/2026-11-23/2026-11-23",
        "/v3/snapshot?cursor=%21",
        "/v3/reference/tickers?limit=1001",
    ],
)
def test_bad_requests_say_why(target: str) -> None:
    reply = ask(app_of("starter"), target)
    body = body_of(reply)
    assert (reply.status, body["status"]) == (400, "ERROR")
    assert body["error"]


def test_keys() -> None:
    app = app_of("spec", key="right")
    for key, text in ((None, "API Key was not provided"), ("wrong", "Unknown API Key")):
        reply = ask(app, "/v1/marketstatus/now", key=key)
        assert (reply.status, body_of(reply)["error"]) == (401, text)
        assert body_of(reply)["status"] == "ERROR"
    assert ask(app, "/v1/marketstatus/now", key="right").status == 200
    assert ask(app, "/v1/marketstatus/now?apiKey=right", key=None).status == 200
    assert ask(app_of("spec"), "/v1/marketstatus/now", key="anything").status == 200


def test_over_the_limit_comes_before_route_and_plan_and_names_no_time() -> None:
    app = app_of("spec", limit=2)
    statuses = [ask(app, target).status for target in ("/v3/snapshot", "/nope", "/nope")]
    assert statuses == [403, 404, 429]
    reply = ask(app, "/v1/marketstatus/now")
    assert body_of(reply)["error"].startswith("You've exceeded the maximum requests per minute")
    assert "Retry-After" not in reply.headers
    assert ask(app, "/v1/marketstatus/now", key="another").status == 200


def test_controls_need_no_key_and_leave_no_trace() -> None:
    app = app_of("spec", limit=1)
    for name in ("arrivals", "summary", "faults"):
        assert ask(app, f"/_sandbox/{name}", key=None).status == 200
    assert ask(app, "/_sandbox/nothing", key=None).status == 404
    assert ask(app, "/_sandbox/arrivals?since=x", key=None).status == 400
    assert app.log.all() == []
    assert ask(app, "/v1/marketstatus/now").status == 200


def test_the_summary_counts_what_arrived() -> None:
    app = app_of("spec", limit=2)
    for _ in range(3):
        ask(app, f"{FOREX}/C:EURUSD")
    summary = good(app, "/_sandbox/summary")
    assert (summary["total"], summary["worst_window"], summary["refused"]) == (3, 3, 1)
    assert summary["by_status"] == {"200": 2, "429": 1}
    rows = good(app, "/_sandbox/arrivals")
    assert [row["tickers"] for row in rows] == [["C:EURUSD"]] * 3
    assert good(app, f"/_sandbox/arrivals?after={rows[1]['seq']}") == rows[2:]


WORDS: Final = (
    "v2 v3 aggs ticker C:EURUSD X:BTCUSD range 5 minute day prev snapshot grouped locale global "
    "market fx _sandbox reference 2026-11-23 0001-01-01 9999-12-31 99999999999999 1790000000000 "
    "% é ² -1"
)
words = st.sampled_from(WORDS.split())
names = st.sampled_from(["limit", "cursor", "sort", "ticker.any_of", "type", "order", "since"])
values = st.sampled_from(["", "1", "-1", "9" * 5000, "W10=", "WzEsMl0=", "asc", "²", "nan", "1e9"])


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["free", "starter"]),
    st.one_of(
        st.lists(words, max_size=9).map(lambda parts: "/" + "/".join(parts)),
        st.tuples(words, words, words, words).map(
            lambda w: "/v2/aggs/ticker/C:EURUSD/range/{}/{}/{}/{}".format(*w)
        ),
        st.sampled_from(["/v3/snapshot", "/v3/reference/tickers", "/_sandbox/arrivals"]),
    ),
    st.dictionaries(names, values, max_size=3),
)
def test_no_request_crashes_it(plan: str, path: str, query: dict[str, str]) -> None:
    reply = ask(app_of(plan), f"{path}?{urlencode(query)}")
    assert reply.status in (200, 400, 403, 404)
