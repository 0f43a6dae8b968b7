"""What a run shows: lines, JSON, and a screen that is right in a terminal of any size."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyte
import pytest
from rich.console import Console, ConsoleDimensions

from local.live import LiveView
from local.views import JsonView, PlainView, awaited, calls_left
from local.watching import Counts, Failure, Refresh, Status
from queueing import Priority

NOW = datetime(2026, 3, 4, 12, 5, 3, tzinfo=UTC)
CRITICAL = ("XAUUSD", "EURUSD", "BTCUSD")
SIZES = [(80, 24), (120, 40), (200, 60)]

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

LONG = replace(
    REFRESH,
    symbol="SHIBUSDT",
    price=Decimal("0.0000087612"),
    as_of=NOW - timedelta(hours=20, minutes=33),
    priority=4,
    waited_s=1234,
)

FAILURE = Failure("GBPUSD", 2, "ProviderDown: 502 " + "upstream " * 30, NOW + timedelta(seconds=42))
GIVEN_UP = Failure("NOSUCH", 3, "NotFound: 404", None, NOW - timedelta(hours=1))

STATUS = Status(
    at=NOW,
    prices=Counts(dict(zip(Priority, (0, 7, 80, 5), strict=False)), 1, 2, 3),
    bars=Counts({Priority.BARS: 14, Priority.BACKFILL: 120}, 4, 1, 0),
    calls_left=0,
    limit=5,
    next_symbol="GBPUSD",
    why="window",
    wait_s=42.0,
    next_call_at=NOW + timedelta(seconds=42),
    next_batch_at=NOW + timedelta(seconds=297),
    failures=(FAILURE, GIVEN_UP),
)


class Shown:
    """A live view in a terminal of this size, which can be made larger or smaller."""

    def __init__(self, width: int, height: int, pinned: tuple[str, ...] = CRITICAL) -> None:
        self.console = Console(
            file=io.StringIO(), force_terminal=True, width=width, height=height, _environ={}
        )
        self.view = LiveView("assetq: synthetic prices", pinned, self.console)
        self.terminal = pyte.Screen(width, height)
        self._stream = pyte.Stream(self.terminal)
        self.view.__enter__()

    def resize(self, width: int, height: int) -> None:
        self.console.size = ConsoleDimensions(width, height)
        self.terminal.resize(height, width)

    def written(self) -> str:
        """What was written since the last time."""
        file = self.console.file
        assert isinstance(file, io.StringIO)
        text = file.getvalue()
        file.seek(0)
        file.truncate()
        return text

    def lines(self) -> list[str]:
        """Draw once more on what is there, and read the terminal."""
        self.view.wait(0)
        self._stream.feed(self.written().replace("\n", "\r\n"))
        return [line.rstrip() for line in self.terminal.display]


def busy(width: int, height: int) -> Shown:
    """A run in which much has happened since gold was refreshed."""
    shown = Shown(width, height)
    shown.view.earlier([replace(REFRESH, price=Decimal("2650.00")), REFRESH])
    for number in range(100):
        shown.view.refreshed(replace(LONG, symbol=f"SHIBUSDT{number}"))
    shown.view.status(STATUS)
    return shown


def whole(lines: list[str]) -> None:
    """Nothing is cut that must not be, pinned symbols are on top, the footer is at the bottom."""
    text = "\n".join(lines)
    assert lines[0].startswith("assetq: synthetic prices")
    assert lines[0].endswith("12:05:03 UTC")
    assert re.match(r"at \(UTC\) +symbol +price +change +age ", lines[1])
    assert re.match(r"12:05:03 +XAUUSD +2651.30 +\+0.049% +2.\d s ", lines[2])
    assert [line.split()[1] for line in lines[3:5]] == ["EURUSD", "BTCUSD"]
    assert re.match(r"12:05:03 +SHIBUSDT99 +0.0000087612 +20 h 33 min +20 min 34 s", lines[6])
    assert "failing (2)" in text
    assert re.search(r"^GBPUSD +ProviderDown: 502 upstream .*…  again in 4\d s$", text, re.M)
    assert re.search(r"^NOSUCH +NotFound: 404 +given up 11:05:03$", text, re.M)
    assert re.search(
        r"^assets +0 critical, 7 high, 80 medium, 5 low, 1 delayed, 2 in work", text, re.M
    )
    assert re.search(r"^bars +14 bars, 120 backfill, 4 delayed, 1 in work, 0 dead$", text, re.M)
    assert "\ncalls   0 of 5 left\n" in text
    facts = " ".join(text.split())
    assert "next GBPUSD in 42 s (the calls of this window are used up)" in facts
    assert re.fullmatch(
        r" \S+ quits · next free call in 4\d s · next batch 12:10:00 \(in 4 min 5\d s\)", lines[-1]
    )


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_screen_shows_everything_at_its_size(width: int, height: int) -> None:
    shown = busy(width, height)
    lines = shown.lines()
    assert len(lines) == height
    whole(lines)
    assets = sum("SHIBUSDT" in line for line in lines)
    assert assets == {24: 10, 40: 26, 60: 46}[height], "the room that the others leave"
    assert ("snapshot" in lines[2]) == (width > 80)


def test_a_screen_follows_the_size_of_its_terminal() -> None:
    shown = busy(120, 40)
    whole(shown.lines())
    for width, height in ((80, 24), (200, 60), (80, 24)):
        shown.resize(width, height)
        whole(shown.lines())


@pytest.mark.parametrize(("width", "height"), [(40, 10), (20, 5), (3, 2), (1, 1)])
def test_a_tiny_terminal_keeps_the_footer_and_breaks_nothing(width: int, height: int) -> None:
    lines = busy(width, height).lines()
    assert len(lines) == height
    assert lines[-1].startswith(" Ctrl-C quits"[:width].rstrip())
    if width == 40:
        assert re.fullmatch(r"12:05:03 +XAUUSD +2651.30", lines[2])
        assert [line.split()[1] for line in lines[3:5]] == ["EURUSD", "BTCUSD"]


def test_more_pinned_symbols_than_lines_are_counted() -> None:
    shown = Shown(80, 24, tuple(f"PIN{n}" for n in range(40)))
    shown.view.status(STATUS)
    text = "\n".join(shown.lines())
    missing = int(re.findall(r"… and (\d+) more", text)[0])
    assert text.count("none yet") == 40 - missing >= 8
    assert "Ctrl-C quits" in text


def test_a_failure_stays_until_its_asset_is_refreshed() -> None:
    shown = busy(80, 24)
    shown.view.status(replace(STATUS, failures=()))
    text = "\n".join(shown.lines())
    assert re.search(r"^GBPUSD +ProviderDown.*waits its turn$", text, re.M)
    shown.view.refreshed(replace(REFRESH, symbol="GBPUSD"))
    text = "\n".join(shown.lines())
    assert "failing (1)" in text
    assert "ProviderDown" not in text


def test_messages_stay_after_the_end() -> None:
    shown = busy(80, 24)
    shown.view.say("worker-1 ended [sic]")
    assert "worker-1 ended [sic]" in "\n".join(shown.lines())
    shown.view.__exit__()
    assert shown.written().partition("\x1b[?1049l")[2].strip() == "worker-1 ended [sic]"


def test_a_wait_names_the_asset_the_time_and_the_reason() -> None:
    assert awaited(STATUS) == "GBPUSD in 42 s (the calls of this window are used up)"
    assert awaited(replace(STATUS, why="free", wait_s=0.0)) == "GBPUSD now"
    assert awaited(replace(STATUS, why=None, wait_s=None)) == "nothing waits"
    only_leased = replace(STATUS, next_symbol=None, why="leased", wait_s=9.0)
    assert awaited(only_leased) == "8 item(s) in 9.0 s (it is being refreshed now)"


def test_an_unlimited_plan_has_no_calls_left_to_count() -> None:
    assert calls_left(STATUS) == "calls left: 0 of 5"
    assert calls_left(replace(STATUS, calls_left=None, limit=None)) == "calls are not limited"


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    view.refreshed(REFRESH)
    view.status(STATUS)
    view.status(STATUS)  # not again within 15 seconds
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "12:05:03 XAUUSD        2651.30  real_time, 2.0 s old, from snapshot"
        "  [CRITICAL, waited 0.3 s]"
    )
    assert lines[1] == "12:05:03 NOSUCH   failed: NotFound: 404; given up 11:05:03"
    assert lines[2].startswith("12:05:03 GBPUSD   failed: ProviderDown: 502 upstream")
    assert lines[2].endswith("; again in 42 s")
    assert lines[3:] == [
        "12:05:03 assets: 0 critical, 7 high, 80 medium, 5 low, 1 delayed, 2 in work, 3 dead"
        " · bars: 14 bars, 120 backfill, 4 delayed, 1 in work, 0 dead"
        " · calls left: 0 of 5 · next batch 12:10:00"
        " · next: GBPUSD in 42 s (the calls of this window are used up)"
    ]


def test_json_lines() -> None:
    out = io.StringIO()
    view = JsonView(out)
    view.say("a message")
    view.refreshed(REFRESH)
    view.status(STATUS)
    view.status(replace(STATUS, at=NOW + timedelta(seconds=1), wait_s=41.0))  # nothing but time
    view.status(replace(STATUS, calls_left=1))
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    kinds = ["message", "refresh", "failure", "failure", "status", "status"]
    assert [line["type"] for line in told] == kinds
    assert told[1] | {"price": 2651.3, "priority": "CRITICAL"} == told[1]
    assert told[3] | {"symbol": "GBPUSD", "attempts": 2} == told[3]
    assert told[4]["bars"]["queued"] == {"BARS": 14, "BACKFILL": 120}
    assert told[4]["at"] == "2026-03-04T12:05:03+00:00"
    assert "failures" not in told[4]
