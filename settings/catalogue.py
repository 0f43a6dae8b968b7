"""The catalogue of assets, CSV or YAML: one pass finds every mistake and names its place."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from db.connection import Connection
from db.symbols import Asset, ImportCounts, SymbolRepository
from market.tickers import check_symbol, check_ticker
from queueing import Priority
from settings.checkout import CATALOGUE
from settings.files import parse_yaml
from settings.problems import told

REQUIRED = ("symbol", "polygon_ticker", "asset_type")
OPTIONAL = ("name", "priority", "update_frequency_seconds")
_COLUMNS = (*REQUIRED, *OPTIONAL)
_TYPES = {"C:": ("forex", "metal", "commodity"), "X:": ("crypto",)}
"""How an asset may be called, by the market of its ticker."""
_SHOWN_PROBLEMS = 50
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass
class _Found:
    """What a file holds, before its entries are checked."""

    entries: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Where each is (line 2, entry 1), and its fields that are not empty."""
    problems: list[str] = field(default_factory=list)
    absent: frozenset[str] = frozenset()
    """Columns that the header lacks: told once, not in every line."""


class CatalogueError(Exception):
    """A catalogue cannot be read; `problems` has one line each, and nothing was imported."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.path, self.problems = path, problems
        more = len(problems) - _SHOWN_PROBLEMS
        shown = problems[:_SHOWN_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        super().__init__("\n".join(f"{path}: {problem}" for problem in shown))


class CatalogueMissing(CatalogueError):
    """There is no such file, or it may not be read."""


class _Row(BaseModel):
    """One entry as a file holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    symbol: str
    polygon_ticker: str
    asset_type: str = Field(min_length=1, max_length=20)
    name: str | None = Field(None, max_length=200)
    priority: Priority = Priority.MEDIUM
    update_frequency_seconds: int | None = Field(None, ge=1, le=30 * 86_400)

    @field_validator("asset_type", "name")
    @classmethod
    def _storable(cls, value: str | None) -> str | None:
        if value and _UNSTORABLE.search(value):
            raise ValueError("holds a character that PostgreSQL cannot store")
        return value

    @field_validator("symbol")
    @classmethod
    def _symbol(cls, value: str) -> str:
        return check_symbol(value)

    @field_validator("polygon_ticker")
    @classmethod
    def _ticker(cls, value: str) -> str:
        return check_ticker(value)

    @field_validator("asset_type")
    @classmethod
    def _type_fits(cls, value: str, info: ValidationInfo) -> str:
        """Metals are tickers of forex, and may be called by what they are."""
        ticker = info.data.get("polygon_ticker")
        if ticker and value.casefold() not in (fits := _TYPES[ticker[:2]]):
            raise ValueError(f"{value!r}: {ticker} is {', '.join(fits)}")
        return value

    @field_validator("priority", mode="before")
    @classmethod
    def _band(cls, value: Any) -> Priority:
        text = str(value).strip().upper()
        names = Priority.by_name()
        if text not in names:
            raise ValueError(f"{value!r}: use {', '.join(names)}")
        return names[text]

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool(cls, value: Any) -> Any:
        """YAML's `yes` is neither a number nor a text."""
        if isinstance(value, bool):
            raise ValueError(f"{'yes' if value else 'no'}: put it in quotes")  # noqa: TRY004
        return value

    def asset(self) -> Asset:
        return Asset(**{**self.model_dump(), "priority": int(self.priority)})


def read_assets(path: Path = CATALOGUE) -> list[Asset]:
    """All assets of a file: YAML (a list of entries) if its name says so, else CSV with a header.

    An empty field means "not given". Raises CatalogueError naming everything that is wrong.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise CatalogueMissing(path, [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise CatalogueError(path, ["cannot be read: not UTF-8 text"]) from error
    found = _yaml(text) if path.suffix.lower() in (".yaml", ".yml") else _csv(text)
    assets = _checked(found)
    if found.problems or not assets:
        raise CatalogueError(path, found.problems or ["lists no asset"])
    return assets


def import_catalogue(
    connection: Connection, assets: list[Asset] | None = None, *, overwrite: bool = False
) -> ImportCounts:
    """Store assets (the shipped catalogue if none are given) in one transaction.

    Without `overwrite` it only adds, and never undoes the user's own edits. Raises CatalogueError,
    DatabaseError.
    """
    found = read_assets() if assets is None else assets
    return SymbolRepository(connection).upsert_many(found, overwrite=overwrite)


def _checked(found: _Found) -> list[Asset]:
    """The assets of good entries; what is wrong with the others is added to the problems."""
    assets: list[Asset] = []
    first: dict[str, str] = {}
    for where, fields in found.entries:
        symbol = str(fields.get("symbol", "")).strip()
        if symbol and first.setdefault(symbol, where) != where:
            known = f"{symbol[:40]} is listed twice (first in {first[symbol]})"
            found.problems.append(f"{where}: {known}")
        try:
            assets.append(_Row.model_validate(fields).asset())
        except ValidationError as error:
            found.problems += [
                f"{where}: {told(problem, _COLUMNS)}"
                for problem in error.errors()
                if not (problem["type"] == "missing" and problem["loc"][0] in found.absent)
            ]
    return assets


def _csv(text: str) -> _Found:
    found = _Found()
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        found.problems += [f"line 1: {problem}" for problem in _header_problems(header)]
        found.absent = frozenset(REQUIRED) - set(header)
        for cells in reader:
            where = f"line {reader.line_num}"
            if len(cells) > len(header):
                found.problems.append(f"{where}: {len(cells)} fields, the header has {len(header)}")
            row = dict(zip(header, cells, strict=False))
            given = {name: row[name] for name in _COLUMNS if row.get(name, "").strip()}
            if given:
                found.entries.append((where, given))
    except csv.Error as error:
        found.problems.append(f"line {reader.line_num}: {error}")
    return found


def _header_problems(header: Sequence[str]) -> Iterator[str]:
    missing = [name for name in REQUIRED if name not in header]
    if len(header) == 1 and ";" in header[0]:
        yield "fields are separated by ';': use commas"
        return
    if missing:
        yield f"the columns {', '.join(REQUIRED)} are needed; no {', '.join(missing)}"
    for name in dict.fromkeys(header):
        if header.count(name) > 1:
            yield f"the column {name[:40]!r} is there twice"
        if name not in _COLUMNS:
            yield told({"type": "extra_forbidden", "loc": (name,)}, _COLUMNS)


def _yaml(text: str) -> _Found:
    try:
        entries = parse_yaml(text)
    except yaml.YAMLError as error:
        return _Found(problems=[f"not valid YAML: {' '.join(str(error).split())}"])
    form = f"with {', '.join(REQUIRED)}"
    if not isinstance(entries, list):
        return _Found(problems=[f"must be a list of entries {form}"])
    found = _Found()
    for number, entry in enumerate(entries, 1):
        where = f"entry {number}"
        if isinstance(entry, dict):
            given = {str(name): value for name, value in entry.items() if value not in (None, "")}
            found.entries.append((where, given))
        else:
            found.problems.append(f"{where}: must be a mapping {form}")
    return found
