"""Where the settings come from, names that nothing reads, and the API key."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from dotenv import dotenv_values

from cli.commands.doctor.finding import Finding, fail, ok, warn
from cli.session import environment as run_environment
from runtime.rq_environment import dropped
from settings import Settings
from settings.files import read_yaml
from settings.sources import variables

ENV_FILE = Path(".env")
_OTHERS = {
    *("ASSETQ_CONFIG", "ASSETQ_DATA_DIR", "ASSETQ_DEBUG", "VALKEY_SERVER", "PG_BIN"),
    *("WEB_CONCURRENCY", "DATABASE_PUBLIC_URL", "REDIS_TLS_URL", "REDIS_PUBLIC_URL"),
}
"""Names that others read: the launcher, gunicorn, hosts."""
_PREFIXES = ("ASSETQ_", "MASSIVE_", "POLYGON_", "RATE_", "BATCH_", "QUEUE_", "RETRY_", "SECONDARY_")


def sources(settings: Settings) -> Iterator[Finding]:
    """Which names each source sets (never a value), and what looks like a slip."""
    known = {name for f, info in Settings.model_fields.items() for name in variables(f, info)}
    dotenv = {k: v for k, v in dotenv_values(ENV_FILE).items() if v} if ENV_FILE.is_file() else {}
    environment = {name: value for name, value in os.environ.items() if value}
    taken = known & environment.keys()
    parts = [f"environment: {_names(taken)}"]
    if borrowed := (known & run_environment().keys()) - taken:
        parts.append(f"the `assetq up` that runs here: {_names(borrowed)}")
        taken |= borrowed
    if dotenv:
        parts.append(f"{ENV_FILE.resolve()}: {_names((known & dotenv.keys()) - taken)}")
    config = environment.get("ASSETQ_CONFIG") or dotenv.get("ASSETQ_CONFIG")
    if config:
        overruled = taken | (known & dotenv.keys())
        fields = {field for field in read_yaml(Path(config)) if field.upper() not in overruled}
        parts.append(f"{config}: {_names({field.upper() for field in fields})}")
    yield ok("settings", "; ".join(parts) + "; the others are defaults")
    given = taken & environment.keys() & dotenv.keys()
    shadowed = {name for name in given if environment[name] != dotenv[name]}
    if shadowed:
        yield warn(
            "settings",
            f"the environment overrules {ENV_FILE} for {_names(shadowed)}",
            "Remove one of the two if that is not meant.",
        )
    yield from _slips(environment.keys() | dotenv.keys(), known)
    if ignored := dropped():
        yield warn(
            "settings",
            f"{_names(set(ignored))} would redirect RQ to what another program uses; assetq "
            "ignores it",
            "Unset it. A worker that is started by `rq worker` itself refuses to start with it.",
        )


def _slips(given: set[str], known: set[str]) -> Iterator[Finding]:
    for name in sorted(given - known - _OTHERS):
        near = difflib.get_close_matches(name, known | _OTHERS, 1, 0.8)
        if near and name.startswith(_PREFIXES):
            yield warn("settings", f"nothing reads {name}", f"Did you mean {near[0]}?")


def key(settings: Settings) -> Iterator[Finding]:
    """The API key is set; whether it is right is known after the first call only."""
    if settings.api_key is None:
        yield fail(
            "api key",
            "not set",
            "Set MASSIVE_API_KEY (or POLYGON_API_KEY); `assetq up` runs with a sandbox without it.",
        )
    else:
        limit = settings.rate_limit
        calls = f"{limit} calls in {settings.rate_window_seconds:g} s" if limit else "no limit"
        yield ok("api key", f"set; tier {settings.polygon_tier.value}: {calls}")


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
