"""Reading what an external writer may have changed in Redis: what is not sound is left out."""

import json
from collections.abc import Mapping
from typing import Any

END_MS = 10**14
"""No instant, span or count of ours is as large: it is a time of the year 5138."""


def figure(value: Any, *, least: int = 0) -> int | None:
    """An instant, a span or a count, of any text or number; None for what is none."""
    try:
        number = int(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return number if least <= number < END_MS else None


def figures(fields: Mapping[Any, Any]) -> dict[str, int]:
    """Those fields of a hash that are figures."""
    found = {name: figure(value) for name, value in fields.items()}
    return {_text(name): number for name, number in found.items() if number is not None}


def json_object(text: str | bytes | None) -> dict[str, Any]:
    """The JSON object of a text; an empty one for what is none."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, TypeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
