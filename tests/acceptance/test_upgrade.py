"""An upgrade while work waits: processes of an older version and of this one on the same stores."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from local.sandbox import SandboxServer, worst_window
from queueing import Keys
from tests.kit import worker as worker_kit
from tests.kit.formation import Formation
from tests.kit.ports import own_port
from tests.kit.waiting import eventually
from tests.kit.worker import process_env, settings_for

pytestmark = pytest.mark.slow
OLDER = "fde5830"
"""The last version whose Procfile named rq, python and gunicorn itself."""
LIMIT, WINDOW_S = 20, 4.0


@pytest.fixture
def older(project_root: Path, tmp_path: Path) -> Path:
    """A checkout of the older version."""
    done = subprocess.run(
        ["git", "archive", OLDER], cwd=project_root, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no older version to upgrade from: {done.stderr.decode().strip()}")
    directory = tmp_path / "older"
    directory.mkdir()
    subprocess.run(["tar", "-x", "-C", directory], input=done.stdout, check=True)
    return directory


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("spec", limit=LIMIT, window_s=WINDOW_S) as server:
        yield server


def test_two_versions_side_by_side_lose_nothing(
    older: Path,
    project_root: Path,
    tmp_path: Path,
    redis_url: str,
    database_url: str,
    provider: SandboxServer,
    r: redis.Redis,
) -> None:
    settings = settings_for(
        redis_url,
        database_url,
        provider.url,
        polygon_tier="free",
        polygon_rate_limit=LIMIT,
        rate_window_seconds=WINDOW_S,
    )
    env = process_env(settings, tmp_path, PYTHONUNBUFFERED="1", PORT=str(own_port()))
    new = Formation(project_root, env, tmp_path / "new.log")
    old = Formation(older, {**env, "PYTHONPATH": str(older)}, tmp_path / "old.log")
    keys = Keys("massive")

    def assetq(*words: str) -> None:
        subprocess.run(["bin/assetq", *words], cwd=project_root, env=env, check=True, timeout=120)

    def rows(query: str) -> list[Any]:
        with psycopg.connect(database_url) as connection:
            return connection.execute(query.encode()).fetchall()

    try:
        assetq("migrate")
        assetq("symbols", "import")
        r.flushdb()  # the older version asks
        for line in ("rq worker -c worker.rq_config -S json --worker-class "
                     "worker.rq_classes.TickWorker --job-class worker.rq_classes.TickJob",
                     "python -m scheduler"):  # fmt: skip
            old.start(shlex.split(line))
        eventually(lambda: len(provider.arrivals()) > LIMIT, 120, what=old.output)
        before = set(r.smembers(keys.pending))
        assert len(before) > LIMIT, "work waits"
        new.start(["bin/assetq", "release"]).wait(120)
        assert new.leaders.pop().returncode == 0, new.output
        for kind in ("worker", "worker", "scheduler", "web"):
            new.start(["bin/assetq", kind])
        calls = len(provider.arrivals())
        done = [
            s for (s,) in rows("SELECT symbol FROM trading.symbols WHERE metadata ? 'last_update'")
        ]
        assetq("enqueue", *sorted({*done} - r.smembers(keys.pending)))
        eventually(lambda: len(provider.arrivals()) > calls + 2 * LIMIT, 120, what=new.output)
        assert old.stop() == [0, 0], old.output
        eventually(
            lambda: (
                rows("SELECT count(*) FROM trading.symbols WHERE metadata ? 'last_update'")
                == rows("SELECT count(*) FROM trading.symbols")
            ),
            120,
            every_s=0.2,
            what="every asset has a price",
        )
        assert new.stop() == [0, 0, 0, 0], new.output
    finally:
        old.end()
        new.end()
    bars = rows("SELECT DISTINCT s.symbol FROM market_data.ohlcv_5m JOIN trading.symbols s "
                "ON s.id = symbol_id")  # fmt: skip
    kept = {f"{symbol}/5m" for (symbol,) in bars} | set(r.smembers(keys.pending))
    assert {item for item in before if "/" in item} <= kept, "done, or still asked for"
    assert r.zcard(keys.dead) == 0, r.hgetall(keys.dead_items)
    assert r.zcard(keys.leases) == 0
    assert worst_window([a.mono_s for a in provider.arrivals()], WINDOW_S) <= LIMIT
    for log in (old.output, new.output):
        assert "Traceback" not in log, log
