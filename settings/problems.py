"""A mistake in a setting as one line: the name as the user wrote it, the value, what is allowed."""

from collections.abc import Mapping
from typing import Any

from annotated_types import Ge, Gt, Le
from pydantic import AliasChoices, ValidationError
from pydantic.fields import FieldInfo

from settings.urls import redacted_url

_SECRET = {"api_key", "db_password", "web_password"}
_URLS = {"base_url", "redis_url_given", "database_url_given"}
_LONGEST_SHOWN = 80


def problems(
    error: ValidationError,
    fields: Mapping[str, FieldInfo],
    from_yaml: Mapping[str, tuple[str, Any]],
    given: Mapping[str, str],
) -> list[str]:
    """One line per problem. `given`: the environment; `from_yaml`: as `read_yaml` returns it."""
    written = {name.upper(): name for name in given}
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


def variables(field: str, info: FieldInfo) -> tuple[str, ...]:
    """The environment's names for a field, the first one wins."""
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (str(alias or field).upper(),)


def _shown(field: str, value: Any) -> str:
    if field in _SECRET:
        return ""
    text = redacted_url(str(value)) if field in _URLS else repr(value)
    return f"={text}" if len(text) <= _LONGEST_SHOWN else f"={text[:_LONGEST_SHOWN]}…"


def _allowed(info: FieldInfo) -> str | None:
    """What a number or a switch may be; None for texts, whose validators say it."""
    kinds = {info.annotation, *getattr(info.annotation, "__args__", ())}
    if bool in kinds:
        return "must be true or false"
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
