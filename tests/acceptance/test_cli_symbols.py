"""`assetq symbols`: assets are shown, paused, resumed, removed and imported, on real servers."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from db.connection import connect
from local.sandbox import SandboxServer
from queueing import Bury, Claimed, Death, Keys, Policy, PriorityQueue, QuotaLimiter, Request
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
    done = cli.here("symbols", "resume", "SOLUSD", "ETHUSDT")
    assert (done.code, done.out) == (0, "SOLUSD: resumed\nETHUSDT: not paused\n")
    assert {"SOLUSD", "SOLUSD/5m"} <= set(queue.pending()), (
        "on Sundays, forex has no day to ask for"
    )
    assert "GBPUSD" not in queue.pending()


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


def test_the_providers_list_adds_what_is_not_tracked(
    cli: Cli, queue: PriorityQueue, sandbox: SandboxServer, migrated_url: str, r: redis.Redis
) -> None:
    run(migrated_url, "UPDATE trading.symbols SET symbol = 'CABLE' WHERE symbol = 'GBPUSD'")
    run(
        migrated_url,
        "UPDATE trading.symbols SET polygon_ticker = 'X:GBPJPY' WHERE symbol = 'SOLUSD'",
    )
    run(migrated_url, "UPDATE trading.symbols SET symbol = 'EURJPY' WHERE symbol = 'SOLUSD'")
    before = len(sandbox.arrivals())
    words = ("symbols", "import", "--market", "fx", "--quote", "usd", "--quote", "JPY")
    shown = cli.here(*words, "--dry-run", "--json")
    tickers = {row["polygon_ticker"] for row in shown.json}
    assert {"C:AUDUSD", "C:USDJPY"} <= tickers
    assert {ticker[-3:] for ticker in tickers} == {"USD", "JPY"}
    assert not {"C:XAUUSD", "C:GBPUSD", "C:EURJPY"} & tickers, "tracked, or the symbol is taken"
    assert "another asset has that symbol: C:EURJPY" in shown.err
    assert len(sandbox.arrivals()) == before + 1
    done = cli.here(*words, "--base", "aud", "--priority", "HIGH", "--json")
    assert done.json == {"inserted": 2, "updated": 0, "unchanged": 0, "asked_for": 2}
    rows = {row["symbol"]: row for row in cli.here("symbols", "list", "--json").json}
    assert [rows["AUDJPY"][key] for key in ("polygon_ticker", "asset_type", "priority")] == [
        "C:AUDJPY",
        "forex",
        "HIGH",
    ]
    assert {"AUDJPY", "AUDUSD"} <= set(queue.pending())
    with connect(migrated_url) as connection:
        calls = "SELECT count(*) FROM data_sources.api_calls WHERE feed = 'reference'"
        assert one(connection, calls) == 2
    assert r.zcard(Keys("massive").window) == 2, "each held a permit"


def test_pages_are_followed_and_wait_for_the_quota(
    cli: Cli, queue: PriorityQueue, monkeypatch: pytest.MonkeyPatch, sandbox: SandboxServer
) -> None:
    monkeypatch.setattr("market.reference.PAGE", 10)
    quota = {"POLYGON_RATE_LIMIT": "2", "RATE_WINDOW_SECONDS": "3"}
    before = len(sandbox.arrivals())
    done = cli.here("symbols", "import", "--market", "crypto", "--dry-run", "--json", **quota)
    listed = {row["symbol"] for row in done.json}
    catalogue = cli.here("symbols", "import", "--json").json
    assert len(listed) > 20
    assert "crypto: 10 tickers after 1 call\n" in done.err
    assert len(sandbox.arrivals()) - before == done.err.count("tickers after")
    assert "waits" in done.err
    assert catalogue["inserted"] > len(listed)


def test_validation_calls_once_for_each_market(cli: Cli, queue: PriorityQueue) -> None:
    done = cli.here("symbols", "validate")
    assert (done.code, done.out) == (0, "all 4 assets are listed (2 calls)\n")


def test_validation_names_what_is_unknown_or_inactive(cli: Cli, queue: PriorityQueue) -> None:
    (cli.cwd / "odd.csv").write_text(
        "symbol,polygon_ticker,asset_type\nNOPE,X:NOPENOPE,crypto\nLUNAUSD,X:LUNAUSD,crypto\n"
    )
    cli.here("symbols", "import", "odd.csv")
    done = cli.here("symbols", "validate", "--json")
    done.failed(1, "2 of 6 assets have no active ticker", "assetq symbols pause LUNAUSD NOPE")
    assert {row["symbol"]: row["problem"] for row in done.json["problems"]} == {
        "LUNAUSD": "inactive at the provider",
        "NOPE": "unknown at the provider",
    }
    assert done.json["api_calls_used"] == 4


def test_validation_leaves_paused_assets_out(cli: Cli, queue: PriorityQueue) -> None:
    (cli.cwd / "odd.csv").write_text("symbol,polygon_ticker,asset_type\nNOPE,X:NOPENOPE,crypto\n")
    cli.here("symbols", "import", "odd.csv")
    cli.here("symbols", "pause", "NOPE")
    assert cli.here("symbols", "validate").code == 0


def test_a_list_that_is_refused_imports_nothing(cli: Cli, queue: PriorityQueue) -> None:
    with SandboxServer(plan="spec", port=0, key="another-key-entirely") as strict:
        done = cli.here("symbols", "import", "--market", "fx", POLYGON_BASE_URL=strict.url)
        done.failed(1, "Unknown API Key")
    assert "refuses the API key (401" in cli.here("limiter", "status").out
    cli.here("symbols", "import", "x.csv", "--market", "fx").failed(2, "not both")
    cli.here("symbols", "import", "--quote", "USD").failed(2, "need --market")


def test_the_verdict_is_about_the_tracked_assets_and_the_plan(
    cli: Cli, queue: PriorityQueue, migrated_url: str
) -> None:
    words = ("simulate", "--hours", "0.1", "--json")
    done = cli.here(*words, HISTORY_DAYS="730", POLYGON_TIER="free")
    assert done.json["assets"] == "4 tracked assets"
    assert done.json["verdict"].startswith("Free gives prices of yesterday; history whole in ")
    free = done.json["plans"][0]
    assert free["history_calls"] == 2 * 16 + 2 * 22
    assert [plan["tier"] for plan in done.json["plans"]][:2] == ["free", "starter"]
    bands = done.json["simulated"][0]["by_priority"]
    assert {name: band["assets"] for name, band in bands.items()} == {
        "CRITICAL": 1,
        "HIGH": 1,
        "MEDIUM": 1,
        "LOW": 1,
    }
    cli.here("symbols", "pause", "SOLUSD")
    run(
        migrated_url,
        """INSERT INTO market_data.coverage_days
               (symbol_id, timeframe, day, asked_at, whole, bars, refused, expected)
           SELECT id, '5m', day::date, now(), true, 288, 0, 288 FROM trading.symbols,
               generate_series(current_date - 730, current_date, interval '1 day') AS day
           WHERE symbol = 'ETHUSDT'""",
    )
    done = cli.here(*words, HISTORY_DAYS="730", POLYGON_TIER="starter")
    assert done.json["verdict"].startswith("Starter keeps 3 assets live with 1 call per round")
    assert done.json["plans"][0]["history_calls"] == 2 * 16
    without = cli.here(*words, "--file", "assets.csv", DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert without.json["assets"] == "4 assets of assets.csv"
