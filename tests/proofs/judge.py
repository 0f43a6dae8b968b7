"""What must hold of a world at every moment of its story, and at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import psycopg

from db.symbols import Asset
from local.sandbox.hours import DAY_MS
from local.sandbox.series import Series
from tests.kit.truth import BAR_MS, compare

DAY: Final = timedelta(days=1)
_SHARE: Final = 0.9
"""Bars of a complete day in relation to those of its market."""
_FINAL: Final = """
    SELECT c.symbol, c.day, c.status, (
        SELECT count(*) FROM market_data.ohlcv_5m AS bar
        WHERE bar.symbol_id = s.id AND bar.ts >= c.day::timestamp AT TIME ZONE 'UTC'
          AND bar.ts < (c.day + 1)::timestamp AT TIME ZONE 'UTC')
    FROM market_data.coverage AS c JOIN trading.symbols AS s ON s.symbol = c.symbol
    WHERE c.timeframe = '5m' AND c.status IN ('complete', 'closed')
      AND c.asked_at > now() - interval '35 minutes'"""
_OPEN: Final = """
    SELECT symbol, day, status FROM market_data.coverage
    WHERE timeframe = '5m' AND day BETWEEN %s AND %s AND status NOT IN ('complete', 'closed')"""


@dataclass
class Judge:
    """Compares what is stored and what coverage calls it with what the vendor has in the end."""

    database_url: str
    assets: Sequence[Asset]
    truth: Series
    """The vendor's bars once every hole is mended."""
    wrong: list[str] = field(default_factory=list)
    """What was wrong on the way, such as days that coverage called complete and that were not."""
    _bars: dict[tuple[str, date], int] = field(default_factory=dict)

    def look(self, now: datetime) -> None:
        """A day that is called complete has its bars in the table, and a closed one has none."""
        for symbol, day, status, stored in self.rows(_FINAL):
            bars = self._bars_of(symbol, day)
            untrue = stored < _SHARE * bars if status == "complete" else bars > 0
            if untrue or now < midnight(day) + DAY:
                at = f"{now:%m-%d %H:%M}"
                self.wrong.append(f"{at}: {symbol} {day} {status}, {stored} of {bars} bars")

    def differences(self, first: date, newest: date) -> list[str]:
        """What is wrong with the series of these days: values, and days that are not settled."""
        since, until = midnight(first), midnight(newest) + DAY
        with psycopg.connect(self.database_url) as connection:
            compared = [
                compare(connection, self.truth, asset, since, until) for asset in self.assets
            ]
            open_days = connection.execute(_OPEN.encode(), (first, newest)).fetchall()
        return [
            *(str(one) for one in compared if not one.equal),
            *(f"{symbol} {day} is {status}" for symbol, day, status in open_days),
            *self.wrong,
        ]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query outside of any transaction."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def _bars_of(self, symbol: str, day: date) -> int:
        """How many bars the vendor will have of that day in the end."""
        if (symbol, day) not in self._bars:
            start_ms = int(midnight(day).timestamp()) * 1000
            ticker = next(a.polygon_ticker for a in self.assets if a.symbol == symbol)
            bars = self.truth.bars(ticker, start_ms, start_ms + DAY_MS, BAR_MS)
            self._bars[symbol, day] = len(bars)
        return self._bars[symbol, day]


def midnight(day: date) -> datetime:
    """The first instant of a UTC day."""
    return datetime.combine(day, time.min, UTC)
