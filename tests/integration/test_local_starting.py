"""What `assetq up` does to a database: migrations, and the shipped assets where there are none."""

from __future__ import annotations

import pytest

from db.connection import connect
from db.symbols import Asset, SymbolRepository
from local.starting import prepare_database
from settings import Settings
from tests.kit.db_data import rows
from tests.kit.security import least_role


def settings(url: str) -> Settings:
    return Settings.load({"DATABASE_URL": url}, env_file=None)


def test_a_list_of_ones_own_stays_and_needs_no_right_to_import(
    migrated_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with connect(migrated_url) as owner:
        SymbolRepository(owner).upsert_many([Asset("GBPUSD", "C:GBPUSD", "forex", priority=1)])
        with least_role(migrated_url) as url:
            assert prepare_database(settings(url)) == ("GBPUSD",)
        assert rows(owner, "SELECT symbol FROM trading.symbols") == [("GBPUSD",)]
    assert capsys.readouterr().out.splitlines()[-1] == "assets: 1"


def test_an_empty_table_gets_the_shipped_ones_once(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare_database(settings(database_url)) == ("XAUUSD", "EURUSD", "BTCUSD")
    assert capsys.readouterr().out.splitlines()[-1] == "assets: 95, 95 of them new"
    with connect(database_url) as owner:
        SymbolRepository(owner).delete("GBPUSD")
    prepare_database(settings(database_url))
    assert capsys.readouterr().out.splitlines()[-1] == "assets: 94"
