"""SQL by name: `sql("lock_symbols")` is the text of db/sql/lock_symbols.sql."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def sql(name: str) -> str:
    """The text of one statement; values always travel as parameters."""
    return resources.files("db").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def migration(name: str) -> str:
    """The statements of one migration."""
    return resources.files("db").joinpath("migrations", f"{name}.sql").read_text(encoding="utf-8")


def migrations() -> list[str]:
    """The names of all migrations, in order."""
    files = resources.files("db").joinpath("migrations").iterdir()
    return sorted(file.name.removesuffix(".sql") for file in files if file.name.endswith(".sql"))
