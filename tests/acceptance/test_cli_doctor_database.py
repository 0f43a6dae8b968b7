"""`assetq doctor` on PostgreSQL: rights, rows, rules and locks, each named with its remedy."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from db.migrate import migrate
from local.sandbox import SandboxServer
from tests.kit.cli_runs import Cli
from tests.kit.db_data import run
from tests.kit.doctor import checks
from tests.kit.security import least_role


@pytest.fixture
def cli(tmp_path: Path, redis_url: str, migrated_url: str, sandbox: SandboxServer) -> Cli:
    return Cli(
        tmp_path,
        {
            "REDIS_URL": redis_url,
            "DATABASE_URL": migrated_url,
            "POLYGON_BASE_URL": sandbox.url,
            "MASSIVE_API_KEY": "some-key",
        },
    )


def test_rules_of_the_users_tables_are_named(cli: Cli, migrated_url: str) -> None:
    run(
        migrated_url,
        """
        INSERT INTO trading.symbols (symbol) VALUES ('SHIBUSD');
        ALTER TABLE data_sources.data_sync_status
            ADD CONSTRAINT known CHECK (sync_status IN ('pending', 'success', 'failed'));
        """,
    )
    found = checks(cli)
    assert found["writes"]["status"] == "ok"
    assert found["tables"]["status"] == "warn"
    assert 'violates check constraint "known"' in found["tables"]["text"]


def test_assets_that_are_all_paused_are_no_empty_list(cli: Cli, migrated_url: str) -> None:
    columns = "symbol, polygon_ticker, is_active"
    run(migrated_url, f"INSERT INTO trading.symbols ({columns}) VALUES ('A', 'X:AUSD', false)")
    found = checks(cli)["symbols"]
    assert (found["status"], found["text"]) == ("fail", "all assets are paused (1)")
    assert "symbols resume" in found["remedy"]


def test_a_dropped_view_is_named_and_made_again(cli: Cli, migrated_url: str) -> None:
    run(migrated_url, "DROP VIEW trading.latest_prices")
    found = checks(cli)["migrations"]
    assert found["text"] == "views are gone: trading.latest_prices"
    assert found["remedy"] == "Run `assetq migrate`."
    migrate(migrated_url)
    assert checks(cli)["migrations"]["status"] == "ok"


def test_one_rule_that_refuses_both_outcomes_is_told_once(cli: Cli, migrated_url: str) -> None:
    run(
        migrated_url,
        """
        INSERT INTO trading.symbols (symbol) VALUES ('SHIBUSD');
        ALTER TABLE data_sources.data_sync_status
            ADD CONSTRAINT known CHECK (sync_status = 'pending');
        """,
    )
    assert cli.here("doctor").out.count('"known"') == 1


def test_a_malformed_row_is_named_by_its_symbol(cli: Cli, migrated_url: str) -> None:
    row = "INSERT INTO trading.symbols (symbol, polygon_ticker) VALUES ('NZDUSD', 'AAPL')"
    run(migrated_url, row)
    assert "never asked for: NZDUSD: 'AAPL' is not a ticker" in checks(cli)["symbols"]["text"]


def test_writes_that_would_be_refused_are_named(cli: Cli, migrated_url: str) -> None:
    name = migrated_url.rpartition("/")[2]
    run(migrated_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    found = checks(cli)
    assert found["postgresql"]["status"] == "ok"
    assert found["writes"]["status"] == "fail"
    assert "read-only" in found["writes"]["text"]
    assert "primary" in found["writes"]["remedy"]


def test_a_missing_right_is_the_one_diagnosis(cli: Cli, migrated_url: str) -> None:
    with least_role(migrated_url) as url:
        run(migrated_url, "REVOKE SELECT ON trading.symbols FROM assetq_worker")
        found = cli.here("doctor", "--json", DATABASE_URL=url).json["checks"]
    told = [c["text"] for c in found if "right" in c["text"] or "lacks" in c["text"]]
    assert len(told) == 1, found
    assert "the database user lacks SELECT ON trading.symbols" in told[0]
    assert not [c for c in found if "permission denied" in c["text"]]


def test_a_transaction_that_holds_rows_is_named(cli: Cli, migrated_url: str) -> None:
    run(migrated_url, "INSERT INTO trading.symbols (symbol) VALUES ('EURUSD')")
    assert "locks" not in checks(cli)
    with psycopg.connect(migrated_url, application_name="a report") as other:
        other.execute("SELECT FROM trading.symbols")
        assert "locks" not in checks(cli)  # it only reads
        other.execute("SELECT FROM trading.symbols WHERE symbol = 'EURUSD' FOR UPDATE")
        told = checks(cli)["locks"]
        pid = other.info.backend_pid
    assert told["status"] == "warn"
    assert f"session {pid} (user assetq, a report)" in told["text"]
    assert told["text"].endswith("on trading.symbols")
    assert f"pg_terminate_backend({pid})" in told["remedy"]


def test_a_database_that_cannot_hold_every_text_is_named(cli: Cli, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("CREATE DATABASE ascii_only TEMPLATE template0 ENCODING SQL_ASCII "
                      "LC_COLLATE 'C' LC_CTYPE 'C'")  # fmt: skip
    url = database_url.rpartition("/")[0] + "/ascii_only"
    try:
        cli.here("migrate", DATABASE_URL=url)
        found = cli.here("doctor", "--json", DATABASE_URL=url).json["checks"]
    finally:
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute("DROP DATABASE ascii_only WITH (FORCE)")
    told = [c for c in found if "SQL_ASCII" in c["text"]]
    assert len(told) == 1, found
    assert "UTF8" in told[0]["remedy"]
