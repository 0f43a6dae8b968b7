"""The `assetq` command on real servers: from an empty database to fresh prices and back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import redis

from local.sandbox import SandboxServer
from queueing import Keys
from settings import Settings
from tests.kit.cli_runs import Cli
from tests.kit.db_data import run
from tests.kit.waiting import eventually
from tests.kit.worker import Site


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
        out, err = watch.communicate(timeout=90)
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
        out, err = drain.communicate(timeout=90)
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
