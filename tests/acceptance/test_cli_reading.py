"""`assetq coverage` and `bars`: what is stored, as a reader asks for it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from db.connection import Connection, connect
from db.coverage import Asked
from db.refresh import RefreshWriter
from db.rows import SymbolRefresh
from db.symbols import SymbolRepository
from market.quotes import Bar
from tests.kit.cli_runs import Cli
from tests.kit.db_data import CRITICAL, call

DAY, FIVE = timedelta(days=1), timedelta(minutes=5)


def today() -> datetime:
    """Looked at anew by each test: the run may go on over midnight."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def ago(days: int) -> datetime:
    """The first instant of a UTC day before today."""
    return today() - days * DAY


def store(connection: Connection, day: datetime, bars: int, *, asked_at: datetime) -> None:
    """A day of BTCUSD with so many bars from midnight on; bar n opens at n + 1."""
    found = []
    for n in range(bars):
        at = Decimal(n + 1)
        found.append(Bar(day + n * FIVE, at, at, at, at, Decimal("0.00000100"), None, 3))
    item = SymbolRefresh("BTCUSD", None, found, asked=Asked(day, day + DAY), source="aggregates")
    RefreshWriter(connection).write(int(asked_at.timestamp() * 1000), call(), [item])


@pytest.fixture
def cli(tmp_path: Path, migrated_url: str) -> Cli:
    return Cli(
        tmp_path,
        {
            "DATABASE_URL": migrated_url,
            "HISTORY_DAYS": "10",
            "COLUMNS": "80",
            "MASSIVE_API_KEY": "planted-key-4711",
        },
    )


@pytest.fixture
def stored(cli: Cli, migrated_url: str) -> Iterator[Connection]:
    """BTCUSD, newest day first: running, sparse, complete, never asked for, complete."""
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many(CRITICAL)
        store(connection, ago(4), 288, asked_at=today())
        store(connection, ago(2), 288, asked_at=today())
        store(connection, ago(1), 100, asked_at=today())
        store(connection, ago(0), 0, asked_at=today() + timedelta(seconds=1))
        yield connection


def test_a_day_has_one_of_five_words(cli: Cli, stored: Connection) -> None:
    document = cli.here("coverage", "btc/usd", "--json").json
    [series] = document["series"]
    assert (document["from"], document["to"]) == (str(ago(10).date()), str(today().date()))
    assert [day["status"] for day in series["days"]] == [
        *["missing"] * 6,
        *("complete", "missing", "complete", "sparse", "pending"),
    ]
    assert series["counts"] == {
        "complete": 2, "sparse": 1, "pending": 1, "missing": 7, "closed": 0
    }  # fmt: skip
    assert (series["days"][-2]["bars"], series["days"][-2]["expected"]) == (100, 288)


def test_the_strip_is_drawn_in_months_within_80_columns(cli: Cli, stored: Connection) -> None:
    start = ago(70).replace(day=1)
    days = [
        start + n * DAY
        for n in range((today() - start).days)
        if (start + n * DAY).month == start.month
    ]
    text = cli.here("coverage", "BTCUSD", "EURUSD", "--from", str(start.date())).out
    assert max(map(len, text.splitlines())) <= 80
    assert "█ complete  ▒ sparse  ░ pending  × missing  · closed" in text
    assert f"sparse: {ago(1):%Y-%m-%d} (100 of 288)" in text
    btc, eur = [line for line in text.splitlines() if line.startswith(f"{start:%Y-%m} ")]
    assert btc.split()[1] == "×" * len(days)
    assert eur.split()[1] == "".join("·" if day.weekday() == 5 else "×" for day in days)


def test_all_series_are_told_in_a_line_each(cli: Cli, stored: Connection) -> None:
    lines = cli.here("coverage").out.splitlines()
    assert lines[0].startswith("5-minute bars of 3 assets")
    rows = {line.split()[0]: line.split()[1:] for line in lines if line[:6].strip()}
    assert rows["BTCUSD"] == ["××××××█×█▒░", "2", "1", "1", "7"]
    counts = {row["symbol"]: row["counts"] for row in cli.here("coverage", "--json").json["series"]}
    assert counts["BTCUSD"]["missing"] == 7
    assert sum(counts["EURUSD"].values()) == 11
    assert counts["EURUSD"]["missing"] + counts["EURUSD"]["closed"] == 11
    assert max(map(len, lines)) <= 80


def test_bars_as_csv_are_all_and_exact(cli: Cli, stored: Connection) -> None:
    done = cli("bars", "BTCUSD", "--from", str(ago(4).date()), "--to", str(ago(1).date()), "--csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == 288 + 288 + 100, "both days are included"
    assert rows[0] == {
        "symbol": "BTCUSD", "ts": ago(4).isoformat(), "open": "1", "high": "1", "low": "1",
        "close": "1", "volume": "0.00000100", "trades": "3",
    }  # fmt: skip
    assert done.err == ""


def test_bars_as_json_are_one_document(cli: Cli, stored: Connection) -> None:
    until = (ago(2) + timedelta(hours=2)).isoformat()
    since = f"{ago(2):%Y-%m-%d %H:%M}"
    done = cli.here("bars", "btcusd", "--from", since, "--to", until, "--timeframe", "1h", "--json")
    document = json.loads(done.out)
    assert document["symbol"] == "BTCUSD"
    bars = document["bars"]
    assert [(bar["open"], bar["close"], bar["parts"], bar["complete"]) for bar in bars] == [
        (1.0, 12.0, 12, True),
        (13.0, 24.0, 12, True),
    ], "an instant is not included"
    assert cli.here("bars", "EURUSD", "--json").json["bars"] == []


def test_a_table_is_short_and_says_so(cli: Cli, stored: Connection) -> None:
    done = cli.here("bars", "BTCUSD")
    assert len(done.out.splitlines()) == 1 + 50
    assert done.out.splitlines()[1].startswith(f"{ago(1):%Y-%m-%d} 00:00"), "the newest day"
    assert done.err.splitlines() == [
        "the first 50 bars; --csv and --json give all of them",
        "days: 1 sparse (assetq coverage BTCUSD)",
    ]
    assert max(map(len, done.out.splitlines())) <= 80
    hours = cli.here("bars", "BTCUSD", "--timeframe", "4h").out.splitlines()
    assert [line.split()[-2:] for line in hours[1:]] == [
        ["48", "true"], ["48", "true"], ["4", "false"],
    ]  # fmt: skip


def test_where_nothing_is_stored_it_says_what_is(cli: Cli, stored: Connection) -> None:
    assert cli.here("bars", "EURUSD").out == "no bar of EURUSD is stored yet\n"
    done = cli.here("bars", "BTCUSD", "--from", "2020-01-01", "--to", "2020-01-02")
    assert done.code == 0
    assert done.out.startswith("no bars of BTCUSD from 2020-01-01 00:00 to 2020-01-03 00:00; ")
    assert f"from {ago(4):%Y-%m-%d} 00:00" in done.out


SENSELESS = [
    ("bars EURUDS", 6, ["EURUDS is not a known symbol", "Did you mean EURUSD?"]),
    ("coverage EURUSD AAPL", 6, ["AAPL is not a known symbol"]),
    ("bars", 2, ["SYMBOL"]),
    ("bars EURUSD --from 2026-11-20 --to 2026-11-10", 2, ["2026-11-20 is not before --to"]),
    ("bars EURUSD --from 2026-11-20T10:00 --to 2026-11-20T10:00", 2, ["is not before"]),
    ("bars EURUSD --from 2026-02-30", 2, ["'2026-02-30' is not a day or instant"]),
    ("bars EURUSD --from 0001-01-01", 2, ["'0001-01-01' is not a day or instant"]),
    ("bars EURUSD --to yesterday", 2, ["'yesterday' is not a day or instant: write 2026"]),
    ("bars EURUSD --timeframe 2h", 2, ["'2h' is not one of"]),
    ("bars EURUSD --csv --json", 2, ["--csv or --json, not both"]),
    ("coverage --from 2190-01-01", 2, ["2190-01-01 is in the future"]),
]


def test_what_makes_no_sense_is_named(cli: Cli, stored: Connection) -> None:
    for command, code, told in SENSELESS:
        cli.here(*command.split()).failed(code, *told)


@pytest.mark.parametrize("command", ["bars EURUSD", "coverage", "coverage EURUSD"])
def test_without_tables_or_server_the_remedy_is_told(
    cli: Cli, database_url: str, command: str
) -> None:
    cli.here(*command.split(), DATABASE_URL=database_url).failed(1, "Run `assetq migrate`")
    away = "postgresql://nobody:planted-4711@127.0.0.1:1/none"
    cli.here(*command.split(), DATABASE_URL=away).failed(4, "127.0.0.1:1", "not available")
    assert "planted" not in "".join(cli.said)


def test_an_empty_catalogue_is_no_error(cli: Cli) -> None:
    assert cli.here("coverage").out == "no assets. Next: assetq symbols import\n"
    assert cli.here("coverage", "--json").json["series"] == []
    cli.here("bars", "EURUSD").failed(6, "There are none. Run `assetq symbols import`")
    assert date.fromisoformat(cli.here("coverage", "--json").json["to"])
