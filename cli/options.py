"""Options and arguments that several commands take."""

from __future__ import annotations

from typing import Any

import click

from queueing import Priority

_BANDS = {**Priority.__members__, **{str(int(band)): band for band in Priority}}
"""By name and by number."""

as_json = click.option("--json", "json_", is_flag=True, help="One JSON document with stable keys.")


class PriorityType(click.ParamType[int]):
    """A band by name or number: HIGH, high or 2."""

    name = "priority"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "|".join([*Priority.__members__, f"1…{max(Priority)}"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip().upper()
        if text not in _BANDS:
            allowed = f"use {', '.join(Priority.__members__)} or 1 to {max(Priority)}"
            self.fail(f"{value!r} is not a priority: {allowed}", param, ctx)
        return int(_BANDS[text])


PRIORITY = PriorityType()
