"""One API call: what is asked, by which plan, of which moment."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import quote, urlencode

from local.sandbox.answers import JsonDict, bad_request
from local.sandbox.hours import DAY_MS, NEW_YORK, day_number, day_of
from local.sandbox.plans import SandboxPlan
from local.sandbox.series import Series
from local.sandbox.wire import Reply, Request


class Refused(Exception):
    """the request gets this answer instead of data"""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one plan. `now_ms` is the moment the market data is asked for.

    On an end-of-day plan a UTC day is published at its end, or with `day_turns_in_new_york` at the
    following midnight there."""

    request: Request
    plan: SandboxPlan
    series: Series
    now_ms: int
    day_turns_in_new_york: bool = False

    @property
    def today(self) -> int:
        """The UTC day of the call, counted from 1970."""
        return day_of(self.now_ms)

    @property
    def newest_published_day(self) -> int:
        """The last UTC day an end-of-day plan may see."""
        if not self.day_turns_in_new_york:
            return self.today - 1
        there = datetime.fromtimestamp(self.now_ms / 1000, UTC).astimezone(NEW_YORK).date()
        return day_number(there) - 1

    def integer(self, name: str, default: int, most: int) -> int:
        """A whole number from the query, between 1 and `most`; raises Refused."""
        text = self.request.query.get(name, str(default))
        if not is_number(text) or not 1 <= int(text) <= most:
            raise Refused(bad_request(f"'{name}' must be a number between 1 and {most}"))
        return int(text)

    def one_of(self, name: str, default: str, *allowed: str) -> str:
        """One of the allowed words from the query; raises Refused."""
        text = self.request.query.get(name) or default
        if text not in allowed:
            raise Refused(bad_request(f"'{name}' must be one of {', '.join(allowed)}"))
        return text

    def next_url(self, path: str, **query: str) -> str:
        """An absolute address on the host the client called, without any key."""
        host = self.request.headers.get("host", "localhost")
        return f"http://{host}{quote(path, safe='/:')}?{urlencode(query)}"

    def page(
        self, tickers: Sequence[str], query: Mapping[str, str], done: int, most: int, default: int
    ) -> tuple[Sequence[str], JsonDict]:
        """The tickers from `done` on, as many as `limit` says, and the way to the rest, if any."""
        limit = self.integer("limit", default, most)
        if done + limit >= len(tickers):
            return tickers[done:], {}
        kept = {name: value for name, value in query.items() if name != "apiKey"}
        cursor = base64.urlsafe_b64encode(json.dumps([kept, done + limit]).encode()).decode()
        following = self.next_url(self.request.path, cursor=cursor, limit=str(limit))
        return tickers[done : done + limit], {"next_url": following}


def is_number(text: str) -> bool:
    """Plain digits, few enough to be an epoch in ms before the year 10000."""
    return text.isascii() and text.isdigit() and len(text) <= 14


def moment_ms(text: str, *, end_of_day: bool) -> int:
    """A path's `YYYY-MM-DD` or epoch ms as epoch ms; the end of a date is its last ms.

    Raises Refused."""
    if is_number(text) and len(text) > 8:
        return int(text)
    return date_day(text) * DAY_MS + (DAY_MS - 1 if end_of_day else 0)


def date_day(text: str) -> int:
    """A `YYYY-MM-DD` as the number of its UTC day; raises Refused."""
    try:
        return day_number(date.fromisoformat(text))
    except ValueError:
        raise Refused(bad_request(f"Could not parse the time parameter: '{text[:40]}'")) from None


def read_cursor(query: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """The query of the first page and the offset of this one; raises Refused."""
    if not (text := query.get("cursor", "")):
        return dict(query), 0
    try:
        first, offset = json.loads(base64.urlsafe_b64decode(text))
        return {str(name): str(value) for name, value in first.items()}, abs(int(offset))
    except (binascii.Error, ValueError, TypeError, AttributeError, OverflowError):
        raise Refused(bad_request("the cursor is not valid")) from None
