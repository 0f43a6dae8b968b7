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
        (
            "a.csv",
            HEADER + "A,C:AAABBB,forex,,,soon\n",
            "line 2: update_frequency_seconds: 'soon' is not a whole number",
        ),
        ("a.csv", HEADER + ",C:AAABBB,forex,,,\n", "line 2: symbol: missing"),
        ("a.csv", HEADER + "A,C:AAABBB,forex,,,,9\n", "line 2: 7 fields, the header has 6"),
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


def test_all_mistakes_of_a_table_are_found_in_one_pass(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "symbol, Polygon_Tiker ,asset_type,priority,update_frequency_seconds,note\n"
        "A,C:AAABBB,forex,9,abc,x\n"
        "\n"
        "a b,C:AAABBB,forex,2,1.5,x\n"
        "B,C:AAABBB,,2,0,x\n"
        "B,C:AAABBB,forex,2,99999999999,x,y\n"
        'C,"C:AAA'
    )
    with pytest.raises(CatalogueError) as caught:
        read_assets(tmp_path / "a.csv")
    assert caught.value.problems == [
        "line 1: the columns symbol, polygon_ticker, asset_type are needed; no polygon_ticker",
        "line 1: polygon_tiker: unknown; did you mean polygon_ticker?",
        "line 1: note: unknown; known are symbol, polygon_ticker, asset_type, name, priority, "
        "update_frequency_seconds",
        "line 6: 7 fields, the header has 6",
        "line 7: unexpected end of data",
        "line 2: priority: '9': use CRITICAL, HIGH, MEDIUM, LOW, 1, 2, 3, 4",
        "line 2: update_frequency_seconds: 'abc' is not a whole number",
        "line 4: symbol: 'a b' is not a symbol: 1 to 20 capital letters, digits, dots, dashes",
        "line 4: update_frequency_seconds: '1.5' is not a whole number",
        "line 5: asset_type: missing",
        "line 5: update_frequency_seconds: '0' must be at least 1",
        "line 6: B is listed twice (first in line 5)",
        "line 6: update_frequency_seconds: '99999999999' must be at most 2592000",
    ]


def test_all_mistakes_of_a_list_are_found_in_one_pass(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        "- just words\n"
        "- {symbol: [1], polygon_ticker: AAPL, asset_type: stock}\n"
        "- {symbol: 7, polygon_ticker: 'I:SPX', asset_type: index, name: yes}\n"
        "- {symbol: A, polygon_ticker: 'C:AAABBB', asset_type: forex, priority: true,"
        " update_frequency_seconds: [], every: 5}\n"
    )
    with pytest.raises(CatalogueError) as caught:
        read_assets(tmp_path / "a.yml")
    form = "with symbol, polygon_ticker, asset_type"
    unsupported = "stocks, options and indices are not supported"
    ticker = f"of forex (C:EURUSD) or crypto (X:BTCUSD); {unsupported}"
    assert caught.value.problems == [
        f"entry 1: must be a mapping {form}",
        "entry 2: symbol: [1] is not text; put it in quotes",
        f"entry 2: polygon_ticker: 'AAPL' is not a ticker {ticker}",
        "entry 3: symbol: 7 is not text; put it in quotes",
        f"entry 3: polygon_ticker: 'I:SPX' is not a ticker {ticker}",
        "entry 3: name: yes: put it in quotes",
        "entry 4: priority: yes: put it in quotes",
        "entry 4: update_frequency_seconds: [] is not a whole number",
        "entry 4: every: unknown; known are symbol, polygon_ticker, asset_type, name, priority, "
        "update_frequency_seconds",
    ]


def test_a_table_of_another_program_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("symbol;polygon_ticker;asset_type\nA;C:AAABBB;forex\n")
    with pytest.raises(CatalogueError, match="fields are separated by ';': use commas"):
        read_assets(tmp_path / "a.csv")


def test_a_base_of_one_letter_is_an_asset(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("symbol,polygon_ticker,asset_type\nTUSD,X:TUSD,crypto\n")
    assert read_assets(tmp_path / "a.csv") == [Asset("TUSD", "X:TUSD", "crypto")]


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"cannot be read: No such file or directory$"):
        read_assets(tmp_path / "none.csv")


def test_an_asset_type_fits_its_ticker(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "symbol,polygon_ticker,asset_type\nXAUUSD,C:XAUUSD,Metal\nXAGUSD,C:XAGUSD,commodity\n"
        "EURUSD,C:EURUSD,stock\nBTCUSD,X:BTCUSD,forex\n"
    )
    with pytest.raises(CatalogueError) as caught:
        read_assets(tmp_path / "a.csv")
    assert caught.value.problems == [
        "line 4: asset_type: 'stock': C:EURUSD is forex, metal, commodity",
        "line 5: asset_type: 'forex': X:BTCUSD is crypto",
    ]
