"""Asking for assets by hand: what becomes of a request, what it waits for, and its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from queueing import Bury, Claimed, Death, Done, PriorityQueue, QuotaLimiter, Request, Retry
from runtime.heartbeat import beat
from tests.kit.cli_runs import Cli
from tests.kit.waiting import eventually

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
        out, _ = waiting.communicate(timeout=90)
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
        out, err = waiting.communicate(timeout=90)
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
