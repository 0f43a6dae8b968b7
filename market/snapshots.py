"""The snapshots of named tickers: live prices, and no bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from pydantic import ValidationError

from market.client import MarketClient
from market.deadline import SendDeadline
from market.errors import BadAnswer, InvalidTicker
from market.feed import Feed
from market.models import SnapshotItem, TickerSnapshot
from market.plausibility import Candidate
from market.quotes import Answer, Basis, Delay, Missing, Observation
from market.reading import (
    answer_of,
    candidates_of,
    malformed,
    observe,
    only_ticker,
    read_envelope,
    said_status,
)
from market.tickers import check_ticker, market_of


class SnapshotV3(Feed):
    """`/v3/snapshot`: many tickers in one call. A ticker unknown to the provider is permanently
    missing; one that is silently left out is not. Of a ticker that the plan leaves out it says so
    beside the others: that is no refusal of the feed, even where none of the others is given."""

    name: ClassVar[str] = "snapshot_v3"
    max_tickers: ClassVar[int] = 250

    @property
    def delay(self) -> Delay:
        """As in `Feed`."""
        return Delay.REAL_TIME

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
    ) -> Answer:
        """As in `Feed`."""
        found, good = self._sort_out(tickers)
        params = {"ticker.any_of": ",".join(good), "limit": str(self.max_tickers)}
        envelope = read_envelope(client.get("/v3/snapshot", params, deadline=deadline))
        for raw in envelope.results or ():
            ticker = raw.get("ticker") if isinstance(raw, dict) else None
            if isinstance(ticker, str) and ticker in good:
                found[ticker] = self._read(ticker, raw, now)
        cut_short = bool(envelope.next_url)
        if found.keys().isdisjoint(good) or not cut_short:
            for ticker in good:
                found.setdefault(ticker, Missing(ticker, "the provider left it out"))
        return answer_of(found.values(), cut_short=cut_short)

    def _sort_out(
        self, tickers: Sequence[str]
    ) -> tuple[dict[str, Observation | Missing], list[str]]:
        """Malformed tickers as missing, and the good ones; one must not stop 249 others."""
        self.check_count(tickers)
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
            refused = item.error in ("NOT_ENTITLED", "NOT_AUTHORIZED")
            return Missing(
                ticker,
                f"{item.error}: {item.message}" if item.message else item.error,
                permanent=item.error == "NOT_FOUND",
                not_entitled=refused,
                elsewhere=refused,
            )
        session, minute = item.session, item.last_minute
        close = session.price or session.close
        so_far = Candidate(Basis.SESSION, close, session.last_updated, approximate=True)
        return observe(
            ticker,
            candidates_of(ticker, item.last_quote, item.last_trade, minute, so_far, now),
            session,
            minute,
            source=self.name,
            delay=self.delay,
            now=now,
        )


class Snapshot(Feed):
    """The v2 snapshot of one forex or crypto ticker.

    A 404 only means "nothing now": the provider clears its snapshots every night."""

    name: ClassVar[str] = "snapshot"

    @property
    def delay(self) -> Delay:
        """As in `Feed`."""
        return Delay.REAL_TIME

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
    ) -> Answer:
        """As in `Feed`."""
        ticker = only_ticker(tickers)
        path = f"/v2/snapshot/locale/global/markets/{market_of(ticker)}/tickers/{ticker}"
        body = client.get(path, {}, deadline=deadline)
        try:
            snapshot = TickerSnapshot.model_validate(body.get("ticker"))
        except ValidationError as exc:
            raise BadAnswer(malformed(exc), status=200) from None
        if snapshot.ticker != ticker:
            raise BadAnswer("the answer is about another ticker", status=200)
        delay = Delay.DELAYED if said_status(body) == "DELAYED" else self.delay
        return answer_of([_observe(snapshot, source=self.name, delay=delay, now=now)])


def read_snapshot(
    ticker: str, raw: Any, *, source: str, delay: Delay, now: datetime
) -> Observation | Missing:
    """The price in the v2 snapshot of a ticker."""
    try:
        snapshot = TickerSnapshot.model_validate(raw)
    except ValidationError as exc:
        return Missing(ticker, malformed(exc))
    return _observe(snapshot, source=source, delay=delay, now=now)


def _observe(
    snapshot: TickerSnapshot, *, source: str, delay: Delay, now: datetime
) -> Observation | Missing:
    ticker, minute = snapshot.ticker, snapshot.minute
    so_far = Candidate(Basis.SESSION, snapshot.day.close, snapshot.updated, approximate=True)
    return observe(
        ticker,
        candidates_of(ticker, snapshot.last_quote, snapshot.last_trade, minute, so_far, now),
        snapshot.day,
        minute,
        source=source,
        delay=delay,
        now=now,
    )
