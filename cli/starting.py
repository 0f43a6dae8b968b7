"""The steps of `assetq up` before there is something to watch: servers, sandbox, database."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import redis
from dotenv import dotenv_values

from cli.embedded.errors import EmbeddedError
from cli.embedded.local import LocalRun
from cli.watching import SandboxView
from db.connection import connect
from db.migrate import migrate
from db.symbols import SymbolRepository
from settings import Settings

TIER_OF_PLAN = {"spec": "free", "free": "free", "starter": "starter"}
"""The sandbox's plans, and the tier of ours that fits each."""

_FETCH_TIMEOUT_S = 120.0


def given_variables() -> dict[str, str]:
    """Variables that the user has set, here or in .env; empty means not set."""
    values = {**dotenv_values(".env"), **os.environ}
    return {name: value for name, value in values.items() if value}


def start_servers(run: LocalRun, given: dict[str, str]) -> None:
    if "REDIS_URL" not in given:
        say(f"Valkey (embedded): {run.start_valkey()}")
    else:
        _check_redis(given["REDIS_URL"])
        say("Redis: the one of REDIS_URL")
    if "DATABASE_URL" not in given and "DB_HOST" not in given:
        run.start_postgres()
        say(f"PostgreSQL (embedded): data in {run.data.path}")
    else:
        say("PostgreSQL: the one of DATABASE_URL or DB_HOST")


def start_sandbox(run: LocalRun, given: dict[str, str], plan: str) -> SandboxView | None:
    """The sandbox if nothing leads to a provider."""
    if {"MASSIVE_API_KEY", "POLYGON_API_KEY", "POLYGON_BASE_URL"} & given.keys():
        return None
    _fetch_recorded(run)
    run.set("MASSIVE_API_KEY", "sandbox")  # so that the settings are complete
    run.set("POLYGON_TIER", TIER_OF_PLAN[plan])
    os.environ.update(run.values)
    settings = Settings.load()
    limit = None if plan == "starter" else settings.rate_limit
    url = run.start_sandbox(plan, limit=limit, window_s=settings.rate_window_seconds)
    say(f"no API key is set: prices come from the SANDBOX API at {url} (plan {plan}),")
    say("  which replays recorded data where it has some; they are not the market's. To use the")
    say("  provider, set MASSIVE_API_KEY here or in .env")
    return SandboxView(url)


def _fetch_recorded(run: LocalRun) -> None:
    if run.data.market.exists():
        return
    say("fetching recorded market data (once)")
    argv = [sys.executable, "-m", "market.sandbox.fetch"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S)
        problem = (
            "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]
        )
    except subprocess.TimeoutExpired:
        problem = f"nothing within {_FETCH_TIMEOUT_S:.0f} s"
    if problem:
        say(f"recorded market data could not be fetched ({problem}): the sandbox generates it")


def _check_redis(url: str) -> None:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise EmbeddedError(
            f"REDIS_URL does not answer ({type(error).__name__}): start that server, or remove "
            "REDIS_URL from the environment and .env to use an embedded one"
        ) from error


def prepare_database(settings: Settings) -> dict[str, str]:
    """Migrations, and the catalogue into an empty table. Symbol → the provider's ticker."""
    applied = migrate(settings.database_url)
    say(f"migrations: {len(applied)} applied" if applied else "migrations: nothing to do")
    with connect(settings.database_url) as connection:
        repository = SymbolRepository(connection)
        known = repository.list()
        if not known:
            from cli.catalogue import read_assets

            repository.upsert_many(read_assets())
            connection.commit()
            known = repository.list()
            say(f"catalogue: {len(known)} assets imported")
    return {asset.symbol: asset.polygon_ticker for asset in known}


def say(line: str) -> None:
    """A line for whoever started the run."""
    click.echo(line)
