"""What commands print: one JSON document, or a table for people (plain text when piped)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from health.texts import one_line


def print_json(document: Any) -> None:
    """One indented document; prices are numbers, instants ISO 8601 in UTC."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=_plain))


def print_json_rows(head: dict[str, Any], name: str, rows: Iterable[dict[str, Any]]) -> None:
    """One document of which the last member, `name`, is a list, written as its rows come."""
    opening = json.dumps(head, indent=2, ensure_ascii=False, default=_plain).removesuffix("\n}")
    click.echo(f"{opening},\n  {json.dumps(name)}: [", nl=False)
    separator = ""
    for row in rows:
        line = json.dumps(row, ensure_ascii=False, default=_plain)
        click.echo(f"{separator}\n    {line}", nl=False)
        separator = ","
    click.echo("\n  ]\n}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Columns whose name begins with '>' stand on the right. Nothing is ever cut off."""
    cells = [[cell(value) for value in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    if sys.stdout.isatty():
        _print_rich(columns, cells)
    else:
        _print_plain(columns, cells)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one line each; facts without a value are left out."""
    shown = [(name, cell(value)) for name, value in facts if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name:<{width}}  {value}".rstrip())


def note(line: str) -> None:
    """A line for people beside the result."""
    click.echo(line, err=True)


def cell(value: object) -> str:
    """One line of printable text: what providers and users send may hold anything."""
    return one_line("" if value is None else str(value))


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} in a JSON document")


def _print_plain(columns: Sequence[str], rows: list[list[str]]) -> None:
    right = [name.startswith(">") for name in columns]
    table = [[name.lstrip(">") for name in columns], *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    for row in table:
        parts = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ]
        click.echo("  ".join(parts).rstrip())


def _print_rich(columns: Sequence[str], rows: list[list[str]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(
            name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    Console().print(table)
