"""The steps of `assetq up` before there is something to watch: servers, sandbox, database."""

from __future__ import annotations

import subprocess
import sys
import time

import click
import redis

from db.connection import connect
from db.migrate import migrate
from db.symbols import SymbolRepository
from local.sandbox.sources import DATA_DIR
from local.servers.errors import EmbeddedError
from local.servers.local import LocalRun
from local.watching import SandboxView
from market.tiers import TIERS, Tier
from runtime.context import Context
from settings import Settings
from settings.catalogue import read_assets
from settings.urls import redacted_url

TIER_OF_PLAN = {"spec": "free", "free": "free", "starter": "starter"}
"""The sandbox's plans, and the tier of ours that fits each."""

_FETCH_TIMEOUT_S = 120.0
_TRY_AGAIN_S = 3600.0


def start_servers(run: LocalRun, settings: Settings) -> None:
    """Embedded servers, unless the settings lead to others."""
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


def start_sandbox(run: LocalRun, settings: Settings, plan: str) -> SandboxView | None:
    """The sandbox if nothing leads to a provider; it allows what the settings count on."""
    if {"api_key", "base_url"} & settings.model_fields_set:
        return None
    _fetch_recorded(run)
    tier = TIER_OF_PLAN[plan]
    run.set("POLYGON_TIER", tier)
    limit = settings.polygon_rate_limit or TIERS[Tier(tier)].calls_per_window
    url = run.start_sandbox(plan, limit=limit, window_s=settings.rate_window_seconds)
    say(f"no API key is set: prices come from the SANDBOX API at {url} (plan {plan}),")
    say("  which replays recorded data where it has some; they are not the market's. To use the")
    say("  provider, set MASSIVE_API_KEY here or in .env")
    return SandboxView(url)


def _fetch_recorded(run: LocalRun) -> None:
    """Recorded prices for the sandbox, unless they are there or could not be had a short time ago
    (a machine without network should not wait for them at every start)."""
    tried = run.data.run / "fetch-failed"
    if DATA_DIR.exists() or (tried.exists() and time.time() - tried.stat().st_mtime < _TRY_AGAIN_S):
        return
    say("fetching recorded market data (once)")
    argv = [sys.executable, "-m", "local.sandbox.fetch"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
        )
        said = done.stderr.strip().splitlines() or ["it failed"]
        problem = said[-1] if done.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"nothing within {_FETCH_TIMEOUT_S:.0f} s"
    if problem:
        tried.touch()
        say(f"recorded market data could not be fetched ({problem}): the sandbox generates prices")


def _check_redis(settings: Settings) -> None:
    url = settings.redis_url
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise EmbeddedError(
            f"REDIS_URL {redacted_url(url)} does not answer ({type(error).__name__}): start that "
            "server, or remove REDIS_URL from the environment and .env to use an embedded one"
        ) from error


def resume_quota(run: LocalRun, settings: Settings) -> None:
    """An embedded Valkey that ended in order still knows every call: the window goes on."""
    if run.valkey_before is not None:
        with Context.open(settings) as context:
            context.limiter.resume(run.valkey_before)


def prepare_database(settings: Settings) -> dict[str, str]:
    """Migrations, and what the shipped catalogue adds (it never undoes the user's own edits).
    Symbol → the provider's ticker."""
    applied = migrate(settings.database_url)
    say(f"migrations: {len(applied)} applied" if applied else "migrations: nothing to do")
    with connect(settings.database_url) as connection:
        repository = SymbolRepository(connection)
        counts = repository.upsert_many(read_assets(), overwrite=False)
        known = repository.list()
    new = f", {counts.inserted} of them new" if counts.inserted else ""
    say(f"assets: {len(known)}{new}")
    return {asset.symbol: asset.polygon_ticker for asset in known}


def say(line: str) -> None:
    """A line for whoever started the run."""
    click.echo(line)
