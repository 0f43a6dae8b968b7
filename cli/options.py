"""Options and arguments that several commands take."""

from __future__ import annotations

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
        return _ALLOWED

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip().upper()
        if text not in _BANDS:
            self.fail(f"{value!r} is not a priority: use {', '.join(_BANDS)}", param, ctx)
        return int(_BANDS[text])


PRIORITY = PriorityType()
