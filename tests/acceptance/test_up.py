"""`assetq up`, the way `make run` calls it, on an empty data directory and on its own old one."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from local.servers.process import command_line
from local.servers.state import DataDir
from tests.kit.ports import own_port
from tests.kit.up_runs import UpRun, clean_env, left_running
from tests.kit.waiting import eventually

pytestmark = pytest.mark.slow
CRITICAL = ("XAUUSD", "EURUSD", "BTCUSD")

Start = Callable[..., UpRun]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data with a space"


@pytest.fixture
def own_web(data: Path) -> None:
    """The port of the pages: another run of these minutes may take the usual one as well."""
    found = DataDir(data)
    found.create()
    found.write_environment({"ASSETQ_WEB_URL": f"http://127.0.0.1:{own_port()}"})


@pytest.fixture
def start(project_root: Path, data: Path) -> Iterator[Start]:
    runs: list[UpRun] = []

    def start_run(*options: str, **how: object) -> UpRun:
        runs.append(UpRun(project_root, data, *options, **how))  # type: ignore[arg-type]
        return runs[-1]

    yield start_run
    for run in runs:
        run.end()


def test_from_nothing_to_fresh_critical_assets_and_again(start: Start, data: Path) -> None:
    first = start()
    first.until("PostgreSQL (embedded)")
    url = re.search(r"postgresql://[^\"]*", (data / "run" / "environment").read_text())
    assert url

    first.until_refreshed(CRITICAL)  # two workers may finish in another order
    with psycopg.connect(url[0]) as connection:
        rows = connection.execute(
            "SELECT symbol, (metadata #> '{last_update,last_price}')::float FROM trading.symbols "
            "WHERE metadata ? 'last_update' "
            "ORDER BY (metadata #> '{last_update,observed_at_ms}')::bigint"
        ).fetchall()
    assert [symbol for symbol, _ in rows[:3]] == list(CRITICAL), "in the order of their calls"
    assert all(price > 0 for _, price in rows)
    first.press_ctrl_c()
    assert first.wait() == 0, first.output
    assert "SANDBOX API" in first.output, first.output
    assert f"critical assets: all fresh ({', '.join(CRITICAL)})" in first.output, first.output
    assert re.search(
        r"counted \d+ calls, at most [3-5] in any 60 s \(limit 5\); it refused 0", first.output
    )
    assert left_running(data) == []

    second = start("--for", "3")
    assert second.wait() == 0, second.output
    assert "migrations: nothing to do" in second.output
    assert "new" not in second.output
    assert " assets: " in second.output
    assert "unknown how many calls" not in second.output, "its Valkey ended in order"
    assert (data / "run" / "environment").read_text().count(url[0]) == 1  # the same ports


def test_ctrl_c_stops_in_order_and_a_second_start_is_refused(
    own_web: None, start: Start, data: Path
) -> None:
    run = start("--workers", "1")
    run.until("XAUUSD")
    again = start()
    assert again.wait() == 1
    assert again.lines == [again.lines[0]]
    assert f"already running here (process {run.process.pid}" in again.output
    run.press_ctrl_c()
    assert run.wait() == 0, run.output
    stopped = [line.removeprefix("stopping ") for line in run.lines if line.startswith("stopping ")]
    order = ["worker", "scheduler", "web", "sandbox", "valkey", "postgres"]
    assert stopped[-6:] == order, run.output
    assert "killed" not in run.output
    assert left_running(data) == []


def test_a_killed_launcher_leaves_nothing_behind(own_web: None, start: Start, data: Path) -> None:
    run = start("--workers", "1")
    run.until("XAUUSD")
    pids = run.pids()
    assert pids.keys() == {"keeper", "valkey", "postgres", "sandbox", "worker", "scheduler", "web"}
    run.process.send_signal(signal.SIGKILL)
    eventually(
        lambda: not any(command_line(pid) for pid in pids.values()),
    )
    assert left_running(data) == []
    assert "shut down" in (data / "log" / "postgres.log").read_text()  # not killed, but stopped


def test_a_dead_worker_is_started_again(start: Start) -> None:
    run = start("--workers", "1")
    run.until("XAUUSD")
    before = run.pids()["worker"]
    os.kill(before, signal.SIGKILL)
    run.until("worker ended (exit code -9), starts again in 1.0 s")
    run.until("worker: restarted")
    assert run.pids()["worker"] != before


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("REDIS_URL", "redis://127.0.0.1:1/0", "REDIS_URL redis://127.0.0.1:1/0 does not answer"),
        ("DATABASE_URL", "postgresql://u:geheim@127.0.0.1:1/d", "127.0.0.1"),
        ("VALKEY_SERVER", "/no/valkey", "VALKEY_SERVER=/no/valkey was not found"),
        ("BATCH_INTERVAL_MINUTES", "never", "BATCH_INTERVAL_MINUTES"),
        ("POLYGON_BASE_URL", "http://127.0.0.1:1", "MASSIVE_API_KEY: not set"),
    ],
)
def test_what_cannot_work_is_one_line_and_an_exit_code(
    start: Start, data: Path, variable: str, value: str, message: str
) -> None:
    run = start(env=clean_env(data, **{variable: value}))
    assert run.wait() != 0
    (error,) = (line for line in run.lines if line.startswith("assetq: "))
    assert message in error
    assert "geheim" not in run.output
    assert "Traceback" not in run.output
    assert left_running(data) == []
