"""What the tests of commands share: the servers that a command finds, and five assets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from local.sandbox import SandboxServer
from queueing import Policy, PriorityQueue, QuotaLimiter
from tests.kit.cli_runs import Cli

KEY = "a-planted-api-key-0815"
ROWS = (
    "symbol,polygon_ticker,asset_type,name,priority\n"
    "XAUUSD,C:XAUUSD,forex,Gold,CRITICAL\nEURUSD,C:EURUSD,forex,,1\nBTCUSD,X:BTCUSD,crypto,,1\n"
    "GBPUSD,C:GBPUSD,forex,Pound,HIGH\nETHUSDT,X:ETHUSDT,crypto,,3\n"
)


@pytest.fixture
def cli(tmp_path: Path, redis_url: str, migrated_url: str, sandbox: SandboxServer) -> Iterator[Cli]:
    cli = Cli(
        tmp_path,
        {
            "REDIS_URL": redis_url,
            "DATABASE_URL": migrated_url,
            "POLYGON_BASE_URL": sandbox.url,
            "MASSIVE_API_KEY": KEY,
        },
    )
    yield cli
    assert KEY not in "".join(cli.said)


@pytest.fixture
def assets(cli: Cli, tmp_path: Path, r: redis.Redis) -> None:
    """Five assets, and nothing asked for."""
    (tmp_path / "assets.csv").write_text(ROWS)
    assert cli.here("symbols", "import", "assets.csv").out.startswith(
        "5 new, 0 updated, 0 unchanged"
    )
    r.flushdb()


@pytest.fixture
def queue(r: redis.Redis) -> PriorityQueue:
    QuotaLimiter(r, Policy()).reset()  # no calls before: no hold
    return PriorityQueue(r, Policy())
