"""The `assetq` command on real servers: from an empty database to fresh prices and back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from local.sandbox import SandboxServer
from queueing import (
    Bury,
    Claimed,
    Death,
    Done,
    Keys,
    Policy,
    PriorityQueue,
    QuotaLimiter,
    Request,
    Retry,
)
from runtime.heartbeat import beat
from settings import Settings
from tests.kit.cli_runs import Cli
from tests.kit.db_data import run
from tests.kit.waiting import eventually
from tests.kit.worker import Site

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


def test_migrate_says_what_it_applied_and_what_is_next(cli: Cli, database_url: str) -> None:
    assert cli("migrate", "--check", DATABASE_URL=database_url).code == 1
    first = cli.here("migrate", DATABASE_URL=database_url)
    assert (first.code, first.out.split("\n")[0]) == (0, "applied: 0001-symbols")
    assert "assetq symbols import" in first.err
    second = cli.here("migrate", DATABASE_URL=database_url)
    assert (second.code, second.out) == (0, "nothing to do\n")
    assert cli.here("migrate", "--check", DATABASE_URL=database_url).code == 0


def test_the_shipped_catalogue_is_found_from_anywhere_and_spares_edits(
    cli: Cli, assets: None
) -> None:
    done = cli("symbols", "import", "--json")  # the cwd is no clone
    assert done.json["inserted"] > 50
    by_symbol = {row["symbol"]: row for row in cli.here("symbols", "list", "--json").json}
    assert by_symbol["GBPUSD"]["name"] == "Pound"
    assert by_symbol["EURUSD"]["name"]  # was empty
    assert cli.here("symbols", "import", "--json").json["inserted"] == 0


ROW = ("symbol", "priority", "outcome", "detail", "rank", "waits_for")


def test_enqueue_raises_keeps_and_tells_what_waits(cli: Cli, assets: None, r: redis.Redis) -> None:
    first = cli("enqueue", "GBPUSD", "ETHUSDT", "--json")
    asked = [[row[key] for key in ROW] for row in first.json["results"]]
    assert asked == [
        ["GBPUSD", "HIGH", "enqueued", None, 1, "worker"],
        ["ETHUSDT", "MEDIUM", "enqueued", None, 2, "worker"],
    ]
    assert "no worker is alive" in first.err
    assert r.llen("rq:queue:assetq-massive") == 1  # one drain tick, however often one asks
    again = cli.here("enqueue", "ETHUSDT", "GBPUSD", "ETHUSDT", "--priority", "high")
    assert [line.split()[:3] for line in again.out.splitlines()[1:]] == [
        ["ETHUSDT", "HIGH", "raised"],
        ["GBPUSD", "HIGH", "pending"],
    ]
    assert again.out.count("No worker is alive") == 2
    assert r.llen("rq:queue:assetq-massive") == 1

    listed = cli.here("queue", "list", "--json").json
    assert [(row["symbol"], row["priority"], row["state"]) for row in listed] == [
        ("GBPUSD", "HIGH", "queued"),
        ("ETHUSDT", "HIGH", "queued"),
    ]
    assert listed[0]["score"].startswith("2")
    stats = cli.here("queue", "stats", "--json").json
    assert stats["total_items"] == 2
    assert stats["by_priority"] == {
        "CRITICAL": 0,
        "HIGH": 2,
        "MEDIUM": 0,
        "LOW": 0,
        "BARS": 0,
        "BACKFILL": 0,
    }
    assert 0 < stats["oldest_item_age_seconds"] < 60
    assert cli.here("queue", "peek", "--json").json["item"]["symbol"] == "GBPUSD"


def test_each_state_of_an_item_and_each_wait_is_explained(cli: Cli, queue: PriorityQueue) -> None:
    beat(queue.redis, queue.keys, "worker@here-1-abcd")
    queue.enqueue([Request(name) for name in ("LATER", "NOW", "NEXT")], 2)
    later = queue.claim(who="drain@here-1")
    assert isinstance(later, Claimed)
    queue.end(later, [Retry("LATER", 60_000, 4, "HTTP\x1b[31m 500")], answered=True)
    assert isinstance(queue.claim(who="drain@here-2"), Claimed)
    limiter = QuotaLimiter(queue.redis, queue.policy)
    limiter.consume(3)
    rows = cli.here("queue", "list").out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["NOW", "NEXT", "LATER"]
    assert "leased by drain@here-2 until" in rows[0]
    assert "delayed until" in rows[2]
    assert "HTTP [31m 500" in rows[2]  # nothing that drives a terminal
    peek = cli.here("queue", "peek")
    assert "the calls of this window are used up, until" in peek.out
    stats = cli.here("queue", "stats", "--json").json
    assert (stats["waits_for"], stats["next"]) == ("window", "NEXT")
    assert 50 < stats["wait_seconds"] <= 66
    assert (stats["total_items"], stats["leased"], stats["delayed"]) == (3, 1, 1)


def test_pending_items_are_told_their_instant_and_whose_permit_frees_it(
    cli: Cli, assets: None, queue: PriorityQueue
) -> None:
    beat(queue.redis, queue.keys, "worker@here-1-abcd")
    queue.enqueue([Request("EURUSD")], 1)
    limiter = QuotaLimiter(queue.redis, queue.policy)
    limiter.consume(4)
    assert isinstance(queue.claim(who="drain@here-1"), Claimed)
    asked = cli.here("enqueue", "gbp/usd", "ethusdt", "--json").json["results"]
    listed = cli.here("queue", "list", "--json").json
    assert [(row["symbol"], row["rank"]) for row in listed] == [
        ("EURUSD", None),
        ("GBPUSD", 1),
        ("ETHUSDT", 2),
    ]
    assert [row["waits_for"] for row in listed] == ["leased", "window", "window"]
    assert [row["expected_at"][:15] for row in listed[1:]] == [
        row["expected_at"][:15] for row in asked
    ]
    text = cli.here("queue", "list", "ETH/USDT").out
    assert "UTC (in 5" in text or "UTC (in 1 min" in text
    assert "The calls of this window are used up" in text


def test_enqueue_waits_for_the_result_and_ends_with_it(cli: Cli, assets: None) -> None:
    waiting = cli.start("enqueue", "gbp/usd", "ethusdt", "--wait", "--json")
    try:
        assert waiting.stderr is not None
        told = [waiting.stderr.readline() for _ in range(2)]  # before a drain comes to life
        assert cli.here("drain").code == 0
        out, _ = waiting.communicate(timeout=30)
    finally:
        waiting.kill()
    assert waiting.returncode == 0
    results = {row["symbol"]: row for row in json.loads(out)["results"]}
    assert [row["result"] for row in results.values()] == ["refreshed", "refreshed"]
    assert results["GBPUSD"]["price"] > 0
    assert "GBPUSD, ETHUSDT: No worker is alive" in told[1]


def test_enqueue_ends_with_the_reason_where_an_asset_is_given_up(
    cli: Cli, assets: None, queue: PriorityQueue
) -> None:
    waiting = cli.start("enqueue", "GBPUSD", "ETHUSDT", "--priority", "1", "--wait")
    try:
        eventually(lambda: queue.size == 2, what="both are asked for")
        for verdict in (Bury("GBPUSD", Death.INVALID, "unknown ticker"), Done("ETHUSDT")):
            claimed = queue.claim()
            assert isinstance(claimed, Claimed)
            queue.end(claimed, [verdict], answered=True)
        out, err = waiting.communicate(timeout=30)
    finally:
        waiting.kill()
    assert waiting.returncode == 1
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["GBPUSD", "dead"],
        ["ETHUSDT", "unchanged"],
    ]
    assert "GBPUSD (invalid: unknown ticker): given up" in err


def test_enqueue_says_when_the_time_is_over(cli: Cli, assets: None) -> None:
    done = cli.here("enqueue", "GBPUSD", "--wait", "--timeout", "1")
    done.failed(7, "not finished within 1 s: GBPUSD still pending")


@pytest.mark.parametrize("typed", ["gbpusd", "GBP/USD", "gbp-usd", "C:GBPUSD", "c:gbp/usd"])
def test_a_symbol_is_understood_however_it_is_written(
    cli: Cli, assets: None, queue: PriorityQueue, typed: str
) -> None:
    done = cli.here("enqueue", typed, "GBPUSD", "--json").json
    assert [row["symbol"] for row in done["results"]] == ["GBPUSD"]
    assert [row["symbol"] for row in cli.here("queue", "list", typed, "--json").json] == ["GBPUSD"]
    claimed = queue.claim()
    assert isinstance(claimed, Claimed)
    queue.end(claimed, [Bury("GBPUSD", Death.INVALID, "why")], answered=True)
    assert cli.here("dead", "retry", typed).out == "GBPUSD: enqueued\n"


def test_a_spelling_that_several_symbols_share_is_not_guessed(
    cli: Cli, assets: None, tmp_path: Path
) -> None:
    (tmp_path / "twin.csv").write_text("symbol,polygon_ticker,asset_type\nGBP-USD,C:GBPUSD,forex\n")
    assert cli.here("symbols", "import", "twin.csv").code == 0
    cli.here("enqueue", "gbp/usd").failed(6, "may mean GBPUSD or GBP-USD. Name one of them.")
    assert cli.here("enqueue", "GBPUSD").code == 0


def test_a_full_queue_refuses_by_name_but_never_what_is_critical(cli: Cli, assets: None) -> None:
    done = cli.here("enqueue", "GBPUSD", "ETHUSDT", "--priority", "4", QUEUE_MAX_SIZE="1")
    done.failed(5, "refused ETHUSDT: the queue is full (1 of 1)", "QUEUE_MAX_SIZE")
    assert "GBPUSD" in done.out
    assert cli.here("enqueue", "XAUUSD", QUEUE_MAX_SIZE="1").code == 0
    assert cli.here("queue", "stats", "--json").json["total_items"] == 2


def test_dead_letters_are_listed_retried_and_dropped(
    cli: Cli, assets: None, queue: PriorityQueue
) -> None:
    for symbol, kind in (("GBPUSD", Death.POISON), ("ETHUSDT", Death.INVALID)):
        queue.enqueue([Request(symbol, {"symbol": symbol, "ticker": f"C:{symbol}"})], 2)
        claimed = queue.claim()
        assert isinstance(claimed, Claimed)
        queue.end(claimed, [Bury(symbol, kind, "why")], answered=True)
    listed = cli.here("dead", "list", "--json").json
    assert {(row["symbol"], row["kind"], row["by_hand_only"]) for row in listed} == {
        ("GBPUSD", "poison", True),
        ("ETHUSDT", "invalid", False),
    }, "two deaths of one millisecond stand in no order"
    assert "by hand only" in cli.here("dead", "list").out
    cli.here("dead", "retry", "GBPUSX").failed(6, "GBPUSX", "Did you mean GBPUSD?")
    cli.here("dead", "drop").failed(2, "--all")
    cli.here("dead", "drop", "--all").failed(2, "--yes")
    assert len(queue.dead()) == 2
    assert cli.here("dead", "retry", "GBPUSD").out == "GBPUSD: enqueued\n"
    assert queue.peek()[0].payload["ticker"] == "C:GBPUSD"
    assert cli.here("dead", "drop", "--all", "--yes").out == "dropped 2\n"
    assert cli.here("dead", "retry", "--all").out == "no dead letters\n"


def test_the_limiter_by_hand(cli: Cli, r: redis.Redis) -> None:
    assert cli("limiter", "consume", "3").out == "3 of 5 permits are in use\n"
    assert cli.here("limiter", "block", "90", "--reason", "lunch").code == 0
    status = cli.here("limiter", "status", "--json").json
    assert (status["limit"], status["free"]) == (5, 2)
    assert {permit["by"] for permit in status["permits"]} == {"by-hand"}
    assert status["blocked_reason"] == "lunch"
    assert (status["next_critical"]["reason"], status["counters"]["blocks"]) == ("blocked", 1)
    r.hset(Keys().counters, mapping={"granted:1": 3, "granted:5": 92})
    text = cli.here("limiter", "status").out
    assert "calls granted       3 critical, 92 bars" in text
    assert "  3 permits" in text
    assert "Calls are blocked (lunch), until" in text
    assert cli.here("limiter", "block", "0").out == "not blocked\n"
    cli.here("limiter", "reset").failed(2, "--yes")
    assert cli.here("limiter", "reset", "--yes").out.startswith("forgot 3 calls")
    assert cli.here("limiter", "status", "--json").json["free"] == 5


def calls_of_a_drain(cli: Cli, *, slice_s: float) -> int:
    """The calls that a drain makes at once in a Redis that knows nothing."""
    with Site.open(Settings.load(cli.env, env_file=None)) as site:
        site.ask("EURUSD")
        return site.drain(slice_s=slice_s).run().calls


def test_calls_made_elsewhere_are_remembered_where_redis_is_emptied(
    cli: Cli, migrated_url: str, r: redis.Redis
) -> None:
    long_ago = "UPDATE data_sources.api_providers SET last_active_at = now() - interval '190 s'"
    run(migrated_url, long_ago)
    assert cli.here("limiter", "consume", "5").err == ""
    r.flushall()
    assert calls_of_a_drain(cli, slice_s=0.5) == 0, "five calls may count still"
    run(migrated_url, long_ago)
    r.flushall()
    assert calls_of_a_drain(cli, slice_s=10) > 0, "nobody called: it need not wait"


def test_calls_are_counted_while_postgresql_is_away_and_that_is_said(
    cli: Cli, migrated_url: str
) -> None:
    with psycopg.connect(migrated_url) as other:
        other.execute("SELECT * FROM data_sources.api_providers FOR UPDATE")
        locked = cli.here("limiter", "consume", "1")
    away = cli.here("limiter", "consume", "1", DATABASE_URL="postgresql://assetq@127.0.0.1:1/none")
    assert [done.code for done in (locked, away)] == [0, 0]
    assert away.out == "2 of 5 permits are in use\n"
    for done in (locked, away):
        assert len(done.complaints) == 1, done
        assert "should Redis lose its data within 65 s" in done.complaints[0]


def test_many_calls_made_elsewhere_are_counted_and_told_in_one_line(cli: Cli) -> None:
    assert cli.here("limiter", "consume", "99").out == (
        "5 of 5 permits are in use, 94 more are counted\n"
    )
    text = cli.here("limiter", "status").out
    assert "calls free          0 of 5" in text
    assert sum("by-hand" in line for line in text.splitlines()) == 1
    cli.here("limiter", "consume", "9901")  # no one is listed alone, however many there are
    assert len(cli.here("limiter", "status").out.splitlines()) < 25


def test_a_batch_without_workers_is_done_here_within_the_quota(
    cli: Cli, assets: None, sandbox: SandboxServer
) -> None:
    watch = cli.start("watch", "--json", "--for", "120")
    try:
        eventually(lambda: redis.Redis.from_url(cli.env["REDIS_URL"]).pubsub_numpat() == 1)
        done = cli("batch", "--json")
        assert done.code == 0, done
        assert done.json["updated"] == ["XAUUSD", "EURUSD", "BTCUSD"]
        assert done.json["failed"] == []
        assert 3 <= done.json["api_calls_used"] <= len(sandbox.arrivals()) <= 5
        assert watch.stdout
        told = [watch.stdout.readline() for _ in range(3)]  # before it is asked to end
        watch.send_signal(signal.SIGINT)
        out, err = watch.communicate(timeout=30)
        assert (watch.returncode, err.strip()) == (130, "")
    finally:
        watch.kill()
        watch.communicate()
    events = [json.loads(line) for line in (*told, *out.splitlines())]
    assert [event["symbol"] for event in events][:3] == ["XAUUSD", "EURUSD", "BTCUSD"]
    assert {"bid", "ask", "last_price", "timestamp"} <= events[0].keys()
    last = cli.here("watch", "--last", "2", "--for", "0.2")
    assert "BTCUSD" in last.out
    row = next(r for r in cli.here("symbols", "list", "--json").json if r["symbol"] == "XAUUSD")
    assert row["last_price"] > 0

    drained = cli.here("drain", "--json")  # takes what is left, and does not wait for more
    assert drained.code == 0
    assert len(sandbox.arrivals()) <= 5
    refused = cli.here("batch", "--timeout", "1").failed(7, "not finished within 1 s")
    assert "the calls of this window are used up, until" in refused.err


def test_a_batch_with_unknown_assets_fails_by_name(cli: Cli) -> None:
    done = cli.here("batch", "--json")
    done.failed(1, "3 of 3 assets failed")
    assert done.json["updated"] == []
    assert {row["symbol"] for row in done.json["failed"]} == {"XAUUSD", "EURUSD", "BTCUSD"}
    assert "assetq symbols import" in done.json["failed"][0]["error"]
    assert done.json["api_calls_used"] == 0


def test_a_wrong_key_is_named_and_nothing_is_lost(cli: Cli, assets: None) -> None:
    with SandboxServer(plan="spec", port=0, key="another-key-entirely") as strict:
        cli.env["POLYGON_BASE_URL"] = strict.url
        done = cli.here("batch", "--timeout", "3")
    done.failed(7, "XAUUSD, EURUSD, BTCUSD still pending")
    assert "The provider refuses the API key (401" in cli.here("limiter", "status").out
    report = cli.here("doctor", "--json").json
    (quota,) = (c for c in report["checks"] if c["check"] == "quota")
    assert quota["status"] == "fail"
    assert "401" in quota["text"]
    assert "MASSIVE_API_KEY" in quota["remedy"]


def test_drain_ends_gently_on_ctrl_c(cli: Cli, assets: None, r: redis.Redis) -> None:
    cli.here("limiter", "consume", "5")
    cli.here("enqueue", "GBPUSD")
    drain = cli.start("drain", "--for", "60")
    try:
        eventually(lambda: r.exists(Keys().waiter), what="the drain waits")
        drain.send_signal(signal.SIGINT)
        out, err = drain.communicate(timeout=30)
    finally:
        drain.kill()
        drain.communicate()
    assert drain.returncode == 130
    assert "still pending: 1" in out
    assert "Traceback" not in err
    assert r.zcard(Keys().leases) == 0


def test_the_schedule_is_told_with_and_without_a_scheduler(cli: Cli, project_root: Path) -> None:
    before = cli.here("schedule", "list", "--json")
    assert [(row["id"], row["next_run"]) for row in before.json] == [
        ("every-batch", None),
        ("every-secondary", None),
    ]
    assert "no scheduler is alive" in before.err
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "scheduler"],
        cwd=project_root,
        env=cli.environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        rows = eventually(
            lambda: [x for x in cli.here("schedule", "list", "--json").json if x["next_run"]]
        )
    finally:
        scheduler.terminate()
        scheduler.wait(60)
    assert rows[0].keys() == {"id", "name", "next_run", "trigger"}
    assert rows[0]["trigger"] == "every 5 min"
