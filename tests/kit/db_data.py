"""What the database tests share: rows with defaults, and the tables that a user may bring."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from db.connection import Connection, connect
from db.rows import CallAudit, SymbolRefresh
from db.symbols import Asset
from market.quotes import Bar, Delay, Price

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
CRITICAL = (
    Asset("XAUUSD", "C:XAUUSD", "forex", "Gold Spot", 1, 300),
    Asset("EURUSD", "C:EURUSD", "forex", "Euro/US Dollar", 1, 300),
    Asset("BTCUSD", "X:BTCUSD", "crypto", "Bitcoin/US Dollar", 1, 300),
)
ETH = Asset("ETHUSDT", "X:ETHUSDT", "crypto")

INTEGER_IDS = """
    CREATE SCHEMA trading;
    CREATE TYPE trading.kind AS ENUM ('forex', 'crypto', 'stock');
    CREATE TABLE trading.symbols (
        id serial PRIMARY KEY,
        symbol varchar(20) NOT NULL UNIQUE,
        asset_type trading.kind NOT NULL,
        exchange varchar(10) NOT NULL DEFAULT 'OTC',
        metadata jsonb DEFAULT '{}'
    );
    INSERT INTO trading.symbols (symbol, asset_type, exchange, metadata) VALUES
        ('XAUUSD', 'forex', 'LBMA', '{"desk": "metals", "last_update": {"bid": 1}}'),
        ('MINE', 'stock', 'NYSE', NULL);
"""
UUID_IDS = """
    CREATE SCHEMA trading;
    CREATE TABLE trading.symbols (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        symbol text NOT NULL,
        exchange text NOT NULL,
        is_active boolean DEFAULT true,
        updated_at timestamp
    );
    INSERT INTO trading.symbols (symbol, exchange) VALUES ('XAUUSD', 'LBMA'), ('MINE', 'NYSE');
"""


def run(url: str, statement: str) -> None:
    """Executes what a user would have executed."""
    with connect(url) as connection:
        connection.execute(statement.encode())


def rows(connection: Connection, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), parameters).fetchall()


def one(connection: Connection, query: str, *parameters: Any) -> Any:
    """The single value of the single row."""
    [[value]] = rows(connection, query, *parameters)
    return value


def last_update(connection: Connection, symbol: str) -> str:
    """metadata -> 'last_update' as the server's text, so that no reader rounds a number."""
    query = "SELECT (metadata -> 'last_update')::text FROM trading.symbols WHERE symbol = %s"
    return str(one(connection, query, symbol))


def price(last: str = "2650.10", *, as_of: datetime = NOON, **others: Any) -> Price:
    return Price(
        last=Decimal(last),
        as_of=as_of,
        source=others.pop("source", "snapshot"),
        delay=Delay.REAL_TIME,
        **others,
    )


def bar(minutes: int = 0, close: str = "2650.1", *, start: datetime = NOON, **others: Any) -> Bar:
    number = Decimal(close)
    values: dict[str, Any] = {"volume": Decimal("12.5"), "vwap": None, "trades": 7, **others}
    return Bar(
        start=start + timedelta(minutes=minutes),
        open=number,
        high=number + 1,
        low=number - 1,
        close=number,
        **values,
    )


def refresh(symbol: str, last: str = "2650.10", **others: Any) -> SymbolRefresh:
    bars: Sequence[Bar] = others.pop("bars", ())
    bars_only: bool = others.pop("bars_only", False)
    return SymbolRefresh(symbol, price(last, **others), bars, bars_only)


def call(call_id: str = "call-1", **others: Any) -> CallAudit:
    values: dict[str, Any] = {
        "endpoint": "/v3/snapshot",
        "feed": "snapshot_v3",
        "tickers": ("C:XAUUSD",),
        "status": 200,
        "outcome": "ok",
        "started_at": NOON,
        "latency_ms": 120,
        **others,
    }
    return CallAudit(call_id=call_id, **values)
