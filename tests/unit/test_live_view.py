"""What a run shows: the wording of waits and times, and tables that fit a small screen."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from rich.console import Console

from local.live import LiveView, PlainView, awaited, calls_left
from local.watching import Refresh, Status
from queueing import Priority

NOW = datetime(2026, 3, 4, 12, 5, 3, tzinfo=UTC)

REFRESH = Refresh(
    symbol="XAUUSD",
    price=Decimal("2651.30"),
    as_of=NOW - timedelta(seconds=2),
    source="snapshot",
    delay="real_time",
    priority=1,
    waited_s=0.3,
    at=NOW,
)

STATUS = Status(
    at=NOW,
    by_priority=dict(zip(Priority, (0, 7, 80, 5, 0, 0), strict=True)),
    delayed=1,
    leased=2,
    dead=3,
    calls_left=0,
    limit=5,
    next_symbol="GBPUSD",
    why="window",
    wait_s=42.0,
    next_batch_at=NOW + timedelta(seconds=297),
)


def test_a_wait_names_the_asset_the_time_and_the_reason() -> None:
    assert awaited(STATUS) == "next: GBPUSD in 42 s (the calls of this window are used up)"
    assert awaited(replace(STATUS, why="free", wait_s=0.0)) == "next: GBPUSD now"
    assert awaited(replace(STATUS, why=None, wait_s=None)) == "nothing waits"
    only_leased = replace(STATUS, next_symbol=None, why="leased", delayed=0, wait_s=9.0)
    assert awaited(only_leased) == "next: 2 asset(s) in 9.0 s (it is being refreshed now)"


def test_an_unlimited_plan_has_no_calls_left_to_count() -> None:
    assert calls_left(STATUS) == "calls left: 0 of 5"
    assert calls_left(replace(STATUS, calls_left=None, limit=None)) == "calls are not limited"


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    view.refreshed(REFRESH)
    view.status(STATUS)
    view.status(STATUS)  # not again within 15 seconds
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "12:05:03 XAUUSD        2651.30  real_time, 2.0 s old, from snapshot"
        "  [CRITICAL, waited 0.3 s]"
    )
    assert second == (
        "12:05:03 queue: 0 critical, 7 high, 80 medium, 5 low, 0 bars, 0 backfill,"
        " 1 delayed, 2 running, 3 dead"
        " · calls left: 0 of 5 · next batch 12:10:00"
        " · next: GBPUSD in 42 s (the calls of this window are used up)"
    )


def test_the_table_shows_the_newest_first_and_fits_the_screen() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=120, height=20, force_terminal=False)
    view = LiveView("assetq: the sandbox API", console=console)
    for number in range(50):
        view.refreshed(replace(REFRESH, symbol=f"S{number}"))
    view.refreshed(replace(REFRESH, symbol="NEWEST"))
    view.status(STATUS)
    console.print(view.render())
    lines = screen.getvalue().splitlines()
    assert len(lines) <= 20
    newest = next(index for index, line in enumerate(lines) if "NEWEST" in line)
    assert "S49" in lines[newest + 1]
    assert any("calls left: 0 of 5 · next batch at 12:10:00 (in 4 min 57 s)" in x for x in lines)


def test_a_small_terminal_shows_symbol_price_and_times_whole_and_the_pinned_ones_on_top() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=80, height=24, force_terminal=False)
    view = LiveView("assetq: " + "a long title " * 9, ["XAUUSD", "BTCUSD"], console)
    view.refreshed(REFRESH)
    long = replace(
        REFRESH,
        symbol="SHIBUSDT",
        price=Decimal("0.0000087612"),
        as_of=NOW - timedelta(hours=20, minutes=33),
        waited_s=1234,
    )
    for _ in range(30):
        view.refreshed(long)
    view.status(STATUS)
    console.print(view.render())
    lines = screen.getvalue().splitlines()
    assert len(lines) <= 24
    rows = [line for line in lines if line.startswith("│ 12:05:03 ")]
    assert "XAUUSD" in rows[0]
    assert sum("XAUUSD" in row for row in rows) == 1
    for part in ("SHIBUSDT", "0.0000087612", "20 h 33 min", "20 min 34 s"):
        assert part in rows[1]
