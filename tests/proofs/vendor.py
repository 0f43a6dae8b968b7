"""The sandbox's prices with what a vendor does at times: holidays, and holes that are mended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from local.sandbox.hours import DAY_MS, date_of, day_of
from local.sandbox.instruments import Instrument
from local.sandbox.series import SandboxBar, Series


@dataclass(frozen=True)
class Hole:
    """5-minute bars of one ticker that are not there until they are mended."""

    ticker: str
    begins: datetime
    ends: datetime
    mended: datetime


@dataclass
class Vendor:
    """What is unlike an ordinary day: holidays are (market, day), of fx or crypto."""

    holidays: set[tuple[str, date]] = field(default_factory=set)
    holes: list[Hole] = field(default_factory=list)


class VendorSeries(Series):
    """The sandbox's series as a vendor has them at the moment of the question."""

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        vendor: Vendor,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(instruments)
        self._vendor = vendor
        self._now = now

    def bars(
        self, ticker: str, start_ms: int, end_ms: int, step_ms: int, *, now_ms: int | None = None
    ) -> list[SandboxBar]:
        """A bar of a day is whole although its parts lack: it is made elsewhere."""
        market = self.instruments[ticker].market
        found = [
            bar
            for bar in super().bars(ticker, start_ms, end_ms, step_ms, now_ms=now_ms)
            if (market, date_of(day_of(bar.start_ms))) not in self._vendor.holidays
        ]
        if step_ms == DAY_MS:
            return found
        now = self._now()
        for hole in self._vendor.holes:
            if hole.ticker == ticker and now < hole.mended:
                begins_ms, ends_ms = (at.timestamp() * 1000 for at in (hole.begins, hole.ends))
                found = [bar for bar in found if not begins_ms <= bar.start_ms < ends_ms]
        return found
