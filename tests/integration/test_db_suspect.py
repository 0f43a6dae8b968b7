"""A price far from the stored one that its answer does not support waits for a second answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.connection import Connection, connect
from db.refresh import RefreshWriter
from db.rows import SymbolRefresh, WriteResult
from db.symbols import SymbolRepository
from tests.kit.db_data import CRITICAL, ETH, NOON, bar, call, one, price, rows

TENTH = Decimal("0.1")


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many([*CRITICAL, ETH])
        yield connection


class Feed:
    """Answers about EURUSD, each a second and a call after the other."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._writer = RefreshWriter(connection)
        self.at_ms = 1_000

    def tell(self, last: str, *, furthest: Decimal | None = TENTH, **others: Any) -> WriteResult:
        self.at_ms += 1_000
        as_of = others.pop("as_of", NOON + timedelta(milliseconds=self.at_ms))
        item = SymbolRefresh("EURUSD", price(last, as_of=as_of), furthest=furthest, **others)
        return self._writer.write(self.at_ms, call(f"call-{self.at_ms}"), [item])

    def anew(self) -> None:
        self.connection.execute("UPDATE trading.symbols SET metadata = '{}'")

    def metadata(self, key: str) -> str | None:
        query = "SELECT metadata #>> %s FROM trading.symbols WHERE symbol = 'EURUSD'"
        found = one(self.connection, query, [key, "last_price"])
        return None if found is None else str(found)

    @property
    def stored(self) -> str | None:
        return self.metadata("last_update")

    @property
    def suspect(self) -> str | None:
        return self.metadata("suspect_update")


@pytest.fixture
def feed(connection: Connection) -> Feed:
    return Feed(connection)


STATUS = "SELECT sync_status, error FROM data_sources.data_sync_status"


def test_a_wrong_answer_is_kept_aside_and_told(feed: Feed) -> None:
    for wrong in ("0.57505", "0.0001", "1.27", "1e9"):
        feed.anew()
        _keeps_aside(feed, wrong)


def _keeps_aside(feed: Feed, wrong: str) -> None:
    assert feed.tell("1.15").changed == ("EURUSD",)
    result = feed.tell(wrong)
    assert (result.changed, result.unchanged, result.refused) == ((), (), {})
    why = result.suspect["EURUSD"]
    assert f"{Decimal(wrong):f} (quote)" in why
    assert "1.15" in why
    assert (feed.stored, Decimal(feed.suspect or 0)) == ("1.15", Decimal(wrong))
    assert rows(feed.connection, STATUS) == [("error", why)]
    assert feed.tell("1.1502").changed == ("EURUSD",), "the next good one goes on"
    assert (feed.stored, feed.suspect) == ("1.1502", None)
    assert feed.tell(wrong).suspect, "forgotten: the same is suspect anew"


def test_a_crash_is_believed_with_the_second_answer(feed: Feed) -> None:
    for second in ("0.69", "0.70", "0.64", "0.75"):
        feed.anew()
        feed.tell("1.15")
        assert feed.tell("0.69").suspect
        assert feed.tell(second).changed == ("EURUSD",)
        assert (feed.stored, feed.suspect) == (second, None)
        assert rows(feed.connection, STATUS) == [("success", None)]


def test_answers_that_do_not_agree_are_each_kept_aside(feed: Feed) -> None:
    feed.tell("1.15")
    for wrong in ("0.57", "2.30", "0.1", "57"):
        assert feed.tell(wrong).suspect
    assert (feed.stored, feed.suspect) == ("1.15", "57")


AT_ONCE = [
    ("1.15", "1.265", TENTH),  # exactly as far as it may be
    ("1.15", "0.57", None),  # the answer supports it
    ("68000", "61000", Decimal("0.25")),  # 10 % in a minute
    ("0", "1.15", TENTH),  # what stood there is no price
]


def test_what_is_near_or_supported_is_stored_at_once(feed: Feed) -> None:
    for first, second, furthest in AT_ONCE:
        feed.anew()
        feed.tell(first)
        assert feed.tell(second, furthest=furthest).changed == ("EURUSD",)
        assert (feed.stored, feed.suspect) == (second, None)


def test_without_a_stored_price_the_first_one_is_believed(feed: Feed) -> None:
    assert feed.tell("0.57").changed == ("EURUSD",)


def test_the_same_write_again_does_not_confirm_itself(feed: Feed) -> None:
    feed.tell("1.15")
    assert feed.tell("0.57").suspect
    feed.at_ms -= 1_000
    assert feed.tell("0.57").suspect, "the commit's acknowledgement may have been lost"
    assert feed.stored == "1.15"


def test_an_older_price_is_neither_suspect_nor_a_witness(feed: Feed) -> None:
    feed.tell("1.15")
    result = feed.tell("0.57", as_of=NOON - timedelta(hours=1))
    assert (result.unchanged, result.suspect, feed.suspect) == (("EURUSD",), {}, None)


def test_bars_and_other_assets_are_stored_beside_it(feed: Feed, connection: Connection) -> None:
    feed.tell("1.15")
    items = [
        SymbolRefresh(
            "EURUSD", price("0.57", as_of=NOON + timedelta(hours=1)), [bar()], furthest=TENTH
        ),
        SymbolRefresh("BTCUSD", price("68000"), furthest=TENTH),
    ]
    result = RefreshWriter(connection).write(9_000, call(), items)
    assert (result.changed, result.bars_written) == (("BTCUSD",), 1)
    assert list(result.suspect) == ["EURUSD"]


JUNK: list[object] = [
    {"last_price": "0.57", "observed_at_ms": 1},
    {"last_price": 0.57, "observed_at_ms": "1"},
    {"last_price": -0.57, "observed_at_ms": 1},
    {"last_price": 0.57},
    [0.57],
    "0.57",
    None,
]


def test_what_somebody_else_wrote_there_is_no_witness(feed: Feed) -> None:
    for junk in JUNK:
        feed.anew()
        _outlives(feed, junk)


def _outlives(feed: Feed, junk: object) -> None:
    feed.tell("1.15")
    feed.connection.execute(
        "UPDATE trading.symbols SET metadata = metadata || jsonb_build_object("
        "'desk', 'fx', 'suspect_update', %s::jsonb)",
        [json.dumps(junk)],
    )
    assert feed.tell("0.57").suspect
    assert (feed.stored, feed.suspect) == ("1.15", "0.57")
    assert feed.tell("0.571").changed
    assert (
        one(
            feed.connection,
            "SELECT metadata ->> 'desk' FROM trading.symbols WHERE symbol = 'EURUSD'",
        )
        == "fx"
    )


PRICES = st.decimals("0.0001", "100000", places=4)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(PRICES, st.booleans()), min_size=1, max_size=12))
def test_only_supported_near_or_repeated_prices_are_ever_stored(
    feed: Feed, answers: list[tuple[Decimal, bool]]
) -> None:
    """The table against the rule: a lone answer never moves it far, two that agree do."""
    feed.anew()
    stored: Decimal | None = None
    suspect: Decimal | None = None
    for value, supported in answers:
        feed.tell(str(value), furthest=None if supported else TENTH)
        if supported or stored is None or _near(value, stored) or _near(value, suspect):
            stored, suspect = value, None
        else:
            suspect = value
        assert (feed.stored and Decimal(feed.stored)) == stored
        assert (feed.suspect and Decimal(feed.suspect)) == suspect


def _near(one_: Decimal, other: Decimal | None) -> bool:
    return other is not None and max(one_, other) <= min(one_, other) * (1 + TENTH)
