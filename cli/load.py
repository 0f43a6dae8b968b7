"""The load that `assetq simulate` is about: the tracked assets, those of a file, or a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from cli.show.output import note
from db.connection import Connection, connect
from db.coverage import CoverageRepository
from db.errors import DatabaseError
from db.migrate import require_current_schema
from db.symbols import Asset, StoredAsset, SymbolRepository
from local.simulation import Scenario, assets_of
from local.verdict import Load, bands_of
from market.coverage import days_per_call
from market.tickers import AssetKind, asset_kind
from queueing import Priority
from settings import Settings
from settings.catalogue import read_assets
from settings.checkout import CATALOGUE
from worker.critical import critical_symbols
from worker.series import history_since
from worker.work import usable


def load_of(settings: Settings, assets: int | None, file: Path | None) -> Load:
    """The load that is asked for; without a database that of the shipped catalogue.

    Raises CatalogueError.
    """
    now = datetime.now(UTC)
    newest = now.date() - timedelta(days=1)
    all_days = (newest - history_since(settings, now)).days + 1
    if assets is not None:
        return _of_number(settings, assets, all_days)
    if file is not None:
        return _of_assets(settings, f"assets of {file}", read_assets(file), all_days)
    try:
        # A look that must not wait: this command is for machines without servers too.
        with connect(settings.database_url, connect_timeout_s=2) as connection:
            require_current_schema(connection)
            found = usable(SymbolRepository(connection).list())
            if found:
                return _of_database(settings, connection, found, newest, now)
        why = "no asset is imported"
    except DatabaseError as error:
        why = error.message.rstrip(".")
    note(f"note: {why}, so this is about the catalogue that comes with assetq.")
    return _of_assets(settings, "assets of the catalogue", read_assets(CATALOGUE), all_days)


def _of_database(
    settings: Settings,
    connection: Connection,
    found: Sequence[StoredAsset],
    newest: date,
    now: datetime,
) -> Load:
    critical = set(critical_symbols(settings, found))
    ticker_of = {asset.symbol: asset.polygon_ticker for asset in found}
    coverage = CoverageRepository(connection)
    open_days: dict[str, int] = {}
    for span in {days_per_call(kind) for kind in AssetKind}:
        symbols = [s for s, t in ticker_of.items() if days_per_call(asset_kind(t)) == span]
        first = history_since(settings, now)
        holes = coverage.newest_holes(symbols, first, newest, now=now, span_days=span)
        open_days |= {ticker_of[symbol]: hole.days for symbol, hole in holes.items()}
    bands = [_band(asset, critical=asset.symbol in critical) for asset in found]
    tickers = list(ticker_of.values())
    targets = _targets(settings, found, bands)
    return Load(f"{len(found)} tracked assets", tickers, bands_of(bands), targets, open_days)


def _of_assets(settings: Settings, what: str, found: Sequence[Asset], days: int) -> Load:
    batch = set(settings.priority_assets)
    bands = [
        _band(a, critical=a.symbol in batch if batch else a.priority == Priority.CRITICAL)
        for a in found
    ]
    tickers = [asset.polygon_ticker for asset in found]
    open_days = dict.fromkeys(tickers, days)
    targets = _targets(settings, found, bands)
    return Load(f"{len(found)} {what}", tickers, bands_of(bands), targets, open_days)


def _of_number(settings: Settings, count: int, days: int) -> Load:
    """Imagined assets: three of forex to one of crypto, in bands as in the catalogue."""
    spread = assets_of(Scenario(assets=count, critical=min(3, count)))
    found = [
        Asset(name, f"{'X' if n % 4 == 3 else 'C'}:SIM{n:05}", "", None, int(band))
        for n, (name, band) in enumerate(spread)
    ]
    unset = settings.model_copy(update={"priority_assets": ()})
    return _of_assets(unset, "imagined assets", found, days)


def _band(asset: Asset, *, critical: bool) -> int:
    return int(Priority.CRITICAL) if critical else max(int(Priority.HIGH), asset.priority)


def _targets(settings: Settings, found: Sequence[Asset], bands: Sequence[int]) -> Mapping[int, int]:
    """Band → the most urgent target of its assets."""
    round_s = settings.secondary_interval_minutes * 60
    targets: dict[int, int] = {}
    for asset, band in zip(found, bands, strict=True):
        if band == Priority.CRITICAL:
            target_s = settings.batch_interval_minutes * 60
        else:
            target_s = max(asset.update_frequency_seconds or round_s, round_s)
        targets[band] = min(target_s, targets.get(band, target_s))
    return targets
