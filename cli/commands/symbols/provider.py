"""`assetq symbols import --market` and `validate`: the catalogue and the provider's list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click

from cli.exits import CommandError
from cli.options import as_json
from cli.session import load_settings, open_context, open_database
from cli.show.output import note, print_json, print_table
from db.connection import Connection
from db.reading import KnownSymbol, known_symbols
from db.symbols import Asset
from health.texts import span
from market.client import MarketClient
from market.errors import InvalidTicker
from market.reference import Listed
from market.tickers import check_symbol, market_of
from queueing import Hint
from settings import Settings
from worker.reference import ReferenceList

PROVIDERS_NAME = {"forex": "fx", "crypto": "crypto"}
_LOOKED_UP = 10
"""Tickers that `validate` asks for by name; each costs a call."""
_TOLD_MS = 500
"""The shortest wait for a call that is worth a line."""


@dataclass(frozen=True)
class Filters:
    """Which listed tickers are wanted; empty: all."""

    search: str = ""
    base: frozenset[str] = frozenset()
    quote: frozenset[str] = frozenset()

    @classmethod
    def of(cls, search: str, base: Iterable[str], quote: Iterable[str]) -> Filters:
        """As a user types them."""
        return cls(search, frozenset(map(str.upper, base)), frozenset(map(str.upper, quote)))

    def wants(self, one: Listed) -> bool:
        """The provider has applied `search` already."""
        return (not self.base or one.base in self.base) and (
            not self.quote or one.quote in self.quote
        )


@dataclass
class Chosen:
    """What an import from the list would add, and what it leaves alone."""

    assets: list[Asset] = field(default_factory=list)
    known: int = 0
    clashes: list[str] = field(default_factory=list)
    """Tickers whose symbol another asset has already."""


def choose(
    listed: Iterable[Listed],
    known: Mapping[str, KnownSymbol],
    filters: Filters,
    band: int,
) -> Chosen:
    """The assets of listed tickers that are not tracked under any name."""
    chosen = Chosen()
    tickers, symbols = {row.polygon_ticker for row in known.values()}, set(known)
    for one in sorted(listed, key=lambda one: one.ticker):
        if not filters.wants(one):
            continue
        if one.ticker in tickers:
            chosen.known += 1
        elif one.symbol in symbols or not _is_symbol(one.symbol):
            chosen.clashes.append(one.ticker)
        else:
            symbols.add(one.symbol)
            asset = Asset(one.symbol, one.ticker, one.asset_type, one.name or None, band)
            chosen.assets.append(asset)
    return chosen


def listed_by_provider(
    settings: Settings, connection: Connection, market: str, filters: Filters
) -> list[Listed]:
    """The active tickers of a market (fx or crypto), with progress for people."""
    found: list[Listed] = []
    with _reference(settings, connection) as reference:
        for page in reference.pages(market, search=filters.search):
            found += page.listed
            note(f"{market}: {len(found):,} tickers after {_calls(reference.calls)}")
    return found


@click.command()
@as_json
def validate(json_: bool) -> None:
    """Compare the assets with the provider's list of tickers; exit code 1 if some are not in it.

    A call for each 1,000 tickers of a market, and one for each of the first ten that are missing,
    as soon as the quota has one free.
    """
    settings = load_settings()
    with open_database(settings) as connection:
        assets = {row.polygon_ticker: row for row in known_symbols(connection).values()}
        with _reference(settings, connection) as reference:
            problems = _compare(assets, reference)
            calls = reference.calls
    flawed = [row for row in problems if row["active"]]
    if json_:
        print_json({"assets": len(assets), "api_calls_used": calls, "problems": problems})
    else:
        print_table(
            ["symbol", "ticker", "tracked", "problem"],
            [
                (row["symbol"], row["ticker"], "yes" if row["active"] else "paused", row["problem"])
                for row in problems
            ],
            empty=f"all {len(assets)} assets are listed ({_calls(calls)})",
        )
    if flawed:
        symbols = [row["symbol"] for row in flawed]
        raise CommandError(
            f"{len(flawed)} of {len(assets)} assets have no active ticker. Correct them with "
            f"`assetq symbols import FILE`, or stop asking: assetq symbols pause {_few(symbols)}"
        )


def _compare(assets: Mapping[str, KnownSymbol], reference: ReferenceList) -> list[dict[str, Any]]:
    """A row for each asset that the provider does not list as active."""
    by_market: dict[str, list[str]] = {}
    problems = []
    for ticker in sorted(assets):
        try:
            by_market.setdefault(PROVIDERS_NAME[market_of(ticker)], []).append(ticker)
        except InvalidTicker as error:
            problems.append(_problem(assets[ticker], error.message))
    left = _LOOKED_UP
    for market, tickers in sorted(by_market.items()):
        listed = {one.ticker for page in reference.pages(market) for one in page.listed}
        for ticker in (ticker for ticker in tickers if ticker not in listed):
            text = "not listed as active"
            if left > 0:
                left -= 1
                text = "inactive" if reference.inactive(market, ticker) else "unknown"
            problems.append(_problem(assets[ticker], f"{text} at the provider"))
    return problems


def _problem(row: KnownSymbol, text: str) -> dict[str, Any]:
    return {
        "symbol": row.symbol,
        "ticker": row.polygon_ticker,
        "active": row.active,
        "problem": text,
    }


@contextmanager
def _reference(settings: Settings, connection: Connection) -> Iterator[ReferenceList]:
    key = settings.required_api_key()
    timeout_s = settings.request_timeout_seconds
    with (
        open_context(settings) as context,
        MarketClient(settings.base_url, key, timeout_s=timeout_s) as client,
    ):
        yield ReferenceList(context, connection, client, waits=_Waits())


class _Waits:
    """Tells once for each reason and instant what a page waits for."""

    def __init__(self) -> None:
        self._told: object = None

    def __call__(self, hint: Hint) -> None:
        wait_ms = hint.wait_ms or 0
        if wait_ms >= _TOLD_MS and self._told != (hint.reason, hint.next_at_ms):
            self._told = (hint.reason, hint.next_at_ms)
            note(f"the next page waits {span(wait_ms / 1000)} for a call")


def _is_symbol(text: str) -> bool:
    try:
        check_symbol(text)
    except InvalidTicker:
        return False
    return True


def _few(symbols: list[str]) -> str:
    return " ".join(symbols[:5]) + (" …" if len(symbols) > 5 else "")


def _calls(count: int) -> str:
    return f"{count} call{'' if count == 1 else 's'}"
