"""Options and arguments that several commands take."""

from __future__ import annotations

from typing import Any

import click

_NAMES = ("CRITICAL", "HIGH", "MEDIUM", "LOW")

as_json = click.option("--json", "json_", is_flag=True, help="One JSON document with stable keys.")


class PriorityType(click.ParamType[int]):
    """A band by name or number: HIGH, high or 2."""

    name = "priority"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "CRITICAL|HIGH|MEDIUM|LOW|1…4"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip().upper()
        if text in _NAMES:
            return _NAMES.index(text) + 1
        if text not in ("1", "2", "3", "4"):
            allowed = f"use {', '.join(_NAMES)} or 1 to 4"
            self.fail(f"{value!r} is not a priority: {allowed}", param, ctx)
        return int(text)


PRIORITY = PriorityType()
