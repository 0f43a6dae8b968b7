"""`assetq symbols`: assets are shown, paused, resumed, removed and imported, on real servers."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from db.connection import connect
from local.sandbox import SandboxServer
from queueing import Bury, Claimed, Death, Policy, PriorityQueue, QuotaLimiter, Request
from tests.kit.cli_runs import Cli
from tests.kit.db_data import one, run

ROWS = (
    "symbol,polygon_ticker,asset_type,name,priority\n"
    "XAUUSD,C:XAUUSD,forex,Gold,CRITICAL\nGBPUSD,C:GBPUSD,forex,Pound,HIGH\n"
    "ETHUSDT,X:ETHUSDT,crypto,,3\nSOLUSD,X:SOLUSD,crypto,,4\n"
)
NAMES = ("XAUUSD", "GBPUSD", "ETHUSDT", "SOLUSD")


@pytest.fixture
def cli(tmp_path: Path, redis_url: str, migrated_url: str, sandbox: SandboxServer) -> Cli:
    servers = {"REDIS_URL": redis_url, "DATABASE_URL": migrated_url}
    return Cli(
        tmp_path,
        {**servers, "POLYGON_BASE_URL": sandbox.url, "MASSIVE_API_KEY": "a-key-that-is-none"},
    )


@pytest.fixture
def queue(cli: Cli, r: redis.Redis) -> PriorityQueue:
    """The queue after an import of four assets."""
    QuotaLimiter(r, Policy()).reset()
    (cli.cwd / "assets.csv").write_text(ROWS)
    done = cli.here("symbols", "import", "assets.csv", "--json")
    assert done.json == {"inserted": 4, "updated": 0, "unchanged": 0, "asked_for": 4}
    return PriorityQueue(r, Policy())


def test_new_assets_are_asked_for_at_once_and_known_ones_are_not(
    cli: Cli, queue: PriorityQueue, r: redis.Redis
) -> None:
    assert set(NAMES) <= set(queue.pending())
    assert [item.symbol for item in queue.peek(3)][:2] == ["XAUUSD", "GBPUSD"]
    assert r.llen("rq:queue:assetq-massive") == 1
    queue.cancel(queue.pending())
    assert cli.here("symbols", "import", "assets.csv", "--json").json["asked_for"] == 0
    assert queue.pending() == []


def test_an_import_without_redis_is_done_all_the_same(cli: Cli) -> None:
    (cli.cwd / "assets.csv").write_text(ROWS)
    done = cli.here("symbols", "import", "assets.csv", REDIS_URL="redis://127.0.0.1:1/0")
    assert (done.code, done.out.split(" (")[0]) == (0, "4 new, 0 updated, 0 unchanged")
    assert "Redis does not answer" in done.err


def test_pausing_empties_the_queue_and_resuming_asks_at_once(
    cli: Cli, queue: PriorityQueue
) -> None:
    done = cli.here("symbols", "pause", "gbp/usd", "C:GBPUSD", "SOLUSD")
    assert (done.code, done.out) == (0, "GBPUSD: paused\nSOLUSD: paused\n")
    assert not {name for name in queue.pending() if name.startswith(("GBPUSD", "SOLUSD"))}
    again = cli.here("symbols", "pause", "GBPUSD", "xauusd", "--json")
    assert again.json == {"paused": ["XAUUSD"], "paused_already": ["GBPUSD"]}
    rows = cli.here("symbols", "list", "--json").json
    assert {row["symbol"]: row["active"] for row in rows} == {
        "ETHUSDT": True,
        "GBPUSD": False,
        "SOLUSD": False,
        "XAUUSD": False,
    }
    cli.here("symbols", "import", "assets.csv")
    assert "paused: assetq symbols resume SOLUSD" in cli.here("symbols", "show", "sol-usd").out
    cli.here("enqueue", "GBPUSD").failed(6, "GBPUSD is paused", "assetq symbols resume GBPUSD")
    done = cli.here("symbols", "resume", "GBPUSD", "ETHUSDT")
    assert (done.code, done.out) == (0, "GBPUSD: resumed\nETHUSDT: not paused\n")
    assert {"GBPUSD", "GBPUSD/5m"} <= set(queue.pending())
    assert "SOLUSD" not in queue.pending()


def test_what_is_no_symbol_changes_nothing(cli: Cli, queue: PriorityQueue) -> None:
    for verb in ("show", "pause", "resume", "remove"):
        cli.here("symbols", verb, "GBPUSD", "GBPUSX").failed(6, "GBPUSX is not a known symbol")
    assert all(row["active"] for row in cli.here("symbols", "list", "--json").json)


def test_a_dead_letter_leaves_with_its_asset(cli: Cli, queue: PriorityQueue) -> None:
    queue.cancel(queue.pending())
    queue.enqueue([Request("GBPUSD", {})])
    claimed = queue.claim()
    assert isinstance(claimed, Claimed)
    queue.end(
        claimed, [Bury("GBPUSD", Death.INVALID, "the provider does not know it")], answered=True
    )
    shown = cli.here("symbols", "show", "GBPUSD", "--json").json
    assert shown[0]["price"] == "given up: the provider does not know it"
    cli.here("symbols", "pause", "GBPUSD")
    assert queue.dead() == []


def test_removing_takes_the_bars_along_and_spares_what_the_user_refers_to(
    cli: Cli, queue: PriorityQueue, migrated_url: str
) -> None:
    run(
        migrated_url,
        """
        INSERT INTO market_data.ohlcv_5m
            (symbol_id, ts, open, high, low, close, volume, source, observed_at_ms)
        SELECT id, '2026-11-20'::timestamptz + n * interval '5 min', 1, 1, 1, 1, 1, 'x', 1
        FROM trading.symbols, generate_series(0, 1999) AS n WHERE symbol IN ('GBPUSD', 'SOLUSD');
        CREATE TABLE trading.orders (symbol_id uuid REFERENCES trading.symbols (id));
        INSERT INTO trading.orders SELECT id FROM trading.symbols WHERE symbol = 'ETHUSDT';
        """,
    )
    cli.here("symbols", "remove", "GBPUSD").failed(2, "add --yes")
    done = cli.here("symbols", "remove", "gbpusd", "--yes")
    assert (done.code, done.out) == (0, "GBPUSD: removed, with 2,000 5-minute bars\n")
    assert "`pause` keeps an asset out" in done.err
    assert not {name for name in queue.pending() if name.startswith("GBPUSD")}
    cli.here("symbols", "show", "GBPUSD").failed(6, "GBPUSD is not a known symbol")
    cli.here("symbols", "remove", "ETHUSDT", "--yes").failed(
        1, "ETHUSDT cannot be removed", "orders", "assetq symbols pause ETHUSDT"
    )
    assert "ETHUSDT" in queue.pending()
    with connect(migrated_url) as connection:
        assert one(connection, "SELECT count(*) FROM market_data.ohlcv_5m") == 2_000
