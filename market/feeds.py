"""The ways to ask for prices, in order of worth, each exactly one HTTP request.

1. `snapshot_v3`: up to 250 tickers of any market in one call, live. Paid plans.
2. `snapshot`: one ticker, live.
3. `aggregates`: five-minute bars of one ticker. On an end-of-day plan those of the newest completed
   day, and the last of them is the newest price that such a plan can give.

Bars: only `aggregates` brings any. The minute inside a snapshot covers one minute of five, and a
day's figures cover more, so neither is ever passed off as a five-minute bar; assets that are
refreshed from snapshots get their bars from a call to `aggregates` of their own. A bar that is
still forming is left out as well: it would stand in the table as if it were complete.

Prices: the first that comes with a time of its own. Forex: halfway between bid and ask; crypto: the
last trade; else the close of the last minute, else that of the day so far. A zero is not a price,
and a price without a time is not used: nobody could tell whether it is newer than the stored one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Protocol
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from market.client import MarketClient
from market.deadline import SendDeadline
from market.errors import BadAnswer, InvalidTicker, NotEntitled, NotFound
from market.freshness import newest_allowed_day, nothing_newer
from market.models import Envelope, SnapshotItem, TickerSnapshot
from market.quotes import Answer, Delay, Missing, Observation
from market.reading import (
    Candidate,
    end_of_minute,
    malformed,
    observe,
    price_of,
    quote_and_trade,
    read_bars,
)
from market.tickers import AssetKind, asset_kind, check_ticker, market_of
from market.tiers import Plan

__all__ = ["FEEDS", "Feed", "choose_feed", "feeds_for", "newest_allowed_day", "nothing_newer"]


class Feed(Protocol):
    """A way to ask for prices. `max_tickers` is how many one call can take."""

    @property
    def name(self) -> str: ...
    @property
    def max_tickers(self) -> int: ...
    @property
    def delay(self) -> Delay: ...

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
        cursor: str | None = None,
    ) -> Answer:
        """One HTTP request for 1 to `max_tickers` tickers; `now` is the instant of its grant.

        Raises MarketError where the call as a whole failed, InvalidTicker (nothing was sent)
        where no ticker could be asked for; what concerns one ticker of several is a Missing in
        the answer."""
        ...


class SnapshotV3:
    """`/v3/snapshot`: many tickers in one call. A ticker unknown to the provider is permanently
    missing; one that is silently left out is not."""

    name: ClassVar[str] = "snapshot_v3"
    max_tickers: ClassVar[int] = 250
    delay: ClassVar[Delay] = Delay.REAL_TIME

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
        cursor: str | None = None,
    ) -> Answer:
        found, good = self._sort_out(tickers)
        asked = {"ticker.any_of": ",".join(good), "limit": str(self.max_tickers)}
        params = asked if cursor is None else {"cursor": cursor}
        envelope = _envelope(client.get("/v3/snapshot", params, deadline=deadline))
        for raw in envelope.results or ():
            ticker = raw.get("ticker") if isinstance(raw, dict) else None
            if isinstance(ticker, str) and ticker in good:
                found[ticker] = self._read(ticker, raw, now)
        next_cursor = _cursor(envelope.next_url)
        if found.keys().isdisjoint(good) or (next_cursor is None and cursor is None):
            for ticker in good:
                found.setdefault(ticker, Missing(ticker, "the provider left it out"))
        told = [found[ticker] for ticker in good if ticker in found]
        if all(isinstance(one, Missing) and one.not_entitled for one in told):
            raise NotEntitled(status=200)
        return _answer(found.values(), next_cursor)

    def _sort_out(
        self, tickers: Sequence[str]
    ) -> tuple[dict[str, Observation | Missing], list[str]]:
        """Malformed tickers as missing, and the good ones; one must not stop 249 others."""
        if not 1 <= len(tickers) <= self.max_tickers:
            raise ValueError(f"{len(tickers)} tickers for a call that takes {self.max_tickers}")
        bad: dict[str, Observation | Missing] = {}
        for ticker in tickers:
            try:
                check_ticker(ticker)
            except InvalidTicker as exc:
                bad[ticker] = Missing(ticker, exc.message, permanent=True)
        good = [ticker for ticker in tickers if ticker not in bad]
        if not good:
            raise InvalidTicker(f"no ticker among {', '.join(bad)[:100]!r}")
        return bad, good

    def _read(self, ticker: str, raw: Any, now: datetime) -> Observation | Missing:
        try:
            item = SnapshotItem.model_validate(raw)
        except ValidationError as exc:
            return Missing(ticker, malformed(exc))
        if item.error is not None:
            return Missing(
                ticker,
                f"{item.error}: {item.message}" if item.message else item.error,
                permanent=item.error == "NOT_FOUND",
                not_entitled=item.error in ("NOT_ENTITLED", "NOT_AUTHORIZED"),
            )
        session, minute = item.session, item.last_minute
        candidates = (
            *quote_and_trade(ticker, item.last_quote, item.last_trade),
            Candidate(minute.close, minute.last_updated or end_of_minute(minute, now)),
            Candidate(session.price or session.close, session.last_updated),
        )
        return observe(
            ticker,
            candidates,
            item.last_quote,
            session,
            source=self.name,
            delay=self.delay,
            now=now,
        )


class Snapshot:
    """The v2 snapshot of one forex or crypto ticker.

    A 404 only means "nothing now": the provider clears its snapshots every night."""

    name: ClassVar[str] = "snapshot"
    max_tickers: ClassVar[int] = 1
    delay: ClassVar[Delay] = Delay.REAL_TIME

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
        cursor: str | None = None,
    ) -> Answer:
        ticker = _only(tickers)
        path = f"/v2/snapshot/locale/global/markets/{market_of(ticker)}/tickers/{ticker}"
        try:
            body = client.get(path, {}, deadline=deadline)
        except NotFound as exc:
            return _answer([Missing(ticker, exc.message)], status=404)
        try:
            snapshot = TickerSnapshot.model_validate(body.get("ticker"))
        except ValidationError as exc:
            raise BadAnswer(malformed(exc), status=200) from None
        if snapshot.ticker != ticker:
            raise BadAnswer("the answer is about another ticker", status=200)
        candidates = (
            *quote_and_trade(ticker, snapshot.last_quote, snapshot.last_trade),
            Candidate(snapshot.minute.close, end_of_minute(snapshot.minute, now)),
            Candidate(snapshot.day.close, snapshot.updated),
        )
        found = observe(
            ticker,
            candidates,
            snapshot.last_quote,
            snapshot.day,
            source=self.name,
            delay=Delay.DELAYED if _envelope_status(body) == "DELAYED" else self.delay,
            now=now,
        )
        return _answer([found])


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Five-minute bars of one ticker, newest first on the wire, in order of time in the answer.

    `end_of_day`: up to the newest completed trading day, else up to now. The range begins one
    trading day earlier than needed where the newest day is a forex Sunday of two or three hours, or
    has only begun, since the provider sometimes answers too narrow a range with nothing. The price
    is the last bar's close, as of that bar's end; the day's figures are of that bar's UTC day."""

    end_of_day: bool = True
    name: ClassVar[str] = "aggregates"
    max_tickers: ClassVar[int] = 1

    @property
    def delay(self) -> Delay:
        return Delay.END_OF_DAY if self.end_of_day else Delay.REAL_TIME

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
        cursor: str | None = None,
    ) -> Answer:
        ticker = _only(tickers)
        first, last = self.days(asset_kind(ticker), now)
        path = f"/v2/aggs/ticker/{ticker}/range/5/minute/{first}/{last}"
        params = {"adjusted": "true", "sort": "desc", "limit": "50000"}
        try:
            body = client.get(path, params, deadline=deadline)
        except NotFound as exc:
            permanent = "ticker" in exc.message.lower()
            return _answer([Missing(ticker, exc.message, permanent=permanent)], status=404)
        envelope = _envelope(body)
        if envelope.ticker not in (None, ticker):
            raise BadAnswer("the answer is about another ticker", status=200)
        bars = read_bars(ticker, envelope.results or (), now)
        if not bars:
            return _answer([Missing(ticker, f"no bars from {first} to {last}")])
        delayed = not self.end_of_day and _envelope_status(body) == "DELAYED"
        price = price_of(bars, self.name, Delay.DELAYED if delayed else self.delay)
        return _answer([Observation(ticker, price, bars)])

    def days(self, kind: AssetKind, now: datetime) -> tuple[str, str]:
        """First and last UTC day of the range to ask for, as YYYY-MM-DD."""
        newest = newest_allowed_day(now, kind)
        first = newest
        if kind is not AssetKind.CRYPTO and newest.weekday() == 6:
            first = newest - timedelta(days=2)  # a Sunday has its last hours only; Friday is whole
        last = newest if self.end_of_day else now.astimezone(UTC).date()
        return first.isoformat(), last.isoformat()


FEEDS: Final[tuple[Feed, ...]] = (SnapshotV3(), Snapshot(), Aggregates())
"""All feeds, the best first, for a plan of which nothing is known."""


def feeds_for(plan: Plan) -> tuple[Feed, ...]:
    """The feeds in order of worth; a plan that is not end-of-day may ask for today's bars too."""
    return (SnapshotV3(), Snapshot(), Aggregates(end_of_day=plan.end_of_day))


def choose_feed(refused: Collection[str], feeds: Sequence[Feed] = FEEDS) -> Feed:
    """The first feed whose name is not among those refused; if all are, the last one."""
    return next((feed for feed in feeds if feed.name not in refused), feeds[-1])


def _only(tickers: Sequence[str]) -> str:
    if len(tickers) != 1:
        raise ValueError(f"{len(tickers)} tickers for a call that takes one")
    return check_ticker(tickers[0])


def _envelope(body: Mapping[str, Any]) -> Envelope:
    try:
        return Envelope.model_validate(body)
    except ValidationError as exc:
        raise BadAnswer(malformed(exc), status=200) from None


def _envelope_status(body: Mapping[str, Any]) -> str:
    return str(body.get("status") or "").upper()


def _cursor(next_url: str | None) -> str | None:
    """The cursor alone: the rest of the URL is never followed, so the key cannot go elsewhere."""
    try:
        query = urlsplit(next_url or "").query
    except ValueError as exc:
        raise BadAnswer(f"malformed: next_url: {exc}", status=200) from None
    return parse_qs(query).get("cursor", [None])[0]


def _answer(
    found: Iterable[Observation | Missing], next_cursor: str | None = None, *, status: int = 200
) -> Answer:
    observations: dict[str, Observation] = {}
    missing: dict[str, Missing] = {}
    for one in found:
        if isinstance(one, Missing):
            missing[one.ticker] = one
        else:
            observations[one.ticker] = one
    return Answer(observations, missing, next_cursor, status)
