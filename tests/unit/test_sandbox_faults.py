"""Misbehaviour on demand: what each fault does to an answer, and whom it strikes."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import pytest

from local.sandbox.faults import BadFault, Fault, FaultBook
from local.sandbox.wire import Manner, Reply

BODY: Final = {
    "status": "OK",
    "ticker": {"ticker": "C:EURUSD", "day": {"o": 1.1, "v": 7}, "lastQuote": {"a": 1.2, "t": 5}},
    "results": [{"c": 1.3, "n": 2}],
}
GOOD: Final = Reply(200, json.dumps(BODY).encode())


def struck(kind: str, **more: Any) -> Reply:
    return FaultBook([Fault.build({"kind": kind, **more})]).strike(GOOD, "/v3/snapshot", ())


def test_without_faults_the_answer_is_the_same() -> None:
    assert FaultBook().strike(GOOD, "/", ()) == GOOD


def test_rate_limited_with_and_without_retry_after() -> None:
    assert struck("rate_limited").status == 429
    assert "Retry-After" not in struck("rate_limited").headers
    assert struck("rate_limited", retry_after_s=7).headers["Retry-After"] == "7"
    assert json.loads(struck("rate_limited").body)["status"] == "ERROR"
    assert (struck("empty_429").status, struck("empty_429").body) == (429, b"")


def test_server_errors_and_pages_are_html() -> None:
    for reply, status in (
        (struck("server_error"), 500),
        (struck("server_error", status=503), 503),
        (struck("html"), 200),
    ):
        assert (reply.status, reply.content_type) == (status, "text/html")
        assert reply.body.startswith(b"<html>")


def test_truncated_json_does_not_parse() -> None:
    reply = struck("truncated")
    assert reply.status == 200
    assert GOOD.body.startswith(reply.body)
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.body)


def test_prices_become_nan_words_or_zeros_and_nothing_else_changes() -> None:
    for kind, check in (
        ("nan", math.isnan),
        ("zeros", lambda price: price == 0),
        ("wrong_types", lambda price: isinstance(price, list)),
    ):
        body = json.loads(struck(kind).body)
        day, quote, bar = body["ticker"]["day"], body["ticker"]["lastQuote"], body["results"][0]
        assert all(check(price) for price in (day["o"], quote["a"], bar["c"])), kind
        assert (day["v"], quote["t"], bar["n"]) == (7, 5, 2)
        assert body["ticker"]["ticker"] == "C:EURUSD"
    assert b"NaN" in struck("nan").body


def test_data_faults_leave_an_answer_alone_that_is_not_json() -> None:
    page = Reply(404, b"404 page not found", "text/plain")
    assert FaultBook([Fault(kind="nan")]).strike(page, "/", ()) == page


def test_refusals_inside_a_good_answer_empty_ones_and_redirects() -> None:
    refusal = struck("refusal")
    assert (refusal.status, json.loads(refusal.body)["status"]) == (200, "NOT_AUTHORIZED")
    assert (struck("empty").status, struck("empty").body) == (200, b"")
    assert struck("redirect").status == 302
    assert struck("redirect").headers["Location"].startswith("http://elsewhere.invalid/")


@pytest.mark.parametrize("kind", ["cut", "drip", "hang", "reset"])
def test_manners_of_the_wire(kind: str) -> None:
    assert struck(kind).manner is Manner(kind)
    assert struck(kind).body == GOOD.body


def test_a_delay_adds_to_whatever_else_strikes() -> None:
    faults = [
        Fault(kind="html"),
        Fault(kind="delay", min_s=1, max_s=1),
        Fault(kind="empty"),
        Fault(kind="delay", min_s=0.5, max_s=0.5),
    ]
    reply = FaultBook(faults).strike(GOOD, "/", ())
    assert (reply.content_type, reply.delay_s) == ("text/html", 1.5)


def test_a_random_delay_stays_in_its_range_and_repeats_with_its_seed() -> None:
    fault = Fault(kind="delay", min_s=0.2, max_s=0.9)
    runs = []
    for _ in range(2):
        book = FaultBook([fault], seed=3)
        runs.append([book.strike(GOOD, "/", ()).delay_s for _ in range(50)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 40
    assert all(0.2 <= delay <= 0.9 for delay in runs[0])


def test_probability() -> None:
    book = FaultBook([Fault(kind="html", probability=0.3)], seed=1)
    hits = sum(book.strike(GOOD, "/", ()) != GOOD for _ in range(1000))
    assert 230 < hits < 370
    never = FaultBook([Fault(kind="html", probability=0)])
    assert all(never.strike(GOOD, "/", ()) == GOOD for _ in range(100))


def test_count_ends_it_and_the_next_rule_takes_over() -> None:
    book = FaultBook([Fault(kind="html", count=2), Fault(kind="empty", count=1)])
    seen = [book.strike(GOOD, "/", ()).body for _ in range(4)]
    assert [body[:6] for body in seen] == [b"<html>", b"<html>", b"", GOOD.body[:6]]
    assert [fault["left"] for fault in book.as_json()] == [0, 0]


def test_only_for_some_tickers_and_paths() -> None:
    book = FaultBook([Fault(kind="html", tickers=("C:EURUSD",), path="/v3/")])
    assert book.strike(GOOD, "/v3/snapshot", ("X:BTCUSD", "C:EURUSD")) != GOOD
    assert book.strike(GOOD, "/v3/snapshot", ("X:BTCUSD",)) == GOOD
    assert book.strike(GOOD, "/v2/aggs", ("C:EURUSD",)) == GOOD


def test_the_command_line_form() -> None:
    text = "delay,min_s=0.5,max_s=2,probability=0.25,count=3,tickers=C:EURUSD+X:BTCUSD,path=/v3/"
    assert Fault.parse(text) == Fault(
        kind="delay",
        min_s=0.5,
        max_s=2,
        probability=0.25,
        count=3,
        tickers=("C:EURUSD", "X:BTCUSD"),
        path="/v3/",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("explode", "kind"),
        ("html,probability=2", "probability"),
        ("html,count=0", "count"),
        ("html,colour=red", "colour"),
        ("delay", "max_s"),
        ("delay,min_s=3,max_s=2", "min_s"),
        ("server_error,status=404", "status"),
        ("", "kind"),
    ],
)
def test_a_bad_fault_is_one_line_that_names_the_field(text: str, told: str) -> None:
    with pytest.raises(BadFault, match=told) as caught:
        Fault.parse(text)
    assert "\n" not in str(caught.value)
