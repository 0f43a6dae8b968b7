"""The files of a configuration: `.env`, and YAML in the form of config/production.yml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

from settings.errors import SettingsError


def stated(values: Mapping[str, str | None]) -> dict[str, str]:
    """The values that are not empty, without blanks around them: empty means "not set"."""
    stripped = {name: (value or "").strip() for name, value in values.items()}
    return {name: value for name, value in stripped.items() if value}


def read_dotenv(path: str | Path | None) -> dict[str, str]:
    """The values of a `.env` file; none if there is none. Raises SettingsError."""
    if path is None or not Path(path).is_file():
        return {}
    try:
        return stated(dotenv_values(path, encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}."]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{path}: is not UTF-8 text."]) from None


_YAML_FIELDS = {
    ("batch", "interval_minutes"): "batch_interval_minutes",
    ("batch", "priority_assets"): "priority_assets",
    ("rate_limiting", "calls_per_minute"): "polygon_rate_limit",
    ("rate_limiting", "tier"): "polygon_tier",
    ("rate_limiting", "upgrade_url"): None,  # known, and of no consequence
    ("queue", "max_size"): "queue_max_size",
    ("queue", "retry_max_attempts"): "retry_max_attempts",
    ("queue", "retry_delay_seconds"): "retry_delay_seconds",
}


def read_yaml(path: Path) -> dict[str, tuple[str, Any]]:
    """Field → (path in the file, value). Raises SettingsError naming every unknown key."""
    try:
        raw = parse_yaml(path.read_text("utf-8-sig")) or {}
    except OSError as error:
        raise SettingsError(
            [f"ASSETQ_CONFIG={path}: cannot be read: {error.strerror}. Correct the path."]
        ) from None
    except UnicodeDecodeError:
        raise SettingsError([f"ASSETQ_CONFIG={path}: is not UTF-8 text."]) from None
    except yaml.YAMLError as error:
        raise SettingsError([f"ASSETQ_CONFIG={path}: not valid YAML: {_where(error)}."]) from None
    if isinstance(raw, dict):  # a section without content is one that says nothing
        raw = {section: {} if values is None else values for section, values in raw.items()}
    if not isinstance(raw, dict) or not all(isinstance(v, dict) for v in raw.values()):
        sections = ", ".join(sorted({section for section, _ in _YAML_FIELDS}))
        raise SettingsError([f"{path}: must hold the sections {sections}."])
    found: dict[str, tuple[str, Any]] = {}
    problems = []
    for section, values in raw.items():
        for key, value in values.items():
            where = f"{section}.{key}"
            if (section, key) not in _YAML_FIELDS:
                problems.append(f"{path}: {where}: unknown. {_known_keys(section)}")
            elif value is not None and (field := _YAML_FIELDS[section, key]):
                try:
                    found[field] = (
                        f"{path}: {where}",
                        _priority_assets(value) if field == "priority_assets" else value,
                    )
                except ValueError as error:
                    problems.append(f"{path}: {where}: {error}")
    if problems:
        raise SettingsError(problems)
    return found


def parse_yaml(text: str) -> Any:
    """Parse plain YAML; raises yaml.YAMLError for anything else.

    PyYAML's own constructors raise other errors, for `!!int x` or the 45th of a month.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="nested too deeply") from None
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError):
        raise yaml.MarkedYAMLError(problem="a value that is not what it claims to be") from None


def _known_keys(section: object) -> str:
    keys = [key for known, key in _YAML_FIELDS if known == section]
    if keys:
        return f"{section} may hold {', '.join(keys)}."
    return f"The sections are {', '.join(dict.fromkeys(s for s, _ in _YAML_FIELDS))}."


def _where(error: yaml.YAMLError) -> str:
    """The place, without the line itself: it may hold a password."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
    return f"{problem}, in line {mark.line + 1}" if mark else str(problem)


def _priority_assets(rows: Any) -> tuple[str, ...]:
    """The enabled assets, in the order of their priority."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("must be a list of {symbol, enabled, priority}.")
    order = []
    for number, row in enumerate(rows, 1):
        unknown = set(row) - {"symbol", "enabled", "priority"}
        priority = row.get("priority", number)
        if unknown or not isinstance(row.get("symbol"), str):
            raise ValueError(f"entry {number}: needs symbol, and may have enabled and priority.")
        if isinstance(priority, bool) or not isinstance(priority, int) or priority < 1:
            raise ValueError(f"entry {number}: priority {priority!r}: a whole number from 1.")
        if not isinstance(row.get("enabled", True), bool):
            raise ValueError(  # noqa: TRY004 - a ValueError becomes a line for the user
                f"entry {number}: enabled {row['enabled']!r}: true or false."
            )
        if row.get("enabled", True):
            order.append((priority, row["symbol"]))
    return tuple(symbol for _, symbol in sorted(order, key=lambda pair: pair[0]))
