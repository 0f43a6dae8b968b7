"""The steps of `assetq up` before there is something to watch: servers, sandbox, database."""

from __future__ import annotations

import click
import redis

from db.connection import connect
from db.migrate import migrate
from db.symbols import SymbolRepository
from local.servers.errors import EmbeddedError
from local.servers.local import LocalRun
from local.watching import SandboxView
from market.tiers import TIERS, Tier
from queueing import Priority
from runtime.context import Context
from runtime.redis_client import open_redis
from settings import Settings
from settings.catalogue import read_assets
from settings.urls import redacted_url
from worker.critical import critical_symbols

TIER_OF_PLAN = {"spec": "free", "free": "free", "starter": "starter"}
"""The sandbox's plans, and the tier of ours that fits each."""


def start_servers(run: LocalRun, settings: Settings) -> None:
    """Start embedded servers, unless the settings lead to others."""
    given = settings.model_fields_set
    if "redis_url_given" not in given:
        say(f"Valkey (embedded): {run.start_valkey()}")
    else:
        _check_redis(settings)
        say("Redis: the one of REDIS_URL")
    if not {"database_url_given", "db_host"} & given:
        run.start_postgres()
        say(f"PostgreSQL (embedded): data in {run.data.path}")
    else:
        say("PostgreSQL: the one of DATABASE_URL or DB_HOST")


SANDBOX_HISTORY_DAYS = "7"
"""A first look need not fetch two years of synthetic prices."""


def start_sandbox(run: LocalRun, settings: Settings, plan: str) -> SandboxView | None:
    """Start the sandbox if no setting leads to a provider; it allows what the settings count on."""
    if {"api_key", "base_url"} & settings.model_fields_set:
        return None
    tier = TIER_OF_PLAN[plan]
    run.set("POLYGON_TIER", tier)
    if "history_days" not in settings.model_fields_set:
        run.set("HISTORY_DAYS", SANDBOX_HISTORY_DAYS)
    limit = settings.polygon_rate_limit or TIERS[Tier(tier)].calls_per_window
    url = run.start_sandbox(plan, limit=limit, window_s=settings.rate_window_seconds)
    say(f"no API key is set: the SANDBOX API at {url} (plan {plan}) makes the prices up:")
    say("  they are synthetic. To use the provider, set MASSIVE_API_KEY here or in .env")
    return SandboxView(url)


def _check_redis(settings: Settings) -> None:
    url = settings.redis_url
    try:
        with open_redis(url, socket_connect_timeout=5, socket_timeout=5) as client:
            client.ping()
    except redis.RedisError as error:
        raise EmbeddedError(
            f"REDIS_URL {redacted_url(url)} does not answer ({type(error).__name__}): start that "
            "server, or remove REDIS_URL from the environment and .env to use an embedded one"
        ) from error


def resume_quota(run: LocalRun, settings: Settings) -> None:
    """Let the window go on where an embedded Valkey that ended in order still knows every call."""
    if run.valkey_before is not None:
        with Context.open(settings) as context:
            context.limiter.resume(run.valkey_before)


def prepare_database(settings: Settings) -> tuple[str, ...]:
    """Apply migrations, and add the shipped catalogue where no asset is CRITICAL yet (it never
    undoes the user's own edits): a list of the user's own stays as it is, and needs no right to
    import.

    Returns the symbols that are critical.
    """
    applied = migrate(settings.database_url)
    say(f"migrations: {len(applied)} applied" if applied else "migrations: nothing to do")
    with connect(settings.database_url) as connection:
        repository = SymbolRepository(connection)
        new = ""
        if not repository.list(band=Priority.CRITICAL, paused=True):
            counts = repository.upsert_many(read_assets(), overwrite=False)
            new = f", {counts.inserted} of them new" if counts.inserted else ""
        known = repository.list()
    say(f"assets: {len(known)}{new}")
    return critical_symbols(settings, known)


def say(line: str) -> None:
    """Print a line for the person who started the run."""
    click.echo(line)
