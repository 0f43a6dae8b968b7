"""The programs in examples/, run as their readers would run them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import redis

from db.connection import connect
from db.coverage import Asked
from db.refresh import RefreshWriter
from db.rows import SymbolRefresh
from db.symbols import SymbolRepository
from market.quotes import Bar
from queueing import Claimed, Done, Policy, PriorityQueue, QuotaLimiter, Request
from tests.kit.db_data import CRITICAL, call, refresh
from tests.kit.waiting import eventually


def publish(queue: PriorityQueue, first: int, count: int) -> list[str]:
    """Refreshes some assets; their events."""
    lines = []
    for number in range(first, first + count):
        symbol = f"S{number}"
        queue.enqueue([Request(symbol)])
        claimed = queue.claim()
        assert isinstance(claimed, Claimed)
        event = f'{{"timestamp": "t", "symbol": "{symbol}", "last_price": {number}}}'
        queue.end(claimed, [Done(symbol, f"asset:update:{symbol}", event)], answered=True)
        lines.append(f"t {symbol} {number}")
    return lines


def is_told(told: Path, line: str) -> None:
    eventually(lambda: line in told.read_text().splitlines(), what=f"{line} is followed")


def test_follow_loses_no_event_over_its_own_restarts(
    tmp_path: Path, project_root: Path, redis_url: str, r: redis.Redis
) -> None:
    policy = Policy(limit=None)
    QuotaLimiter(r, policy).reset()
    queue = PriorityQueue(r, policy)
    seen: list[str] = []
    wanted: list[str] = []
    for start in (0, 40, 80):  # killed, with events before, while and after it runs
        wanted += publish(queue, start, 20)
        told = tmp_path / f"told.{start}"
        with told.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, project_root / "examples" / "follow.py", redis_url],
                cwd=tmp_path,
                stdout=out,
            )
            try:
                is_told(told, wanted[start])
                wanted += publish(queue, start + 20, 20)
                if start == 80:
                    is_told(told, wanted[-1])
            finally:
                process.kill()
                process.wait()
        whole, _, _ = told.read_text().rpartition("\n")  # the kill may have cut the last line
        seen += whole.splitlines()
    assert list(dict.fromkeys(seen)) == wanted
    assert len(seen) <= len(wanted) + 2  # a kill may repeat the event that was being handled


def test_follow_tells_again_what_it_had_not_handled_when_it_was_killed(
    tmp_path: Path, project_root: Path, redis_url: str, r: redis.Redis
) -> None:
    """A full pipe holds it in the middle of what one read brought, wherever that is."""
    symbols = [f"S{number:080}" for number in range(2_000)]
    pipe = r.pipeline()
    for symbol in symbols:
        event = {"timestamp": "t", "symbol": symbol, "last_price": 1}
        pipe.xadd("assetq:{massive}:updates", {"event": json.dumps(event)})
    ids = pipe.execute()
    position = tmp_path / "follow.position"
    command = [sys.executable, str(project_root / "examples" / "follow.py"), redis_url]
    held = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    eventually(lambda: position.exists() and position.read_text() in ids[600:])
    held.kill()
    seen = [line.split()[1] for line in held.communicate()[0].splitlines(True) if line[-1] == "\n"]
    told = tmp_path / "told"
    with told.open("w") as out:
        again = subprocess.Popen(command, cwd=tmp_path, stdout=out)
        try:
            eventually(lambda: f"{symbols[-1]} 1\n" in told.read_text())
        finally:
            again.kill()
            again.wait()
    seen += [line.split()[1] for line in told.read_text().splitlines()]
    assert list(dict.fromkeys(seen)) == symbols
    assert len(seen) <= len(symbols) + 1


@pytest.mark.parametrize("name", ["follow.py", "bars.py"])
def test_an_example_without_its_url_says_how_it_is_run(project_root: Path, name: str) -> None:
    command = [sys.executable, str(project_root / "examples" / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr[:6], done.stderr.count("\n")) == (1, "usage:", 1)


def test_bars_reads_whole_bars_and_the_prices(project_root: Path, migrated_url: str) -> None:
    today = datetime.combine(datetime.now(UTC).date(), time.min, UTC)
    midnight = today - timedelta(days=2)
    opened, high, low, volume = Decimal(100), Decimal(124), Decimal(99), Decimal(1)
    five = timedelta(minutes=5)
    bars = [
        Bar(midnight + n * five, opened, high, low, Decimal(100 + n // 12), volume, None, 1)
        for n in range(288)
    ]
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many(CRITICAL)
        asked = Asked(midnight, midnight + timedelta(days=1))
        item = SymbolRefresh("BTCUSD", None, bars, asked=asked, source="aggregates")
        at_ms = int(datetime.now(UTC).timestamp() * 1000)
        RefreshWriter(connection).write(at_ms, call(), [item, refresh("EURUSD", "1.13")])
    done = subprocess.run(
        [sys.executable, project_root / "examples" / "bars.py", migrated_url, "BTCUSD"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith(f"{midnight:%Y-%m-%d}")]) == 24
    assert f"{1 / 100:.6f}" in lines[3]  # from 100 to 101
    assert any(line.startswith("EURUSD") and "1.13" in line for line in lines)
