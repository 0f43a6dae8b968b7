"""README, *Read the data*: each query runs as it stands, and has the columns that it shows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from db.connection import connect
from db.coverage import Asked
from db.refresh import RefreshWriter
from db.rows import SymbolRefresh
from db.symbols import SymbolRepository
from market.quotes import Bar
from tests.kit.db_data import CRITICAL, call, refresh

QUERY = re.compile(r"```sql\n(.*?)```\n+```\n(.*?)```", re.DOTALL)


@pytest.fixture
def filled_url(migrated_url: str) -> str:
    """Two days of three assets, and their prices."""
    today = datetime.combine(datetime.now(UTC).date(), time.min, UTC)
    start, five = today - timedelta(days=2), timedelta(minutes=5)
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many(CRITICAL)
        items = []
        for asset in CRITICAL:
            prices = [Decimal(100 + n % 7) for n in range(577)]
            bars = [
                Bar(start + n * five, prices[n], Decimal(110), Decimal(90), prices[n + 1],
                    Decimal(1), None, 1)
                for n in range(576)
            ]  # fmt: skip
            asked = Asked(start, today)
            items.append(SymbolRefresh(asset.symbol, None, bars, asked=asked, source="aggregates"))
        at_ms = int(datetime.now(UTC).timestamp() * 1000)
        RefreshWriter(connection).write(at_ms, call(), items)
        RefreshWriter(connection).write(
            at_ms, call(), [refresh(asset.symbol, "104") for asset in CRITICAL]
        )
    return migrated_url


def test_the_queries_run_and_show_what_they_bring(filled_url: str, project_root: Path) -> None:
    text = (project_root / "README.md").read_text()
    section = text.split("## Read the data")[1].split("\n## ")[0]
    found = QUERY.findall(section)
    assert len(found) == 5
    with connect(filled_url) as connection:
        for query, output in found:
            cursor = connection.execute(query.encode())
            assert cursor.description is not None
            names = [column.name for column in cursor.description]
            assert names == [name.strip() for name in output.splitlines()[0].split("|")], query
            assert cursor.fetchall(), f"no row: {query}"
