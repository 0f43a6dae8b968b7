"""A mistake in a setting as one line: the name as the user wrote it, the value, what is allowed."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from enum import Enum
from typing import Any

from annotated_types import Ge, Gt, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from settings.sources import Sources, variables
from settings.urls import redacted_url

_SECRET = {"api_key", "db_password", "web_password", "web_reader_password"}
_URLS = {"base_url", "redis_url_given", "database_url_given"}
_LONGEST_SHOWN = 80


def problems(
    error: ValidationError,
    fields: Mapping[str, FieldInfo],
    sources: Sources,
) -> list[str]:
    """One line per problem, under the name that the user wrote."""
    from_yaml, written = sources.from_yaml, {name.upper(): name for name in sources.given}
    names = {field: variables(field, info) for field, info in fields.items()}
    field_of = {name: field for field, each in names.items() for name in each}
    lines = []
    for problem in error.errors(include_url=False):
        place = str(problem["loc"][0]) if problem["loc"] else ""
        message = problem["msg"].removeprefix("Value error, ").rstrip(".")
        if not place:
            lines.append(f"{message}.")
            continue
        field = field_of.get(place.upper(), place)
        name = next((written[v] for v in names.get(field, ()) if v in written), None)
        if name is None and field in from_yaml:
            name = from_yaml[field][0]
        allowed = _allowed(fields[field]) or message
        lines.append(f"{name or place}{_shown(field, problem['input'])}: {_lower(allowed)}.")
    return lines


def told(problem: Mapping[str, Any], known: Sequence[str]) -> str:
    """One mistake in an entry of a file, in words; `known` are the names that an entry may have."""
    field = ".".join(str(part)[:40] for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(field, known, 1, 0.6)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return f"{field}: unknown; {hint}"
    words = _WORDS.get(problem["type"])
    if words is None:
        return f"{field}: {problem['msg'].removeprefix('Value error, ')}"
    shown = repr(problem.get("input"))[:_LONGEST_SHOWN]
    return f"{field}: {words.format(shown=shown, **problem.get('ctx', {}))}"


_WHOLE = "{shown} is not a whole number"
_WORDS = {
    "missing": "missing",
    "int_parsing": _WHOLE,
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": _WHOLE,
    "greater_than_equal": "{shown} must be at least {ge}",
    "less_than_equal": "{shown} must be at most {le}",
    "string_type": "{shown} is not text; put it in quotes",
    "string_unicode": "{shown} is not text",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters",
}
"""pydantic's kinds of mistakes; its own words are for programmers."""


def _shown(field: str, value: Any) -> str:
    if field in _SECRET:
        return ""
    written = str(value)
    text = redacted_url(written) if field in _URLS or "://" in written else repr(value)
    return f"={text}" if len(text) <= _LONGEST_SHOWN else f"={text[:_LONGEST_SHOWN]}…"


def _allowed(info: FieldInfo) -> str | None:
    """What a number, a switch or a choice may be; None for texts, whose validators say it."""
    kinds = {info.annotation, *getattr(info.annotation, "__args__", ())}
    if bool in kinds:
        return "must be true or false"
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Enum):
            return f"must be one of {', '.join(str(choice.value) for choice in kind)}"
    if not kinds & {int, float}:
        return None
    what = "a whole number" if int in kinds else "a number"
    low, high = "", ""
    for limit in info.metadata:
        if isinstance(limit, Le):
            high = f" to {limit.le}"
        elif isinstance(limit, Ge | Gt):
            low = f" from {limit.ge}" if isinstance(limit, Ge) else f" above {limit.gt}"
    return f"must be {what}{low}{high}"


def _lower(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]
