"""Rows of trading.symbols that make no sense: each is read as far as it does, and stops nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.kit import worker as worker_kit
from tests.kit.worker import CRITICAL, OTHERS, Site, settings_for
from worker.batch import begin
from worker.secondary import enqueue_secondary

OPEN = Callable[[str], Site]


@pytest.fixture
def opened(redis_url: str, migrated_url: str) -> Iterator[OPEN]:
    with ExitStack() as stack:

        def open_(plan: str) -> Site:
            provider = stack.enter_context(worker_kit.sandbox(plan))
            settings = settings_for(redis_url, migrated_url, provider.url, polygon_tier=plan)
            return stack.enter_context(Site.open(settings, (*CRITICAL, *OTHERS)))

        yield open_


def pending(site: Site) -> set[str]:
    return {item.symbol for item in site.context.queue.peek(100)}


ODD = [
    "jsonb_build_object('last_update', jsonb_build_object('observed_at_ms', 1e17::numeric))",
    "jsonb_build_object('last_update', jsonb_build_object('observed_at_ms', -1e17::numeric))",
    "jsonb_build_object('last_update', jsonb_build_object('observed_at_ms', 1e300::numeric))",
    "jsonb_build_object('last_update', jsonb_build_object('observed_at_ms', 'NaN'))",
    """'{"last_update": {"as_of": "9999-12-31T23:59:59.999999+00:00", "source": "snapshot"}}'""",
    """'{"last_update": {"as_of": "0001-01-01T00:00:00+14:00", "source": "aggregates"}}'""",
    """'{"last_update": {"as_of": "2026-11-27T05:00:00", "observed_at_ms": 1795000000000}}'""",
    """'{"last_update": {"as_of": 7, "source": [1], "delay": {}, "last_price": "x"}}'""",
    """'{"last_update": [1, 2]}'""",
    """'[]'""",
    """'"text"'""",
]


@pytest.mark.parametrize("plan", ["free", "starter"])
@pytest.mark.parametrize("odd", ODD)
def test_odd_metadata_of_one_row_stops_no_round(opened: OPEN, odd: str, plan: str) -> None:
    site = opened(plan)
    for symbol in ("EURUSD", "USDJPY"):
        query = f"UPDATE trading.symbols SET metadata = {odd} WHERE symbol = %s"
        site.connection.execute(query.encode(), (symbol,))
    begin(site.context, site.connection, site.capabilities)
    round_ = enqueue_secondary(site.context, site.connection, site.capabilities)
    assert round_.enqueued >= len(OTHERS) - 1
    assert {"XAUUSD", "BTCUSD"} <= pending(site)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("priority", "-7"),
        ("priority", "99"),
        ("priority", "NULL"),
        ("update_frequency_seconds", "-5"),
        ("update_frequency_seconds", "2147483647"),
        ("update_frequency_seconds", "0"),
    ],
)
def test_odd_numbers_of_one_row_stop_no_round(opened: OPEN, column: str, value: str) -> None:
    site = opened("starter")
    query = f"UPDATE trading.symbols SET {column} = {value} WHERE symbol IN ('EURUSD', 'USDJPY')"
    site.connection.execute(query.encode())
    begin(site.context, site.connection, site.capabilities)
    round_ = enqueue_secondary(site.context, site.connection, site.capabilities)
    assert round_.enqueued >= len(OTHERS) - 1
