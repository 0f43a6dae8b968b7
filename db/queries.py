"""SQL by name: `sql("lock_symbols")` is the text of db/sql/lock_symbols.sql."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def sql(name: str) -> str:
    """The text of one statement; values always travel as parameters."""
    return resources.files("db").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
