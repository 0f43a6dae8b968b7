"""Tickers and symbols: the only spelling that is let in, and what kind of asset it names."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from market.errors import InvalidTicker

_TICKER: Final = re.compile(r"(?P<prefix>[CX]):(?P<pair>[A-Z0-9]{4,20})", re.ASCII)
_SYMBOL: Final = re.compile(r"[A-Z0-9._-]{1,20}", re.ASCII)
_METALS: Final = ("XAU", "XAG", "XPT", "XPD")


class AssetKind(StrEnum):
    """What trades behind a ticker; it decides the hours and the provider's paths."""

    FOREX = "forex"
    METAL = "metal"  # the provider lists metals under forex, but they pause every day
    CRYPTO = "crypto"


def check_ticker(text: str) -> str:
    """Return a provider's ticker (`C:EURUSD`, `X:BTCUSD`) unchanged, or raise InvalidTicker.

    The provider is case-sensitive, so a lower-case ticker is refused rather than repaired."""
    if not _TICKER.fullmatch(text):
        raise InvalidTicker(
            f"{text[:40]!r} is not a ticker of forex (C:EURUSD) or crypto (X:BTCUSD); "
            "stocks, options and indices are not supported"
        )
    return text


def check_symbol(text: str) -> str:
    """Return one of our own symbols (`EURUSD`) unchanged, or raise InvalidTicker."""
    if not _SYMBOL.fullmatch(text):
        raise InvalidTicker(
            f"{text[:40]!r} is not a symbol: 1 to 20 capital letters, digits, dots, dashes"
        )
    return text


def bare(text: str) -> str:
    """What a spelling has in common with all others of the same asset, to compare them by.

    `eur/usd`, `EUR-USD`, `C:EURUSD` and `EURUSD` are one."""
    return re.sub(r"[^A-Z0-9]", "", re.sub(r"^[CX]:", "", text.strip().upper()))


def asset_kind(ticker: str) -> AssetKind:
    """The kind of asset behind a ticker; raises InvalidTicker."""
    prefix, pair = check_ticker(ticker).split(":")
    if prefix == "X":
        return AssetKind.CRYPTO
    return AssetKind.METAL if pair.startswith(_METALS) else AssetKind.FOREX


def market_of(ticker: str) -> str:
    """The provider's name for the ticker's market in its paths: "forex" or "crypto"."""
    return "crypto" if asset_kind(ticker) is AssetKind.CRYPTO else "forex"
