"""Slots are floors of the clock, whatever the interval; entries follow the settings."""

from __future__ import annotations

import pytest

from scheduler.entries import Entry, entries
from settings import Settings
from tests.kit.worker import settings_for


def site(**more: object) -> Settings:
    return settings_for("redis://127.0.0.1:1/0", "postgresql://u@127.0.0.1:1/d", "http://x", **more)


@pytest.mark.parametrize("minutes", [1, 5, 7, 30, 90, 1440])
@pytest.mark.parametrize("now_ms", [0, 1, 1_763_923_456_789, 1_763_923_500_000])
def test_slots(minutes: int, now_ms: int) -> None:
    entry = Entry("batch", "x", minutes * 60, True)
    assert entry.slot(now_ms) % (minutes * 60) == 0
    assert entry.slot(now_ms) * 1000 <= now_ms < entry.next_slot(now_ms) * 1000
    assert entry.next_slot(now_ms) - entry.slot(now_ms) == minutes * 60
    assert entry.slot(entry.next_slot(now_ms) * 1000) == entry.next_slot(now_ms)


def test_the_entries_of_the_settings() -> None:
    batch, secondary = entries(
        site(batch_interval_minutes=7, polygon_rate_limit=5, priority_assets="XAUUSD, BTCUSD")
    )
    assert (batch.id, batch.kind, batch.interval_s, batch.urgent) == (
        "every-batch",
        "batch",
        420,
        True,
    )
    assert "(XAUUSD, BTCUSD)" in batch.name
    assert batch.trigger == "every 7 min"
    assert (secondary.id, secondary.interval_s, secondary.urgent) == (
        "every-secondary",
        1800,
        False,
    )


def test_no_batch_without_priority_assets() -> None:
    settings = site(priority_assets_enabled=False, polygon_rate_limit=5)
    assert [e.kind for e in entries(settings)] == ["secondary"]


@pytest.mark.parametrize(
    ("plan", "kinds"),
    [
        ({"polygon_tier": "starter"}, ["batch", "secondary", "bars"]),
        ({"polygon_tier": "starter", "polygon_rate_limit": 100}, ["batch", "secondary"]),
        ({"polygon_tier": "free"}, ["batch", "secondary"]),
    ],
)
def test_bars_follow_the_clock_where_calls_are_not_counted(
    plan: dict[str, object], kinds: list[str]
) -> None:
    found = entries(site(**plan))
    assert [entry.kind for entry in found] == kinds


def test_new_bars_are_asked_for_once_they_have_settled() -> None:
    bars = entries(site())[-1]
    noon_ms = 1_795_521_600_000
    assert [bars.slot(noon_ms + s * 1000) * 1000 - noon_ms for s in (0, 14, 15, 314)] == [
        -285_000,
        -285_000,
        15_000,
        15_000,
    ]
    assert bars.next_slot(noon_ms) * 1000 - noon_ms == 15_000
