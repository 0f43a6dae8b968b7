"""The least-privilege role of db/sql/grants.sql does the daily work and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import psycopg
import pytest

from db.calls import CallLog
from db.connection import Connection, connect
from db.coverage import Asked, CoverageRepository
from db.errors import PermissionMissing
from db.hours import HourLog, Reading
from db.migrate import migrate, pending_on
from db.probe import can_store
from db.providers import ProviderRepository
from db.queries import sql
from db.refresh import RefreshWriter
from db.symbols import SymbolRepository
from db.warnings import warnings
from tests.kit.db_data import CRITICAL, ETH, NOON, bar, call, one, refresh, run


@pytest.fixture
def worker(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as owner:
        SymbolRepository(owner).upsert_many(CRITICAL)
    run(migrated_url, sql("grants"))
    run(migrated_url, sql("grants"))  # may be run again
    run(migrated_url, "CREATE ROLE least LOGIN PASSWORD 'least' IN ROLE assetq_worker")
    parts = urlsplit(migrated_url)
    try:
        url = f"postgresql://least:least@{parts.hostname}:{parts.port}{parts.path}"
        with connect(url) as connection:
            yield connection
    finally:
        run(migrated_url, "DROP ROLE least; DROP OWNED BY assetq_worker; DROP ROLE assetq_worker")


def test_it_does_the_daily_work(worker: Connection) -> None:
    writer, symbols = RefreshWriter(worker), SymbolRepository(worker)
    assert pending_on(worker) == []
    assert ProviderRepository(worker).swap_last_active() is None
    granted_at_ms = int((NOON + timedelta(hours=2)).timestamp() * 1000)
    for observed_at_ms in (granted_at_ms, granted_at_ms + 1_000):
        asked = Asked(NOON, NOON + timedelta(hours=1))
        item = replace(refresh("XAUUSD", bars=[bar()]), asked=asked, daily=[bar()])
        result = writer.write(observed_at_ms, call(), [item], [("EURUSD", "no data")])
        assert result.changed == ("XAUUSD",)
    assert [asset.symbol for asset in symbols.stalest()] == ["BTCUSD", "EURUSD", "XAUUSD"]
    assert CallLog(worker).prune(0) == 1
    assert symbols.set_active(["EURUSD"], active=False) == ("EURUSD",)
    assert symbols.set_active(["EURUSD", "BTCUSD"], active=True) == ("EURUSD",)
    for minutes in (0, 5):
        assert HourLog(worker, "p").note(Reading(NOON + timedelta(minutes=minutes)))
    assert HourLog(worker, "p").causes(NOON) == {}
    coverage = CoverageRepository(worker)
    later = NOON + timedelta(days=1)
    assert coverage.newest_holes(["XAUUSD"], NOON.date(), NOON.date(), now=later)
    assert [day.bars for day in coverage.days("XAUUSD", NOON.date(), NOON.date())] == [1]
    assert can_store(worker) is None
    assert warnings(worker) == []
    price = "SELECT price FROM trading.latest_prices WHERE symbol = 'XAUUSD'"
    assert float(one(worker, price)) == 2650.1


@pytest.mark.parametrize(
    "forbidden",
    [
        "DELETE FROM trading.symbols",
        "UPDATE trading.symbols SET symbol = 'x'",
        "DELETE FROM market_data.ohlcv_5m",
        "UPDATE data_sources.api_calls SET status = 200",
        "DROP TABLE market_data.ohlcv_5m",
        "DELETE FROM assetq.migrations",
        "CREATE TABLE trading.mine (n int)",
    ],
)
def test_it_may_not_do_more(worker: Connection, forbidden: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute(forbidden.encode())


def test_an_import_is_refused_with_a_remedy(worker: Connection) -> None:
    with pytest.raises(PermissionMissing, match=r"permission denied.*grants\.sql"):
        SymbolRepository(worker).upsert_many([ETH])


def test_an_owner_who_may_not_create_roles_is_told_what_to_ask_for(database_url: str) -> None:
    parts = urlsplit(database_url)
    name = parts.path[1:]
    run(database_url, "CREATE ROLE plain_owner LOGIN PASSWORD 'plain'")
    run(database_url, f"ALTER DATABASE {name} OWNER TO plain_owner")
    url = f"postgresql://plain_owner:plain@{parts.hostname}:{parts.port}/{name}"
    try:
        migrate(url)
        with pytest.raises(
            psycopg.errors.InsufficientPrivilege, match="plain_owner may not"
        ) as info:
            run(url, sql("grants"))
        hint = info.value.diag.message_hint
        assert hint
        run(database_url, re.findall(r"CREATE ROLE assetq_worker NOLOGIN", hint)[0])
        run(url, sql("grants"))
    finally:
        run(database_url, f"ALTER DATABASE {name} OWNER TO CURRENT_USER")
        run(database_url, "DROP OWNED BY plain_owner CASCADE; DROP ROLE plain_owner")
        run(database_url, "DROP OWNED BY assetq_worker; DROP ROLE assetq_worker")
