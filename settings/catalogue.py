"""Reading a catalogue of assets from CSV or YAML, every mistake named with its line or entry."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from db.connection import Connection
from db.symbols import Asset, ImportCounts, SymbolRepository
from market.tickers import check_symbol, check_ticker
from queueing import Priority
from settings.checkout import CATALOGUE
from settings.files import parse_yaml

REQUIRED = ("symbol", "polygon_ticker", "asset_type")
OPTIONAL = ("name", "priority", "update_frequency_seconds")
_SHOWN_PROBLEMS = 10
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


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

    @field_validator("priority", mode="before")
    @classmethod
    def _band(cls, value: Any) -> Priority:
        text = str(value).strip().upper()
        names = {**Priority.__members__, **{str(int(band)): band for band in Priority}}
        if text not in names:
            raise ValueError(
                f"{value!r}: use {', '.join(b.name for b in Priority)} or 1 to {max(Priority)}"
            )
        return names[text]

    def asset(self) -> Asset:
        return Asset(**{**self.model_dump(), "priority": int(self.priority)})


def read_assets(path: Path = CATALOGUE) -> list[Asset]:
    """All assets of a file: YAML (a list of entries) if its name says so, else CSV with a header.

    An empty field means "not given". Raises CatalogueError naming every line that is wrong.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise CatalogueMissing(path, [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise CatalogueError(path, ["cannot be read: not UTF-8 text"]) from error
    rows = _yaml_rows if path.suffix.lower() in (".yaml", ".yml") else _csv_rows
    assets: dict[str, Asset] = {}
    problems: list[str] = []
    for where, fields in rows(path, text):
        try:
            asset = _Row.model_validate(fields).asset()
        except ValidationError as error:
            problems += [f"{where}: {_told(problem)}" for problem in error.errors()]
            continue
        if asset.symbol in assets:
            problems.append(f"{where}: {asset.symbol} is listed twice")
        assets[asset.symbol] = asset
    if problems or not assets:
        raise CatalogueError(path, problems or ["lists no asset"])
    return list(assets.values())


def import_catalogue(
    connection: Connection, assets: list[Asset] | None = None, *, overwrite: bool = False
) -> ImportCounts:
    """Stores assets (the shipped catalogue if none are given) in one transaction.

    Without `overwrite` it only adds, and never undoes the user's own edits. Raises CatalogueError,
    DatabaseError.
    """
    found = read_assets() if assets is None else assets
    return SymbolRepository(connection).upsert_many(found, overwrite=overwrite)


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), restkey="too many fields", strict=True)
    missing = [column for column in REQUIRED if column not in (reader.fieldnames or ())]
    if missing:
        raise CatalogueError(
            path, [f"line 1: the columns {', '.join(REQUIRED)} are needed; no {missing[0]}"]
        )
    try:
        for row in reader:
            given = {name: value for name, value in row.items() if value not in (None, "")}
            yield f"line {reader.line_num}", given
    except csv.Error as error:
        raise CatalogueError(path, [f"line {reader.line_num}: {error}"]) from error


def _yaml_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        entries = parse_yaml(text)
    except yaml.YAMLError as error:
        raise CatalogueError(path, [f"not valid YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CatalogueError(path, [f"must be a list of entries with {', '.join(REQUIRED)}"])
    for number, entry in enumerate(entries, 1):
        given = {str(name): value for name, value in entry.items() if value not in (None, "")}
        yield f"entry {number}", given


def _told(problem: Mapping[str, Any]) -> str:
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{field}: unknown; known are {', '.join(REQUIRED + OPTIONAL)}"
    if problem["type"] == "missing":
        return f"{field}: missing"
    return f"{field}: {problem['msg'].removeprefix('Value error, ')}"
