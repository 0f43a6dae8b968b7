"""The assets that a command is about, as a user names them."""

from __future__ import annotations

from collections.abc import Sequence

from cli.names import resolve
from db.connection import Connection
from db.reading import KnownSymbol, known_symbols


def named(connection: Connection, typed: Sequence[str]) -> list[KnownSymbol]:
    """The symbols that are meant, each once, paused ones included; all where none is named.

    Raises CommandError naming everything that is no symbol, or unknown.
    """
    known = known_symbols(connection)
    if not typed:
        return list(known.values())
    names = resolve(
        typed,
        {symbol: [row.polygon_ticker] for symbol, row in known.items()},
        what="a known symbol",
        remedy="`assetq symbols list` shows all; `assetq symbols import` adds more."
        if known
        else "There are none. Run `assetq symbols import`.",
    )
    return [known[name] for name in names]
