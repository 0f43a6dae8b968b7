"""What the user's tables refuse fails alone, however it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import pytest

from db.connection import Connection, connect
from db.errors import DatabaseUnavailable, WritesRefused
from db.refresh import RefreshWriter
from db.symbols import SymbolRepository
from tests.kit.db_data import CRITICAL, ETH, NOON, bar, call, one, refresh, rows, run

ALL = ("XAUUSD", "EURUSD", "BTCUSD", "ETHUSDT")


def raising(sqlstate: str, table: str, condition: str = "NEW.symbol = 'XAUUSD'") -> str:
    """A trigger that refuses some rows with a SQLSTATE of its choice."""
    return f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF {condition} THEN RAISE EXCEPTION 'not this' USING ERRCODE = '{sqlstate}'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table}
            FOR EACH ROW EXECUTE FUNCTION refuse();
    """


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many([*CRITICAL, ETH])
        yield connection


@pytest.fixture
def writer(connection: Connection) -> RefreshWriter:
    return RefreshWriter(connection)


def stored(connection: Connection) -> set[str]:
    query = "SELECT symbol FROM trading.symbols WHERE metadata -> 'last_update' IS NOT NULL"
    return {symbol for (symbol,) in rows(connection, query)}


PRICE_RULES = {
    "check": "ALTER TABLE trading.symbols ADD CHECK (symbol <> 'XAUUSD' OR metadata IS NULL)",
    "trigger": raising("P0001", "trading.symbols"),
    "own sqlstate": raising("MY001", "trading.symbols"),
    "rights in a trigger": raising("42501", "trading.symbols"),
    "missing table in a trigger": raising("42P01", "trading.symbols"),
    "cancelled": raising("57014", "trading.symbols"),
    "lock not available": raising("55P03", "trading.symbols"),
    "unique index": """
        CREATE UNIQUE INDEX ON trading.symbols ((metadata #>> '{last_update,source}'))
            WHERE symbol IN ('XAUUSD', 'MINE');
        INSERT INTO trading.symbols (symbol, metadata)
            VALUES ('MINE', '{"last_update": {"source": "snapshot"}}');
    """,
}


@pytest.mark.parametrize("rule", PRICE_RULES.values(), ids=PRICE_RULES.keys())
def test_a_price_that_is_refused_costs_that_price(
    connection: Connection, writer: RefreshWriter, rule: str
) -> None:
    connection.execute(rule.encode())
    result = writer.write(1_000, call(), [refresh(symbol, bars=[bar()]) for symbol in ALL])
    assert set(result.changed) == {"EURUSD", "BTCUSD", "ETHUSDT"}
    assert set(result.refused) == {"XAUUSD"}
    assert stored(connection) - {"MINE"} == set(result.changed)
    assert result.bars_written == 3, "nothing of a refused refresh is stored"
    status = """
        SELECT s.symbol::text, y.sync_status FROM data_sources.data_sync_status AS y
        JOIN trading.symbols AS s ON s.id = y.ticker_id
    """
    assert dict(rows(connection, status)) == {
        "XAUUSD": "error",
        **dict.fromkeys(result.changed, "success"),
    }
    assert one(connection, "SELECT count(*) FROM data_sources.api_calls") == 1


@pytest.mark.parametrize("check", ["USING (true) WITH CHECK (symbol <> 'XAUUSD')"])
def test_row_level_security_costs_that_row(migrated_url: str, check: str) -> None:
    with connect(migrated_url) as owner:
        SymbolRepository(owner).upsert_many([*CRITICAL, ETH])
    run(
        migrated_url,
        f"""
        ALTER TABLE trading.symbols ENABLE ROW LEVEL SECURITY;
        CREATE POLICY partly ON trading.symbols {check};
        CREATE ROLE secured LOGIN PASSWORD 'secured';
        GRANT USAGE ON SCHEMA trading, market_data, data_sources TO secured;
        GRANT ALL ON ALL TABLES IN SCHEMA trading, market_data, data_sources TO secured;
        """,
    )
    parts = urlsplit(migrated_url)
    url = f"postgresql://secured:secured@{parts.hostname}:{parts.port}{parts.path}"
    try:
        with connect(url) as connection:
            result = RefreshWriter(connection).write(1_000, call(), [refresh(s) for s in ALL])
            assert set(result.changed) == set(ALL) - {"XAUUSD"}
            assert "row-level security" in result.refused["XAUUSD"]
    finally:
        run(migrated_url, "DROP OWNED BY secured; DROP ROLE secured")


@pytest.mark.parametrize("lock", ["FOR UPDATE", "FOR NO KEY UPDATE", "FOR SHARE"])
def test_rows_that_another_program_holds_cost_themselves(
    connection: Connection, migrated_url: str, lock: str
) -> None:
    """Whatever else the call brought is stored, within a second or so."""
    with connect(migrated_url) as other, other.transaction():
        held = f"SELECT 1 FROM trading.symbols WHERE symbol IN ('XAUUSD', 'BTCUSD') {lock}"
        other.execute(held.encode())
        result = RefreshWriter(connection).write(1_000, call(), [refresh(s) for s in ALL])
    assert set(result.changed) == {"EURUSD", "ETHUSDT"}
    assert result.busy == {"XAUUSD", "BTCUSD"} == set(result.refused)
    assert "another session" in result.refused["XAUUSD"]
    outcome = one(connection, "SELECT count(*) FROM data_sources.api_calls")
    assert outcome == 1, "the call is in the audit"


BAR_RULES = {
    "scale": "DROP VIEW market_data.ohlcv_15m, market_data.ohlcv_1h, market_data.ohlcv_4h, "
    "market_data.ohlcv_1d_utc; "
    "ALTER TABLE market_data.ohlcv_5m ALTER COLUMN volume TYPE numeric(18, 8)",
    "check": "ALTER TABLE market_data.ohlcv_5m ADD CHECK (volume < 1e9)",
    "trigger": raising("P0001", "market_data.ohlcv_5m", "NEW.volume > 1e9"),
    "no partition": """
        ALTER TABLE market_data.ohlcv_5m RENAME TO old;
        CREATE TABLE market_data.ohlcv_5m (LIKE market_data.old INCLUDING ALL)
            PARTITION BY RANGE (ts);
        CREATE TABLE market_data.part PARTITION OF market_data.ohlcv_5m
            FOR VALUES FROM ('2026-01-05 12:00:00+00') TO ('2026-02-01');
    """,
}


@pytest.mark.parametrize("rule", BAR_RULES.items(), ids=BAR_RULES.keys())
def test_a_bar_that_is_refused_costs_that_bar(
    connection: Connection, writer: RefreshWriter, rule: tuple[str, str]
) -> None:
    """One bar of 1.2e10 among 288, or one before the first partition."""
    kind, statement = rule
    connection.execute(statement.encode())
    at = NOON - timedelta(minutes=5) if kind == "no partition" else NOON
    bars = [bar(5 * n, start=at, volume=Decimal("1.2e10" if n == 0 else "1")) for n in range(288)]
    result = writer.write(1_000, call(), [refresh("XAUUSD", bars=bars), refresh("EURUSD")])
    assert result.changed == ("XAUUSD", "EURUSD")
    assert result.bars_written == 287
    assert one(connection, "SELECT count(*) FROM market_data.ohlcv_5m") == 287
    [note] = result.notes
    assert note.startswith(f"1 of 288 bars of XAUUSD, from {at:%Y-%m-%d %H:%M} on: ")
    assert "\n" not in note


def test_a_range_without_partitions_costs_few_statements(
    connection: Connection, writer: RefreshWriter
) -> None:
    """20,000 refused bars beside 200 good ones; the work is bounded, and the good ones stay."""
    connection.execute(BAR_RULES["no partition"].encode())
    old = [bar(5 * n, start=NOON - timedelta(days=90)) for n in range(20_000)]
    new = [bar(5 * n) for n in range(100)]
    result = writer.write(1_000, call(), [refresh("XAUUSD", bars=[*old, *new])])
    assert result.changed == ("XAUUSD",)
    assert result.bars_written >= 90
    [note] = result.notes
    assert re.match(r"(19|20)\d\d\d of 20100 bars of XAUUSD, from 2025-10-07 12:00 on: ", note)


def test_bars_alone_that_are_refused_are_a_refusal(
    connection: Connection, writer: RefreshWriter
) -> None:
    connection.execute("ALTER TABLE market_data.ohlcv_5m ADD CHECK (volume < 0)")
    item = refresh("XAUUSD", bars=[bar(0), bar(5)], bars_only=True)
    result = writer.write(1_000, call(), [item])
    assert set(result.refused) == {"XAUUSD"}
    assert "check constraint" in result.refused["XAUUSD"]


def test_bars_that_another_program_holds_are_busy(
    connection: Connection, migrated_url: str, writer: RefreshWriter
) -> None:
    item = refresh("XAUUSD", bars=[bar()], bars_only=True)
    assert writer.write(1_000, call(), [item]).bars_written == 1
    with connect(migrated_url) as other, other.transaction():
        other.execute("UPDATE market_data.ohlcv_5m SET close = 1")
        assert writer.write(2_000, call("b"), [item, refresh("EURUSD")]).busy == {"XAUUSD"}
    assert stored(connection) == {"EURUSD"}


@pytest.mark.parametrize(
    "rule",
    [
        "ALTER TABLE data_sources.data_sync_status "
        "ADD CHECK (sync_status IN ('pending', 'success', 'failed'))",
        raising("23514", "data_sources.data_sync_status", "NEW.sync_status = 'error'"),
        raising("MY001", "data_sources.data_sync_status", "NEW.error IS NOT NULL"),
    ],
)
def test_a_status_that_is_refused_costs_the_status(
    connection: Connection, writer: RefreshWriter, rule: str
) -> None:
    connection.execute(rule.encode())
    result = writer.write(1_000, call(), [refresh("EURUSD")], [("XAUUSD", "no data")])
    assert result.changed == ("EURUSD",)
    assert result.refused == {}
    [note] = result.notes
    assert "sync status of XAUUSD" in note
    assert one(connection, "SELECT count(*) FROM data_sources.data_sync_status") == 1
    assert one(connection, "SELECT count(*) FROM data_sources.api_calls") == 1


def test_an_audit_row_that_is_refused_costs_the_audit_row(
    connection: Connection, writer: RefreshWriter
) -> None:
    connection.execute("ALTER TABLE data_sources.api_calls ADD CHECK (outcome <> 'ok')")
    result = writer.write(1_000, call(), [refresh("EURUSD")])
    assert result.changed == ("EURUSD",)
    assert "audit row of call call-1" in result.notes[0]


ALTERING = {
    "as_of in another form": "jsonb_set(NEW.metadata, '{last_update,as_of}', to_jsonb(now()))",
    "as_of of its own": """jsonb_set(NEW.metadata, '{last_update,as_of}',
        '"2199-01-01T00:00:00.000000+00:00"')""",
    "last_update gone": "NEW.metadata - 'last_update'",
    "nothing left": "NULL",
}


@pytest.mark.parametrize("expression", ALTERING.values(), ids=ALTERING.keys())
def test_a_trigger_that_alters_the_price_is_named(
    connection: Connection, writer: RefreshWriter, expression: str
) -> None:
    connection.execute(
        f"""
        CREATE FUNCTION alter_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.symbol = 'XAUUSD' THEN NEW.metadata := {expression}; END IF; RETURN NEW;
        END $$;
        CREATE TRIGGER alter_it BEFORE UPDATE ON trading.symbols
            FOR EACH ROW EXECUTE FUNCTION alter_it();
        """.encode()
    )
    for observed_at_ms in (1_000, 2_000):
        result = writer.write(observed_at_ms, call(), [refresh("XAUUSD"), refresh("EURUSD")])
        assert result.changed == ("EURUSD",)
        assert "a trigger of trading.symbols" in result.refused["XAUUSD"]
    connection.execute("DROP TRIGGER alter_it ON trading.symbols")
    assert writer.write(3_000, call(), [refresh("XAUUSD")]).changed == ("XAUUSD",)


def test_a_trigger_that_skips_the_row_is_named(
    connection: Connection, writer: RefreshWriter
) -> None:
    connection.execute(
        """
        CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RETURN CASE WHEN NEW.symbol = 'XAUUSD' THEN NULL ELSE NEW END;
        END $$;
        CREATE TRIGGER skip BEFORE UPDATE ON trading.symbols
            FOR EACH ROW EXECUTE FUNCTION skip();
        """
    )
    result = writer.write(1_000, call(), [refresh("XAUUSD"), refresh("EURUSD")])
    assert result.changed == ("EURUSD",)
    assert "a trigger of trading.symbols" in result.refused["XAUUSD"]


def test_metadata_of_json_null_takes_a_price(connection: Connection, writer: RefreshWriter) -> None:
    connection.execute("UPDATE trading.symbols SET metadata = 'null' WHERE symbol = 'XAUUSD'")
    assert writer.write(1_000, call(), [refresh("XAUUSD")]).changed == ("XAUUSD",)
    kind = "SELECT jsonb_typeof(metadata) FROM trading.symbols WHERE symbol = 'XAUUSD'"
    assert one(connection, kind) == "object"


def test_a_bad_bar_costs_that_bar(connection: Connection, writer: RefreshWriter) -> None:
    bars = [bar(0), bar(5, trades=-1), bar(10, volume=Decimal("NaN"))]
    result = writer.write(1_000, call(), [refresh("XAUUSD", bars=bars)])
    assert (result.changed, result.bars_written) == (("XAUUSD",), 1)
    assert result.notes == (
        "2 of 3 bars of XAUUSD, from 2026-01-05 12:05 on: trades is out of range: -1",
    )


@pytest.mark.parametrize(
    ("sqlstate", "remedy"),
    [
        ("53100", "Free space"),
        ("53200", "memory"),
        ("53300", "max_connections"),
        ("53400", "log"),
        ("58030", "disk"),
        ("25006", "primary"),
    ],
)
def test_a_server_that_takes_no_writes_is_told_apart(
    connection: Connection, writer: RefreshWriter, sqlstate: str, remedy: str
) -> None:
    connection.execute(raising(sqlstate, "data_sources.api_calls", "true").encode())
    with pytest.raises(WritesRefused, match=remedy) as caught:
        writer.write(1_000, call(), [refresh("XAUUSD")])
    assert caught.value.sqlstate == sqlstate


@pytest.mark.parametrize("sqlstate", ["57P01", "57P02", "57P03", "57P05", "08006", "25P03"])
def test_a_lost_session_is_an_outage(
    connection: Connection, writer: RefreshWriter, sqlstate: str
) -> None:
    connection.execute(raising(sqlstate, "data_sources.api_calls", "true").encode())
    with pytest.raises(DatabaseUnavailable):
        writer.write(1_000, call(), [refresh("XAUUSD")])
