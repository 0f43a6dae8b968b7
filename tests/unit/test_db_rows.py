"""Rules that need no server: what can be stored, how instants look, which URLs are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.connection import target
from db.errors import BadDatabaseUrl, DatabaseError, IncompatibleSchema, MigrationMissing
from db.rows import (
    all_plain,
    instant_text,
    parse_instant,
    storable_text,
    unstorable_bar,
    unstorable_price,
)
from market.quotes import Bar, Delay, Price

AT = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def price(last: Any = Decimal("1.10"), **others: Any) -> Price:
    values = {"as_of": AT, "source": "snapshot", "delay": Delay.REAL_TIME, **others}
    return Price(last=last, **values)


def bar(**others: Any) -> Bar:
    prices = dict.fromkeys(("open", "high", "low", "close"), Decimal(1))
    return Bar(**{"start": AT, "volume": Decimal(0), **prices, **others})


def test_sound_values_can_be_stored() -> None:
    assert unstorable_price(price(bid=Decimal("1.09"))) is None
    assert unstorable_bar(bar(trades=0)) is None


@pytest.mark.parametrize(
    "bad",
    [Decimal("NaN"), Decimal("Infinity"), Decimal("sNaN"), Decimal("1E+40"), Decimal("1E-40"), 1.1],
)
def test_a_number_that_cannot_be_stored_is_named(bad: Any) -> None:
    assert "last" in str(unstorable_price(price(last=bad)))
    assert "daily_low" in str(unstorable_price(price(daily_low=bad)))
    assert "volume" in str(unstorable_bar(bar(volume=bad)))
    assert "vwap" in str(unstorable_bar(bar(vwap=bad)))


@pytest.mark.parametrize("trades", [-1, 2**63])
def test_a_number_of_trades_out_of_range_is_named(trades: int) -> None:
    assert "trades" in str(unstorable_bar(bar(trades=trades)))


def test_naive_times_are_refused() -> None:
    naive = AT.replace(tzinfo=None)
    assert "as_of" in str(unstorable_price(price(as_of=naive)))
    assert "start" in str(unstorable_bar(bar(start=naive)))


odd_numbers = st.one_of(
    st.none(),
    st.decimals(),
    st.decimals(places=2, min_value=-100, max_value=100),
    st.sampled_from([1.1, 1, "1", Decimal("1E+40"), Decimal(f"0.{'0' * 29}1"), Decimal("9" * 81)]),
)


@given(
    st.lists(
        st.builds(
            bar,
            volume=odd_numbers.filter(lambda number: number is not None),
            vwap=odd_numbers,
            trades=st.sampled_from([None, 0, 2**63 - 1, 2**63, -1]),
            start=st.sampled_from([AT, AT.replace(tzinfo=None)]),
        ),
        max_size=3,
    )
)
def test_bars_that_are_plain_at_sight_can_all_be_stored(bars: list[Bar]) -> None:
    if all_plain(bars):
        assert [unstorable_bar(bar) for bar in bars] == [None] * len(bars)


@pytest.mark.parametrize(
    "text", ["9" * 32, "9" * 81, f"1.{'0' * 80}1", "1E-31", "1E+31", "NaN", "-Infinity"]
)
def test_a_number_beyond_the_bounds_is_not_plain(text: str) -> None:
    beyond = bar(volume=Decimal(text))
    assert unstorable_bar(beyond) is not None
    assert not all_plain([bar(), beyond])


def test_the_usual_bars_are_plain_at_sight() -> None:
    assert all_plain([])
    assert all_plain([bar(vwap=None), bar(vwap=Decimal("-1.10"), trades=7)])
    assert not all_plain([bar(), bar(volume=Decimal("NaN"))])


aware = st.builds(
    lambda micros, minutes: (
        datetime(1971, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    ).astimezone(timezone(timedelta(minutes=minutes))),
    st.integers(0, 4 * 10**15),
    st.integers(-14 * 60, 14 * 60),
)


@given(aware, aware)
def test_the_text_of_instants_sorts_like_the_instants(one: datetime, other: datetime) -> None:
    assert (instant_text(one) < instant_text(other)) == (one < other)
    assert parse_instant(instant_text(one)) == one


def test_what_is_no_instant_reads_as_none() -> None:
    assert parse_instant("2026-02-30T00:00:00.000000+00:00") is None
    assert parse_instant(None) is None


@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_storable(text: str) -> None:
    stored = storable_text(text)
    assert stored is not None
    assert "\0" not in stored
    assert len(stored.encode()) <= 4 * 500


@pytest.mark.parametrize(
    "url",
    [
        "postgres://ann:pa%40ss@db.example:6543/prices?sslmode=require",
        "postgresql://ann:pa%40ss@db.example:6543/prices",
        "postgresql+psycopg://ann:pa%40ss@db.example:6543/prices",
    ],
)
def test_urls_in_all_forms(url: str) -> None:
    place = target(url)
    assert (place.host, place.port, place.dbname, place.user) == (
        "db.example",
        "6543",
        "prices",
        "ann",
    )
    assert "pa@ss" not in repr(place)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis://localhost",
        "host=localhost password=s3cret",
        "postgres://ann:s3cret%zz@host/db",
        "postgres://ann:x@s3cret@host/db",
        "postgres://ann:x/s3cret@host:5432/db",
        "postgres://ann:12/s3cret@host:5432/db",
        "postgres://ann:x/y?s3cret@host/db",
        "postgres://ann:x@host/db?s3cret=1",
    ],
)
def test_a_bad_url_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(BadDatabaseUrl) as caught:
        target(url)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_errors_speak_and_carry_attributes() -> None:
    assert str(DatabaseError()) == "PostgreSQL refused a statement."
    assert "assetq migrate" in str(MigrationMissing())
    assert IncompatibleSchema(["a", "b"]).problems == ("a", "b")


def test_migrations_are_numbered_upwards() -> None:
    files = sorted(
        (
            file
            for file in resources.files("db").joinpath("migrations").iterdir()
            if file.name.endswith(".sql")
        ),
        key=lambda file: file.name,
    )
    numbers = [int(file.name[:4]) for file in files]
    assert numbers[0] == 1
    assert numbers == sorted(set(numbers)), "a number is given once"
