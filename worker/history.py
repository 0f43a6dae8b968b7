"""How much the history will be, told before it begins: most of what is stored."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import structlog

from db.connection import Connection
from db.coverage import FIVE_MINUTES
from db.history import unasked
from db.symbols import SymbolRepository
from market.coverage import bars_of_day, days_between
from market.tickers import asset_kind
from settings import Settings
from worker.series import history_since
from worker.work import usable

log = structlog.get_logger(__name__)

BYTES_PER_BAR = 170
"""Of a row of `market_data.ohlcv_5m` and its index entry; measured: docs/internals.md."""


@dataclass(frozen=True)
class HistorySize:
    """What the 5-minute bars of all series come to once they are whole."""

    series: int
    days: int
    bars: int
    """At most: five minutes without a tick make none."""

    @property
    def megabytes(self) -> int:
        """About how much they take on disk, index included."""
        return self.bars * BYTES_PER_BAR // 1_000_000


def history_size(tickers: Iterable[str], settings: Settings, now: datetime) -> HistorySize:
    """The size of the history of these tickers, as far back as settings want it."""
    days = list(days_between(history_since(settings, now), now.date()))
    kinds = Counter(map(asset_kind, tickers))
    bars = sum(count * sum(bars_of_day(kind, day) for day in days) for kind, count in kinds.items())
    return HistorySize(kinds.total(), len(days), bars)


def tell_new_history(connection: Connection, settings: Settings, now: datetime) -> None:
    """Logs the size of all history while there are series of which no day was asked for yet."""
    assets = usable(SymbolRepository(connection).list())
    new = unasked(connection, [asset.symbol for asset in assets], FIVE_MINUTES)
    if not new:
        return
    size = history_size((asset.polygon_ticker for asset in assets), settings, now)
    log.info(
        "history.begins",
        new_series=len(new),
        series=size.series,
        days=size.days,
        bars=size.bars,
        megabytes=size.megabytes,
    )
