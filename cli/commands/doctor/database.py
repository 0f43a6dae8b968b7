"""PostgreSQL: reachable, migrated, and with the assets that the settings name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from cli.commands.doctor.capacity import capacity
from cli.commands.doctor.finding import Finding, fail, ok, warn
from db.compatibility import problems
from db.connection import Connection, connect, server_version, unit_of_work
from db.errors import PermissionMissing
from db.locks import LONG_S, lasting_locks
from db.migrate import MINIMUM_SERVER, lost_views, pending_on
from db.probe import can_store
from db.symbols import StoredAsset, SymbolRepository
from db.warnings import warnings
from health.texts import names
from queueing import Priority
from runtime.context import Context
from settings import Settings
from worker.critical import critical_symbols
from worker.history import history_size
from worker.work import unusable

_SHOWN = 5


def examine(
    settings: Settings, context: Context | None = None, *, refuses: bool = False
) -> Iterator[Finding]:
    """All checks on one connection. Raises DatabaseError.

    `refuses`: it is known already that no answer can be stored, and why; a check that the same
    missing right ends is then left out. With `context`, which needs Redis, the load of the assets
    is compared with the quota.
    """
    try:
        yield from _checks(settings, context, refuses=refuses)
    except PermissionMissing:
        if not refuses:
            raise


def _checks(settings: Settings, context: Context | None, *, refuses: bool) -> Iterator[Finding]:
    with connect(settings.database_url) as connection:
        place = connection.target
        version = server_version(connection)
        where = f"{place.host}:{place.port}, database {place.dbname}, user {place.user}"
        if connection.info.server_version < MINIMUM_SERVER:
            text = f"PostgreSQL {version} is too old"
            yield fail("postgresql", text, "Use PostgreSQL 13 or newer.")
        else:
            yield ok("postgresql", f"{where}: {version}")
        with unit_of_work(connection):
            obstacles = problems(connection)
        for obstacle in obstacles:
            yield fail("tables", *_split(obstacle))
        missing = pending_on(connection)
        if missing:
            text = f"missing: {', '.join(missing)}"
            yield fail("migrations", text, "Run `assetq migrate`.")
            return
        with unit_of_work(connection):
            dropped = lost_views(connection)
        if dropped:
            yield fail("migrations", f"views are gone: {names(dropped)}", "Run `assetq migrate`.")
        else:
            yield ok("migrations", "all applied")
        for caution in warnings(connection):
            yield warn("tables", *_split(caution))
        repository = SymbolRepository(connection)
        assets = repository.list()
        yield from _symbols(settings, assets, len(repository.list(paused=True)) - len(assets))
        if context:
            critical = critical_symbols(settings, assets)
            yield from capacity(context, len(assets), len(critical))
        yield from _locks(connection)
        if refuses:
            return
        if refusal := can_store(connection):  # the last: it may close the connection
            yield fail("writes", refusal.message.rstrip("."), refusal.remedy or "Look at its log.")
        else:
            yield ok("writes", "an answer could be stored")


def _locks(connection: Connection) -> Iterator[Finding]:
    """Transactions that keep rows of assetq locked; their assets fail meanwhile."""
    for holder in lasting_locks(connection):
        who = ", ".join(filter(None, (f"user {holder.user}", holder.program)))
        yield warn(
            "locks",
            f"a transaction of session {holder.pid} ({who}) has held locks for over {LONG_S:g} s "
            f"on {names(holder.relations)}",
            f"End it if assets fail: SELECT pg_terminate_backend({holder.pid}).",
        )


def _split(sentence: str) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    text, _, remedy = sentence.partition("; ")
    remedy = remedy or "change that"
    return text, f"{remedy[:1].upper()}{remedy[1:]}."


def _malformed(assets: Sequence[StoredAsset]) -> Iterator[Finding]:
    """Rows that no round asks for."""
    found = [
        f"{a.symbol[:40]}: {why}" for a in assets if (why := unusable(a.symbol, a.polygon_ticker))
    ]
    if found:
        more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        yield warn(
            "symbols",
            f"never asked for: {'; '.join(found[:_SHOWN])}{more}",
            "Correct symbol or polygon_ticker in trading.symbols, or set polygon_ticker to NULL.",
        )


def _history(settings: Settings, assets: Sequence[StoredAsset]) -> Finding:
    """How much the bars will be once they are whole."""
    tickers = [a.polygon_ticker for a in assets if not unusable(a.symbol, a.polygon_ticker)]
    size = history_size(tickers, settings, datetime.now(UTC))
    return ok(
        "history",
        f"{size.bars:,} 5-minute bars at most, about {size.megabytes:,} MB, once {size.days} days "
        f"of {size.series} assets are whole",
    )


def _room(settings: Settings, assets: int) -> Iterator[Finding]:
    """Whether the queue holds the price and the series of each asset, where its bound was set."""
    wanted = 2 * assets
    if settings.queue_is_bounded and settings.queue_max_size < wanted:
        yield warn(
            "queue",
            f"QUEUE_MAX_SIZE is {settings.queue_max_size}, and {assets} assets want {wanted} "
            "places, for a price and a series each: some wait for later rounds",
            "Leave QUEUE_MAX_SIZE unset: the queue then holds every asset.",
        )


def _symbols(settings: Settings, assets: Sequence[StoredAsset], paused: int) -> Iterator[Finding]:
    if paused and not assets:
        text = f"all assets are paused ({paused})"
        yield fail("symbols", text, "`assetq symbols resume` those that are wanted.")
        return
    if not assets:
        yield fail("symbols", "no assets are tracked", "Run `assetq symbols import`.")
        return
    never = sum(asset.as_of is None for asset in assets)
    yield ok("symbols", f"{len(assets)} tracked, {never} of them never refreshed")
    yield from _malformed(assets)
    yield _history(settings, assets)
    yield from _room(settings, len(assets))
    yield _critical(settings, assets)


def _critical(settings: Settings, assets: Sequence[StoredAsset]) -> Finding:
    """Which assets the batch refreshes, and what says so."""
    if not settings.priority_assets_enabled:
        text = "PRIORITY_ASSETS_ENABLED is false: no batch runs"
        return warn("critical", text, "Set it to true unless that is meant.")
    batch = critical_symbols(settings, assets)
    by_band = {asset.symbol for asset in assets if asset.priority == Priority.CRITICAL}
    if not batch:
        text = "no asset is CRITICAL: batches refresh nothing"
        return warn("critical", text, "Give some assets the priority 1, or set PRIORITY_ASSETS.")
    if absent := sorted(set(batch) - {asset.symbol for asset in assets}):
        return fail(
            "critical",
            f"PRIORITY_ASSETS names what is not tracked: {', '.join(absent)}",
            "Import or resume them (`assetq symbols`), or take them out of PRIORITY_ASSETS.",
        )
    source = "as PRIORITY_ASSETS says" if settings.priority_assets else "the CRITICAL assets"
    text = f"the batch refreshes {names(batch)}: {source}"
    if others := sorted(by_band - set(batch)):
        text += f"; {names(others)} are CRITICAL in trading.symbols and wait as HIGH"
    return ok("critical", text)
