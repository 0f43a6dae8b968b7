"""Catalogue files: what they may hold, and that a mistake is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.symbols import Asset
from settings.catalogue import CatalogueError, read_assets

HEADER = "symbol,polygon_ticker,asset_type,name,priority,update_frequency_seconds\n"


def test_the_shipped_catalogue_begins_with_the_critical_assets() -> None:
    assets = read_assets()
    assert [(a.symbol, a.polygon_ticker, a.priority) for a in assets[:3]] == [
        ("XAUUSD", "C:XAUUSD", 1),
        ("EURUSD", "C:EURUSD", 1),
        ("BTCUSD", "X:BTCUSD", 1),
    ]
    assert {a.update_frequency_seconds for a in assets if a.priority == 1} == {300}


def test_csv_and_yaml_say_the_same(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text(
        f"\ufeff{HEADER}GBPUSD,C:GBPUSD,forex,Pound,high,1800\nBTCEUR,X:BTCEUR,crypto,,,\n"
    )
    listing = tmp_path / "a.yml"
    listing.write_text(
        "- {symbol: GBPUSD, polygon_ticker: 'C:GBPUSD', asset_type: forex, name: Pound,"
        " priority: 2, update_frequency_seconds: 1800}\n"
        "- {symbol: BTCEUR, polygon_ticker: 'X:BTCEUR', asset_type: crypto}\n"
    )
    assert read_assets(table) == read_assets(listing)
    assert read_assets(table) == [
        Asset("GBPUSD", "C:GBPUSD", "forex", "Pound", 2, 1800),
        Asset("BTCEUR", "X:BTCEUR", "crypto", None, 3, None),
    ]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.csv", "symbol,name\nX,Y\n", "line 1: the columns symbol, polygon_ticker, asset_type"),
        ("a.csv", HEADER + "A,C:AAABBB,forex,,9,\n", "line 2: priority: '9': use CRITICAL, HIGH"),
        (
            "a.csv",
            HEADER + "A,AAABBB,forex,,,\n",
            "line 2: polygon_ticker: 'AAABBB' is not",
        ),
        ("a.csv", HEADER + "a b,C:AAABBB,forex,,,\n", "line 2: symbol: 'a b' is not a symbol"),
        ("a.csv", HEADER + "A,C:AAABBB,forex,,,soon\n", "line 2: update_frequency_seconds: Input"),
        ("a.csv", HEADER + ",C:AAABBB,forex,,,\n", "line 2: symbol: missing"),
        ("a.csv", HEADER + "A,C:AAABBB,forex,,,,9\n", "line 2: too many fields: unknown; known"),
        ("a.csv", HEADER + "A,C:AAABBB,forex,,,\n" * 2, "line 3: A is listed twice"),
        ("a.csv", HEADER, "lists no asset"),
        ("a.yaml", "a: [", "not valid YAML"),
        ("a.yaml", "a: 1", "must be a list of entries"),
        ("a.yaml", "- {symbol: A, ticker: B}", "entry 1: polygon_ticker: missing"),
    ],
)
def test_mistakes_are_named_with_their_place(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CatalogueError) as caught:
        read_assets(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {problem}")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"cannot be read: No such file or directory$"):
        read_assets(tmp_path / "none.csv")
