"""Which error an answer means. The provider refuses by HTTP status, by a status inside the body of
a 200, or by text alone; three different 403s tell themselves apart only by their text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from market.errors import (
    BadAnswer,
    BadRequest,
    MarketError,
    NotEntitled,
    NotFound,
    NotYetPublished,
    OutsidePlan,
    ProviderDown,
    RateLimited,
    Unauthorized,
)

RETRY_AFTER_LIMIT_S: Final = 120.0
_GOOD: Final = frozenset({"", "OK", "DELAYED", "SUCCESS"})

_BY_TEXT: Final[tuple[tuple[str, type[MarketError]], ...]] = (
    ("before end of day", NotYetPublished),
    ("data timeframe", OutsidePlan),
    ("not entitled", NotEntitled),
    ("maximum requests", RateLimited),
    ("not_authorized", NotEntitled),  # a code where others have a sentence
    ("not_entitled", NotEntitled),
    ("api key", Unauthorized),
)


def refusal(
    status: int, body: Mapping[str, Any] | None, headers: Mapping[str, str]
) -> MarketError | None:
    """The error that an answer stands for, None for a good one. `body` is None where the answer
    held no JSON object."""
    text = error_text(body)
    retry_after_s = parse_retry_after(headers.get("Retry-After"), headers.get("Date"))
    error = _by_status(status, body, text)
    if error is None:
        return None
    if error is ProviderDown and status == 408:  # an idle-close notice that crossed our request
        return ProviderDown(text, status=status, answered=False)
    return error(text, status=status, retry_after_s=retry_after_s)


def _by_status(status: int, body: Mapping[str, Any] | None, text: str) -> type[MarketError] | None:
    if status == 401:
        return Unauthorized
    if status == 429:
        return RateLimited
    if status >= 500 or status == 408:
        return ProviderDown
    if body is None or not (200 <= status < 300 or 400 <= status < 500):
        return BadAnswer  # also a 404 of some web server: it says nothing about a ticker
    said = body.get("status")
    said = said.upper() if isinstance(said, str) else ""
    if 200 <= status < 300:
        good = said in _GOOD and (said or not isinstance(body.get("error"), str))
        return None if good else _by_body(said, text)
    if status == 403:
        return _by_body(said or "NOT_AUTHORIZED", text)
    return NotFound if status == 404 else BadRequest


def _by_body(said: str, text: str) -> type[MarketError]:
    for words, error in _BY_TEXT:
        if words in text.lower():
            return error
    if said in ("NOT_AUTHORIZED", "NOT_ENTITLED"):
        return NotEntitled
    return NotFound if said == "NOT_FOUND" else BadAnswer


def error_text(body: Mapping[str, Any] | None) -> str:
    """The provider's explanation: it stands in `error` or in `message`, by kind of refusal."""
    for name in ("error", "message"):
        text = (body or {}).get(name)
        if isinstance(text, str) and text:
            return text
    return ""


def parse_retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds from a Retry-After header (a number, or a date compared with the answer's own Date,
    so that our clock does not matter), between 0 and 120; None if absent or unreadable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        until, sent_at = _http_date(value), _http_date(date or "")
        if until is None:
            return None
        seconds = (until - (sent_at or datetime.now(UTC))).total_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), RETRY_AFTER_LIMIT_S)


def _http_date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
