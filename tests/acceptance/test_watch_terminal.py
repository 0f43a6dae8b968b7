"""`assetq watch` in a real terminal: what it shows, how it ends, and what it leaves."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from queueing import Claimed, Keys, Policy, Priority, PriorityQueue, QuotaLimiter, Request, Retry
from tests.kit.cli_runs import ASSETQ, Cli
from tests.kit.terminals import Terminal
from worker.events import AssetUpdated

KEYS = Keys()


def tell(r: redis.Redis, symbol: str, price: str, *, ago_ms: int = 0) -> None:
    """Put an event into the stream, as the end of a call does."""
    seconds, micros = r.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000 - ago_ms
    event = {
        "symbol": symbol,
        "bid": None,
        "ask": None,
        "last_price": price,
        "priority": 1,
        "timestamp": (now_ms - 1500) / 1000,
        "source": "snapshot",
        "delay": "real_time",
        "observed_at_ms": now_ms,
        "waited_ms": 300,
        "call_id": "drain@here-1-a:1",
    }
    text = AssetUpdated.model_validate(event).model_dump_json()
    r.xadd(KEYS.updates, {"event": text})


@pytest.fixture
def start(tmp_path: Path, redis_url: str, r: redis.Redis) -> Iterator[Callable[..., Terminal]]:
    """Starts a watch over a queue in which one asset failed, another waits, and gold is known."""
    queue = PriorityQueue(r, Policy())
    QuotaLimiter(r, Policy()).reset()
    queue.enqueue([Request("GBPUSD")], Priority.CRITICAL)
    claimed = queue.claim()
    assert isinstance(claimed, Claimed)
    queue.end(claimed, [Retry("GBPUSD", 60_000, 2, "ProviderDown: 502")], answered=True)
    queue.enqueue([Request("AUDUSD")], Priority.MEDIUM)
    queue.enqueue([Request("AUDUSD/5m", solo=True)], Priority.BACKFILL)
    tell(r, "XAUUSD", "4037.665", ago_ms=120_000)
    tell(r, "XAUUSD", "4041.702665", ago_ms=60_000)
    env = Cli(tmp_path, {"REDIS_URL": redis_url, "MASSIVE_API_KEY": "planted"}).environment()
    opened: list[Terminal] = []

    def start(width: int, height: int, *options: str, shell: str = "") -> Terminal:
        command = [ASSETQ, "watch", *options]
        if shell:
            command = [shell, "--norc", "-i"]
        opened.append(Terminal(command, tmp_path, env | {"PS1": "ready> "}, width, height))
        if shell:
            opened[-1].until(lambda lines: "ready>" in lines[0])
            opened[-1].press(shlex.join([ASSETQ, "watch"]) + "\n")
        opened[-1].until(lambda lines: "next batch" in lines[-1])
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


def left_in_order(terminal: Terminal) -> None:
    """The terminal is as it was: its modes, its first screen, its cursor."""
    assert terminal.modes() == terminal.before
    assert terminal.raw.rindex("\x1b[?1049l") > terminal.raw.rindex("\x1b[?1049h")
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")
    assert "Traceback" not in terminal.raw


def test_watch_shows_what_was_and_is_at_any_size_until_q(
    start: Callable[..., Terminal], r: redis.Redis
) -> None:
    terminal = start(80, 24)
    assert terminal.modes() != terminal.before, "keys come one by one"
    today_or_not = r"^(\d\d:\d\d:\d\d|\d\d-\d\d \d\d:\d\d)"
    price = re.compile(today_or_not + r" +XAUUSD +4041.702665 +\+0.100% +1 min", re.M)
    first = "\n".join(terminal.until(lambda lines: bool(price.search("\n".join(lines)))))
    assert re.search(r"^GBPUSD +ProviderDown: 502 +again in (\d\d s|1 min)$", first, re.M)
    assert "assets  0 critical, 0 high, 1 medium, 0 low, 1 delayed, 0 in work" in first
    assert "bars    0 bars, 1 backfill, 0 delayed" in first
    for number in range(40):
        tell(r, f"ASSET{number}", "1.5")
    terminal.until(lambda lines: any(" ASSET39 " in line for line in lines))
    assert " XAUUSD " in terminal.lines[2], "gold stays"
    terminal.resize(120, 40)
    shown = terminal.until(lambda lines: "next batch" in lines[39])
    assert " XAUUSD " in shown[2]
    assert sum(" ASSET" in line for line in shown) > 20
    terminal.press("x")
    terminal.press("q")
    assert terminal.wait() == 0
    left_in_order(terminal)


def test_signals_and_ctrl_c_leave_the_terminal_in_order(start: Callable[..., Terminal]) -> None:
    hung_up, interrupted = start(80, 24), start(80, 24)
    hung_up.process.send_signal(signal.SIGHUP)
    interrupted.press("\x03")
    for terminal in (hung_up, interrupted):
        assert terminal.wait() == 130
        left_in_order(terminal)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell with jobs")
def test_ctrl_z_gives_the_terminal_back_until_fg(
    start: Callable[..., Terminal], r: redis.Redis
) -> None:
    """The screen of pyte has no second page: what the shell says is read from the raw text."""
    terminal = start(80, 24, shell="bash")
    terminal.press("\x1a")
    terminal.until(lambda lines: any("Stopped" in line for line in lines))
    assert terminal.raw.rindex("\x1b[?1049l") > terminal.raw.rindex("\x1b[?1049h")
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")
    terminal.press("stty -a; echo so it'' was\n")
    terminal.until(lambda _: "so it was" in terminal.raw)
    assert " icanon" in terminal.raw
    assert " echo " in terminal.raw

    tell(r, "AUDUSD", "0.6571", ago_ms=0)
    terminal.resize(100, 30)
    terminal.press("fg\n")
    terminal.until(lambda lines: "next batch" in lines[29] and any("0.6571" in x for x in lines))
    assert not any("ready>" in line for line in terminal.lines)

    terminal.press("\x1a")
    terminal.until(lambda _: terminal.raw.count("Stopped") == 2)
    terminal.press("bg\n")
    terminal.press("kill -0 %1 && echo goes'' on\n")
    terminal.until(lambda _: "goes on" in terminal.raw)
    drawn = terminal.raw.count("\x1b[?1049h")
    terminal.press("fg\n")
    terminal.until(lambda _: terminal.raw.count("\x1b[?1049h") == drawn + 1)
    terminal.until(lambda lines: "next batch" in lines[29])
    terminal.press("q")
    terminal.until(lambda _: terminal.raw.rstrip().endswith("ready>"))
    assert "Traceback" not in terminal.raw
