"""What the client makes of every kind of answer, counted at a real server."""

from __future__ import annotations

import gzip
import logging
import traceback
from collections.abc import Iterator
from decimal import Decimal
from email.utils import formatdate
from typing import Any

import pytest
from pydantic import SecretStr

from market import client as client_module
from market import errors
from market.client import MarketClient
from market.deadline import SendDeadline
from market.errors import BadAnswer, MarketError, ProviderDown, RateLimited
from market.refusals import parse_retry_after
from tests.kit.market_server import Peer, RawServer

KEY = "secret_key_0123456789"
ENTITLED = (
    "You are not entitled to this data. Please upgrade your plan at https://massive.com/pricing"
)
END_OF_DAY = "Attempted to request today's data before end of day. Please upgrade your plan at x."
TIMEFRAME = "Your plan doesn't include this data timeframe. Please upgrade your plan at x."
TOO_MANY = "You've exceeded the maximum requests per minute, please wait or upgrade"
REFUSED = "NOT_AUTHORIZED"


class Replies:
    """A server that gives the same answer to every request, and a client for it."""

    def __init__(self) -> None:
        self.body: Any = {"status": "OK"}
        self.status = "200 OK"
        self.headers: tuple[str, ...] = ()
        self.raw: bytes | None = None
        self.server = RawServer(self._script)
        self.client = MarketClient(self.server.url, SecretStr(KEY), timeout_s=5)

    def _script(self, peer: Peer) -> None:
        while peer.read_head():
            if self.raw is not None:
                peer.send(self.raw)
                return
            peer.answer(self.body, self.status, *self.headers)

    def get(self) -> dict[str, Any]:
        return self.client.get("/v1/x", {}, deadline=SendDeadline.after(5))

    def error(self) -> MarketError:
        """The error of one request, which must have been exactly one arrival."""
        before = len(self.server.arrivals)
        with pytest.raises(MarketError) as caught:
            self.get()
        assert len(self.server.arrivals) == before + 1
        assert caught.value.sent
        return caught.value


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> Iterator[Replies]:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    replies = Replies()
    with replies.server, replies.client:
        yield replies


def said(status: str, **texts: str) -> dict[str, Any]:
    return {"status": status, "request_id": "r", **texts}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, said("ERROR", error="Unknown API Key"), errors.Unauthorized),
        (401, b"<html>", errors.Unauthorized),
        (403, said(REFUSED, message=ENTITLED), errors.NotEntitled),
        (403, said("ERROR", error=ENTITLED), errors.NotEntitled),
        (403, said(REFUSED, message="Something new"), errors.NotEntitled),
        (403, said("ERROR", error="NOT_AUTHORIZED"), errors.NotEntitled),
        (403, said("ERROR", message="not_entitled"), errors.NotEntitled),
        (403, said(REFUSED, message=END_OF_DAY), errors.NotYetPublished),
        (403, said(REFUSED, message=TIMEFRAME), errors.OutsidePlan),
        (403, b"<html>blocked by a firewall</html>", errors.BadAnswer),
        (404, said("NOT_FOUND", message="Ticker not found."), errors.NotFound),
        (404, b"404 page not found", errors.BadAnswer),
        (400, said("ERROR", error="bad timespan"), errors.BadRequest),
        (422, said("ERROR", error="what"), errors.BadRequest),
        (429, said("ERROR", error=TOO_MANY), errors.RateLimited),
        (429, b"", errors.RateLimited),
        (500, said("ERROR", error="oops"), errors.ProviderDown),
        (502, b"<html><h1>Bad Gateway</h1></html>", errors.ProviderDown),
        (503, b"", errors.ProviderDown),
        (200, said(REFUSED, message=ENTITLED), errors.NotEntitled),
        (200, said(REFUSED, message=END_OF_DAY), errors.NotYetPublished),
        (200, said(REFUSED, message=TIMEFRAME), errors.OutsidePlan),
        (200, said("ERROR", error="Unknown API Key"), errors.Unauthorized),
        (200, said("ERROR", error=TOO_MANY), errors.RateLimited),
        (200, said("NOT_FOUND", message="Ticker not found."), errors.NotFound),
        (200, said("MAINTENANCE"), errors.BadAnswer),
        (200, {"error": "no status at all"}, errors.BadAnswer),
        (200, b"<html>hello</html>", errors.BadAnswer),
        (200, b"", errors.BadAnswer),
        (200, b'{"status":"OK","results":[', errors.BadAnswer),
        (200, b'{"p": NaN}', errors.BadAnswer),
        (200, b'{"p": -Infinity}', errors.BadAnswer),
        (200, b"[1]", errors.BadAnswer),
        (200, b"null", errors.BadAnswer),
        (200, b"\xff\xfe\xfa", errors.BadAnswer),
        (200, b"[" * 200_000, errors.BadAnswer),
        (200, b'{"p": ' + b"9" * 5000 + b"}", errors.BadAnswer),
        (304, b"", errors.BadAnswer),
    ],
)
def test_each_refusal_has_its_type(
    replies: Replies, status: int, body: Any, expected: type[MarketError]
) -> None:
    replies.status, replies.body = f"{status} Reason", body
    error = replies.error()
    assert type(error) is expected
    assert (error.status, error.answered) == (status, True)


@pytest.mark.parametrize("status", ["OK", "DELAYED", "success", None])
def test_good_answers(replies: Replies, status: str | None) -> None:
    replies.body = {"price": 1} | ({"status": status} if status else {})
    assert replies.get() == replies.body


def test_fractions_stay_exact(replies: Replies) -> None:
    replies.body = b'{"status":"OK","p":1.10000000000000000001,"q":0.1,"n":3}'
    answer = replies.get()
    assert answer["p"] == Decimal("1.10000000000000000001")
    assert (answer["q"], answer["n"]) == (Decimal("0.1"), 3)


def test_the_providers_text_is_told_whichever_field_holds_it(replies: Replies) -> None:
    replies.status, replies.body = "400 Bad Request", said("ERROR", error="no such timespan")
    assert replies.error().message == "no such timespan"
    replies.status, replies.body = "403 Forbidden", said(REFUSED, message=ENTITLED)
    assert str(replies.error()) == f"{ENTITLED} (HTTP 403)"


def test_redirects_are_not_followed(replies: Replies) -> None:
    replies.status = "301 Moved"
    replies.headers = (f"Location: {replies.server.url}/elsewhere?apiKey=abc",)
    error = replies.error()
    assert isinstance(error, BadAnswer)
    assert "127.0.0.1" in error.message
    assert "apiKey" not in error.message
    assert replies.server.heads[0].startswith("GET /v1/x ")


@pytest.mark.parametrize("location", ["", "http://[::1", "/elsewhere", "\u00ff"])
def test_a_senseless_redirect(replies: Replies, location: str) -> None:
    replies.status, replies.headers = "302 Found", (f"Location: {location}",)
    error = replies.error()
    assert isinstance(error, BadAnswer)
    assert (error.status, "nowhere" in error.message) == (302, True)


def test_gzip_is_read(replies: Replies) -> None:
    replies.headers = ("Content-Encoding: gzip",)
    replies.body = gzip.compress(b'{"status":"OK","n":7}')
    assert replies.get()["n"] == 7
    replies.body = b"not gzip at all"
    assert isinstance(replies.error(), BadAnswer)


def test_a_huge_body_is_refused_also_when_it_is_packed(
    replies: Replies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "BODY_LIMIT_BYTES", 100_000)
    replies.body = b" " * 200_000
    assert "too large" in replies.error().message
    replies.headers = ("Content-Encoding: gzip",)
    replies.body = gzip.compress(b" " * 50_000_000)
    assert "too large" in replies.error().message


def test_a_body_cut_short_was_answered(replies: Replies) -> None:
    replies.raw = b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"status":"OK"}'
    error = replies.error()
    assert isinstance(error, BadAnswer)
    assert (error.status, error.answered) == (200, True)


def test_a_status_is_enough_when_the_body_breaks(replies: Replies) -> None:
    replies.raw = b"HTTP/1.1 429 Slow down\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\n{"
    error = replies.error()
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7


def test_a_408_may_have_crossed_our_request(replies: Replies) -> None:
    replies.status, replies.body = "408 Request Timeout", b""
    error = replies.error()
    assert isinstance(error, ProviderDown)
    assert error.answered is False


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        ("7", None, 7.0),
        ("0.5", None, 0.5),
        ("100000", None, 120.0),
        ("inf", None, 120.0),
        ("-3", None, 0.0),
        ("nan", None, None),
        ("soon", None, None),
        (None, None, None),
        (formatdate(1000030, usegmt=True), formatdate(1000000, usegmt=True), 30.0),
        (formatdate(1000000, usegmt=True), formatdate(1000030, usegmt=True), 0.0),
    ],
)
def test_retry_after(value: str | None, date: str | None, expected: float | None) -> None:
    assert parse_retry_after(value, date) == expected


def test_retry_after_comes_with_the_error(replies: Replies) -> None:
    replies.status, replies.body = "429 Too Many", b""
    replies.headers = ("Retry-After: 11",)
    assert replies.error().retry_after_s == 11
    replies.headers = ()
    assert replies.error().retry_after_s is None


def test_the_key_shows_nowhere(replies: Replies, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    replies.status = "401 Unauthorized"
    replies.body = said("ERROR", error=f"Unknown API Key {KEY}\nsecond line \x00")
    with pytest.raises(MarketError) as caught:
        replies.get()
    replies.raw = b"garbage\r\n\r\n"
    with pytest.raises(MarketError) as caught_too:
        replies.get()
    replies.raw = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"
    with pytest.raises(MarketError) as caught_three:
        replies.get()
    assert KEY in replies.server.heads[0]
    for error in (caught.value, caught_too.value, caught_three.value):
        shown = "".join(traceback.format_exception(error))
        assert KEY not in shown + repr(error) + str(vars(error)) + repr(replies.client)
        assert error.__context__ is None
        assert error.__cause__ is None
        assert error.message.isprintable()
    assert KEY not in caplog.text
    assert "[key]" in caught.value.message


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "clé"])
def test_a_key_that_fits_no_header_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ValueError, match="copy the key") as caught:
        MarketClient("https://api.example.com", SecretStr(key))
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["api.example.com", "ftp://x", "https://", "http://u:p@h", "http://h?a=1", "http://h:9x"]
)
def test_a_base_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the port's text is Python's own
        MarketClient(url, SecretStr(KEY))


def test_path_parameters_and_a_prefix_arrive_as_they_are(replies: Replies) -> None:
    client = MarketClient(replies.server.url + "/mirror/", SecretStr(KEY))
    with client:
        client.get(
            "/v2/aggs/ticker/C:EURUSD/prev",
            {"ticker.any_of": "C:EURUSD,X:BTCUSD"},
            deadline=SendDeadline.after(5),
        )
    assert replies.server.heads[0].startswith(
        "GET /mirror/v2/aggs/ticker/C:EURUSD/prev?ticker.any_of=C%3AEURUSD%2CX%3ABTCUSD HTTP/1.1"
    )
