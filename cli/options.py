"""Options and arguments that several commands take."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from queueing import Priority

_BANDS = Priority.by_name()
_ALLOWED = "|".join(_BANDS)

as_json = click.option("--json", "json_", is_flag=True, help="One JSON document with stable keys.")


class PriorityType(click.ParamType[int]):
    """A band by name or number: HIGH, high or 2."""

    name = "priority"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What the help shows."""
        return _ALLOWED

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of the band. Fails with the bands that there are."""
        text = str(value).strip().upper()
        if text not in _BANDS:
            self.fail(f"{value!r} is not a priority: use {', '.join(_BANDS)}", param, ctx)
        return int(_BANDS[text])


PRIORITY = PriorityType()


class NumberRange(click.FloatRange):
    """A number within bounds. `nan` is none, and infinite seconds would never end."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number. Fails where it is none, or out of bounds."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class WholeRange(click.IntRange):
    """A whole number within bounds."""

    name = "whole number"


_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?P<time>[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?", re.I)
_YEARS = range(1970, 2200)


@dataclass(frozen=True)
class Moment:
    """A UTC day, or an instant: then it ends where it begins."""

    text: str
    start: datetime
    end: datetime


class MomentType(click.ParamType[Moment]):
    """A day (2026-11-20) or an instant (2026-11-20T13:30), in UTC unless it says otherwise."""

    name = "moment"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What the help shows."""
        return "DAY|INSTANT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Moment:
        """The day or instant. Fails with the forms that are understood."""
        text = str(value).strip()
        form = _MOMENT.fullmatch(text)
        try:
            at = datetime.fromisoformat(text.upper()) if form else None
        except ValueError:
            at = None
        if form is None or at is None or at.year not in _YEARS:
            self.fail(
                f"{text[:40]!r} is not a day or instant: write 2026-11-20 or 2026-11-20T13:30",
                param,
                ctx,
            )
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        return Moment(text, at, at if form["time"] else at + timedelta(days=1))


_MOMENT_TYPE = MomentType()
from_option = click.option(
    "--from", "since", type=_MOMENT_TYPE, help="Begin here (UTC unless it says otherwise)."
)
to_option = click.option(
    "--to", "until", type=_MOMENT_TYPE, help="End here: a day is included, an instant is not."
)


def checked_order(since: Moment | None, until: Moment | None) -> None:
    """Raises UsageError if the range ends before it begins."""
    if since and until and since.start >= until.end:
        raise click.UsageError(f"--from {since.text} is not before --to {until.text}: swap them?")
