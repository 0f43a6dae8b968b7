"""The provider's list of tickers: which there are, page by page. On every plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from market.client import MarketClient
from market.deadline import SendDeadline
from market.errors import BadAnswer, InvalidTicker
from market.tickers import check_ticker

PATH: Final = "/v3/reference/tickers"
MARKETS: Final = ("fx", "crypto")
"""The provider's names of the markets that assetq knows; metals are listed under fx."""
PAGE: Final = 1000
"""The most that one call brings."""


class _Row(BaseModel):
    """A row as it is sent; other fields are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ticker: str
    name: str = ""
    active: bool = True
    base: str = Field("", alias="base_currency_symbol")
    quote: str = Field("", alias="currency_symbol")


@dataclass(frozen=True)
class Listed:
    """A ticker of the list. `base` and `quote` are its currencies (EUR and USD), if told."""

    ticker: str
    name: str
    active: bool
    base: str
    quote: str

    @property
    def symbol(self) -> str:
        """The ticker without its market."""
        return self.ticker.partition(":")[2]

    @property
    def asset_type(self) -> str:
        """As the catalogue has it."""
        return "crypto" if self.ticker.startswith("X:") else "forex"


@dataclass(frozen=True)
class Page:
    """One answer. `following` asks for the next one; None: this was the last."""

    listed: tuple[Listed, ...]
    unusable: int
    """Rows with a ticker that assetq cannot ask for."""
    following: Mapping[str, str] | None


def query(
    market: str, *, search: str = "", ticker: str = "", active: bool = True
) -> dict[str, str]:
    """The parameters of the first page; `ticker` asks for that one alone."""
    asked = {"market": market, "active": "true" if active else "false", "limit": str(PAGE)}
    return asked | {k: v for k, v in (("search", search), ("ticker", ticker)) if v}


def fetch_page(client: MarketClient, asked: Mapping[str, str], *, deadline: SendDeadline) -> Page:
    """One call. Raises MarketError."""
    body = client.get(PATH, asked, deadline=deadline)
    rows = body.get("results") or []
    if not isinstance(rows, list):
        raise BadAnswer("its list of tickers is none", status=200)
    listed = [one for row in rows if (one := _listed(row)) is not None]
    return Page(tuple(listed), len(rows) - len(listed), _following(body.get("next_url")))


def _listed(row: object) -> Listed | None:
    try:
        found = _Row.model_validate(row)
        ticker = check_ticker(found.ticker)
    except (ValidationError, InvalidTicker):
        return None
    name = "".join(c for c in found.name if c.isprintable()).strip()[:200]
    return Listed(ticker, name, found.active, found.base.upper(), found.quote.upper())


def _following(url: object) -> Mapping[str, str] | None:
    """The parameters of the next page. Host and path of its address are not believed: the call
    goes where all calls go, with a key that the address lacks."""
    if not url:
        return None
    try:
        parts = urlsplit(str(url))
        asked = {name: value for name, value in parse_qsl(parts.query) if name != "apiKey"}
    except ValueError:
        asked = {}
    if not asked.get("cursor"):
        raise BadAnswer("its address of the next page is none", status=200)
    return asked
