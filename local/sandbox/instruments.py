"""Which tickers exist in the sandbox, and how their prices look: level, wobble, digits."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from local.sandbox.errors import UnusableFile
from market.errors import InvalidTicker
from market.tickers import AssetKind, asset_kind


@dataclass(frozen=True, slots=True)
class Currency:
    """One side of a pair: its value in US dollars, and how much that moves in a year."""

    code: str
    usd_value: float
    yearly_volatility: float
    kind: str  # fiat, metal, crypto: it decides when the value moves
    name: str


@dataclass(frozen=True, slots=True)
class Instrument:
    """A ticker the sandbox answers for."""

    ticker: str
    kind: AssetKind
    name: str
    base: Currency
    quote: Currency

    @property
    def level(self) -> float:
        """The price around which the series moves."""
        return self.base.usd_value / self.quote.usd_value

    @property
    def market(self) -> str:
        """What /v3 and /v2/aggs/grouped call the market: fx or crypto."""
        return "crypto" if self.kind is AssetKind.CRYPTO else "fx"

    @property
    def digits(self) -> int:
        """Decimals a price is quoted with: about six significant ones, two at least."""
        return min(10, max(2, 5 - math.floor(math.log10(self.level))))

    @property
    def spread(self) -> float:
        """Ask minus bid, wider where the price moves more."""
        wobble = max(self.base.yearly_volatility, self.quote.yearly_volatility)
        return float(max(10.0**-self.digits, self.level * wobble * 0.001))


@cache
def currencies() -> Mapping[str, Currency]:
    """The shipped table of currencies, metals and coins by code."""
    text = (resources.files("local.sandbox") / "data" / "currencies.csv").read_text("utf-8")
    return {
        row["code"]: Currency(
            code=row["code"],
            usd_value=float(row["usd_value"]),
            yearly_volatility=float(row["yearly_volatility"]),
            kind=row["kind"],
            name=row["name"],
        )
        for row in csv.DictReader(text.splitlines())
    }


def instrument(ticker: str) -> Instrument:
    """The instrument behind any well-formed ticker; raises InvalidTicker.

    A pair whose sides are in the table gets their level; any other gets one drawn from its name."""
    kind = asset_kind(ticker)
    base, quote = _sides(ticker.split(":")[1], "crypto" if kind is AssetKind.CRYPTO else "fiat")
    return Instrument(ticker, kind, f"{base.name} - {quote.name}", base, quote)


def _sides(pair: str, kind: str) -> tuple[Currency, Currency]:
    known = currencies()
    for cut in range(len(pair) - 1, 1, -1):
        if pair[:cut] in known and pair[cut:] in known:
            return known[pair[:cut]], known[pair[cut:]]
    code, quote = pair[:-3], pair[-3:]
    draw = int.from_bytes(hashlib.sha256(code.encode()).digest()[:4], "big") / 2**32
    invented = Currency(code, 10.0 ** (4 * draw - 1), 0.3, kind, code)
    return invented, known.get(quote, known["USD"])


def load_instruments(paths: Iterable[Path]) -> dict[str, Instrument]:
    """Instruments of catalogue files (CSV with a `polygon_ticker` or `ticker` column, or bare
    tickers, one a line). Raises UnusableFile with the file, line and cause."""
    found: dict[str, Instrument] = {}
    for path in paths:
        for line, ticker in _tickers_of(path):
            try:
                found[ticker] = instrument(ticker)
            except InvalidTicker as error:
                raise UnusableFile(f"{path}, line {line}: {error}") from error
    return found


def _tickers_of(path: Path) -> list[tuple[int, str]]:
    try:
        rows = list(csv.reader(path.read_text("utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnusableFile(f"{path} cannot be read: {error}") from error
    column, first = 0, 0
    for name in ("polygon_ticker", "ticker"):
        if rows and name in rows[0]:
            column, first = rows[0].index(name), 1
            break
    return [
        (number, row[column].strip() if column < len(row) else "")
        for number, row in enumerate(rows[first:], first + 1)
        if row and any(row)
    ]
