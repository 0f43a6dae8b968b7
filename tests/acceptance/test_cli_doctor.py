"""`assetq doctor`: finds what is wrong, names the cause and the remedy, changes nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from rq.suspension import resume, suspend

from cli.commands.doctor.processes import WORKER_LINE
from local.sandbox import SandboxServer
from queueing import (
    Bury,
    Claimed,
    Death,
    Keys,
    Policy,
    PriorityQueue,
    QuotaLimiter,
    Request,
    Retry,
)
from runtime.context import Context
from runtime.heartbeat import beat, gone
from settings import Settings
from tests.kit.cli_runs import Cli
from tests.kit.doctor import checks
from tests.kit.waiting import eventually
from worker.provider_facts import unauthorized_reason
from worker.rq_classes import TickJob
from worker.ticks import BATCH, Ticks

PROXY_PASSWORD = "planted-proxy-password"


@pytest.fixture
def cli(tmp_path: Path, redis_url: str, migrated_url: str, sandbox: SandboxServer) -> Cli:
    return Cli(
        tmp_path,
        {
            "REDIS_URL": redis_url,
            "DATABASE_URL": migrated_url,
            "POLYGON_BASE_URL": sandbox.url,
            "MASSIVE_API_KEY": "some-key",
        },
    )


@contextmanager
def process(cli: Cli, root: Path, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(
        argv,
        cwd=root,
        env=cli.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(30)


def rq(*options: str) -> tuple[str, ...]:
    return (str(Path(sys.executable).with_name("rq")), *options)


def test_the_worker_line_is_that_of_the_procfile(project_root: Path) -> None:
    assert f"bin/{WORKER_LINE}" in (project_root / "Procfile").read_text()


def test_from_nothing_to_healthy(
    cli: Cli, project_root: Path, sandbox: SandboxServer, r: redis.Redis
) -> None:
    before = checks(cli)
    assert sorted(r.scan_iter()) == []  # it only looks
    assert before["workers"]["remedy"] == f"Start one: {WORKER_LINE}"
    assert {name for name, finding in before.items() if finding["status"] == "fail"} == {
        "workers",
        "scheduler",
        "symbols",
    }
    assert before["symbols"]["remedy"] == "Run `assetq symbols import`."
    assert cli.here("symbols", "import").code == 0
    with process(cli, project_root, "bin/assetq", "scheduler"):
        # A worker that came first would spend the calls on what the import asked for, and the
        # first batch would wait a window for its own.
        with limiter_of(cli) as context, closing(Ticks(context.redis, context.keys)) as ticks:
            eventually(lambda: ticks.waiting(BATCH))
        with process(cli, project_root, "bin/assetq", "worker"):

            def healthy() -> bool:
                found = checks(cli)
                bad = [f for f in found.values() if f["status"] != "ok"]
                assert not bad, bad
                return True

            eventually(healthy, 150)  # a slot that begins meanwhile may wait a window
            text = cli.here("doctor")
    assert text.code == 0
    assert text.out.splitlines()[-1].endswith("0 warn, 0 fail")
    assert "some-key" not in text.out


def test_a_worker_without_our_serializer_and_classes_is_named(
    cli: Cli, project_root: Path, r: redis.Redis
) -> None:
    cli.here("symbols", "import")
    with process(cli, project_root, *rq("worker", "-c", "worker.rq_config")):

        def named() -> dict[str, dict[str, Any]]:
            cli.here("enqueue", "XAUUSD")  # a tick for it to stumble over
            found = checks(cli)
            return found if "rq workers" in found and found["ticks"]["status"] == "fail" else {}

        found = eventually(named, every_s=0.2)
    assert "not started as assetq needs it" in found["rq workers"]["text"]
    assert WORKER_LINE in found["rq workers"]["remedy"]
    assert "without `-S json`" in found["ticks"]["text"]
    eventually(lambda: "rq workers" not in checks(cli))


def test_stray_keys_blocks_and_a_lossy_redis_are_told(cli: Cli, r: redis.Redis) -> None:
    r.set("assetq:{massive}:stray", "1")
    r.config_set("maxmemory-policy", "allkeys-lru")
    r.config_set("maxmemory", "1gb")
    cli.here("limiter", "block", "60", "--reason", "lunch")
    try:
        found = checks(cli)
    finally:
        r.config_set("maxmemory-policy", "noeviction")
        r.config_set("maxmemory", "0")
    assert "assetq:{massive}:stray" in found["redis keys"]["text"]
    assert "noeviction" in found["redis"]["remedy"]
    assert "lunch" in found["quota"]["text"]


def test_servers_that_are_down_do_not_hide_the_other_checks(cli: Cli, database_url: str) -> None:
    found = checks(cli, REDIS_URL="redis://127.0.0.1:1/0", POLYGON_BASE_URL="http://127.0.0.1:1")
    assert "does not answer" in found["redis"]["text"]
    assert found["migrations"]["status"] == "ok"
    assert found["provider"]["status"] == "fail"
    assert checks(cli, DATABASE_URL=database_url)["migrations"]["remedy"] == "Run `assetq migrate`."


def test_a_proxy_is_asked_to_connect_and_nothing_is_sent_to_the_provider(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = cli.start(
            "doctor",
            "--json",
            POLYGON_BASE_URL="https://provider.invalid",
            HTTPS_PROXY=f"http://u:{PROXY_PASSWORD}@127.0.0.1:{port}",
        )
        try:
            listener.settimeout(30)
            connection, _ = listener.accept()
            with connection:
                head = connection.recv(4096)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            out, err = done.communicate(timeout=90)
        finally:
            done.kill()
            done.communicate()
    assert head.startswith(b"CONNECT provider.invalid:443 ")
    assert "403" in out
    assert "through the proxy 127.0.0.1" in out
    assert PROXY_PASSWORD not in out + err


def test_slips_in_names_and_overruled_values_are_told(cli: Cli) -> None:
    (cli.cwd / ".env").write_text(
        "POLYGON_RATE_LIMITS=7\nMASSIVE_API_KEY=the-other-key\nQUEUE_MAX_SIZE=10\n"
    )
    text = cli.here("doctor").out
    assert "nothing reads POLYGON_RATE_LIMITS" in text
    assert "Did you mean POLYGON_RATE_LIMIT?" in text
    assert "overrules .env for MASSIVE_API_KEY" in text
    assert "the-other-key" not in text


def test_a_bound_of_the_queue_that_holds_too_little_is_named(cli: Cli) -> None:
    cli.here("symbols", "import")
    told = cli.here("doctor", QUEUE_MAX_SIZE="5").out
    assert "QUEUE_MAX_SIZE is 5" in told
    assert "Leave QUEUE_MAX_SIZE unset" in told
    assert "QUEUE_MAX_SIZE is" not in cli.here("doctor", QUEUE_MAX_SIZE="1000").out


def test_a_tick_whose_worker_died_is_told_once_and_in_words(cli: Cli, r: redis.Redis) -> None:
    with limiter_of(cli) as context, closing(Ticks(context.redis, context.keys)) as ticks:
        job = TickJob.fetch(ticks.push("drain"), connection=ticks.queue.connection)
        with ticks.queue.connection.pipeline() as pipe:
            job._handle_failure("Moved, due to AbandonedJobError, at 12:00", pipe)  # as RQ does
            pipe.execute()
    told = [c for c in cli.here("doctor", "--json").json["checks"] if c["check"] == "ticks"]
    assert [c["text"] for c in told] == [
        "1 failed within a day: its worker died, by a signal or for lack of memory"
    ]


def test_a_suspended_rq_is_the_one_diagnosis(cli: Cli, r: redis.Redis, project_root: Path) -> None:
    """A worker that is started now ends at once, and no tick is taken: both follow from it."""
    cli.here("symbols", "import")
    beat(r, Keys(), "scheduler@here-2-abcd")
    suspend(r)
    try:
        with process(cli, project_root, "bin/assetq", "worker"):
            found = cli.here("doctor", "--json").json["checks"]
        bad = [finding for finding in found if finding["status"] == "fail"]
    finally:
        resume(r)
    assert [finding["check"] for finding in bad] == ["workers"], bad
    assert "RQ is suspended in this Redis" in bad[0]["text"]
    assert "rq resume" in bad[0]["remedy"]
    assert not {"rq workers", "batches", "rounds"} & {finding["check"] for finding in found}


def test_a_process_that_missed_a_heartbeat_is_named_before_health_gives_it_up(
    cli: Cli, r: redis.Redis
) -> None:
    now_ms = int(r.time()[0]) * 1000
    beats = {"worker@a-1-aaaa": now_ms - 45_000, "scheduler@a-2-bbbb": now_ms - 12_000}
    r.zadd(Keys().heartbeats, beats)
    found = checks(cli)
    assert found["workers"]["status"] == found["scheduler"]["status"] == "fail"
    assert "no heartbeat within 40 s of worker@a-1-aaaa (4" in found["workers"]["text"]
    assert found["scheduler"]["remedy"].endswith("assetq scheduler")
    beat(r, Keys(), "worker@a-3-cccc")
    assert checks(cli)["workers"]["status"] == "warn"


def test_a_process_that_ended_is_not_taken_for_one_that_was_killed_before(
    cli: Cli, r: redis.Redis
) -> None:
    now_ms = int(r.time()[0]) * 1000
    r.zadd(Keys().heartbeats, {"scheduler@killed-1-aaaa": now_ms - 600_000})
    beat(r, Keys(), "scheduler@ended-2-bbbb")
    gone(r, Keys(), "scheduler@ended-2-bbbb")
    text = checks(cli)["scheduler"]["text"]
    assert text.startswith("No scheduler is alive")
    assert "10 min" not in text


def test_a_worker_that_hangs_is_no_foreign_one(
    cli: Cli, r: redis.Redis, project_root: Path
) -> None:
    """Its heartbeat is old, and RQ's registry still has it."""
    with process(cli, project_root, "bin/assetq", "worker") as running:
        name = str(eventually(lambda: next(iter(r.zrange(Keys().heartbeats, 0, -1)), "")))
        running.send_signal(signal.SIGSTOP)
        try:
            seconds, _ = r.time()
            for off_s in (180, -180):  # of the future: Redis' clock has stepped back
                r.zadd(Keys().heartbeats, {name: (int(seconds) + off_s) * 1000})
                found = checks(cli)
                assert "rq workers" not in found
        finally:
            running.send_signal(signal.SIGCONT)
    assert "No worker is alive, since" in found["workers"]["text"]


def test_a_block_for_another_key_is_told_as_such_and_lifted_by_a_worker_that_starts(
    cli: Cli, r: redis.Redis, project_root: Path
) -> None:
    limiter = QuotaLimiter(r, Policy())
    with limiter_of(cli) as context:
        limiter.block(900_000, unauthorized_reason(context))
    assert "Correct MASSIVE_API_KEY" in checks(cli)["quota"]["remedy"]
    cli.env["MASSIVE_API_KEY"] = "the-right-key"
    told = checks(cli)["quota"]
    assert told["status"] == "warn"
    assert "another API key than the one set here" in told["text"]
    assert "Restart the workers" in told["remedy"]

    def lifted() -> bool:
        now = limiter.status()
        return now.blocked_until_ms <= now.now_ms

    with process(cli, project_root, "bin/assetq", "worker"):
        eventually(lifted)
    assert checks(cli)["quota"]["status"] == "ok"


@contextmanager
def limiter_of(cli: Cli) -> Iterator[Context]:
    with Context.open(Settings.load(cli.env, env_file=None)) as context:
        yield context


@pytest.mark.parametrize("name", ["RQ_REDIS_URL", "RQ_KEY_PREFIX", "RQ_QUEUE_CLASS"])
def test_variables_of_another_programs_rq_are_named_and_ignored(cli: Cli, name: str) -> None:
    found = cli.here("doctor", "--json", **{name: "redis://:planted@elsewhere:1/0"})
    told = [c for c in found.json["checks"] if name in c["text"]]
    assert [(c["check"], c["status"]) for c in told] == [("settings", "warn")]
    assert "planted" not in found.out
    assert checks(cli, **{name: "other"})["redis keys"]["status"] == "ok"


def test_failing_and_dead_assets_are_counted_with_names_and_reasons(
    cli: Cli, r: redis.Redis
) -> None:
    QuotaLimiter(r, Policy(limit=None)).reset()
    queue = PriorityQueue(r, Policy(limit=None))
    verdicts: list[Bury | Retry] = [
        Bury("GBPUSD", Death.TRANSIENT, "HTTP 500"),
        Bury("USDJPY", Death.INVALID, "HTTP 404"),
        Bury("BTCUSD", Death.POISON, "three workers died"),
        Retry("EURUSD", 0, 1, "HTTP 503"),
        Retry("EURUSD", 60_000, 4, "HTTP 502"),
    ]
    for verdict in verdicts:
        queue.enqueue([Request(verdict.symbol, {"ticker": f"C:{verdict.symbol}"})], 1)
        claimed = queue.claim()
        assert isinstance(claimed, Claimed)
        queue.end(claimed, [verdict], answered=True)
    found = cli.here("doctor", "--json").json["checks"]
    told = " | ".join(c["text"] for c in found if c["check"] == "assets")
    assert "2 assets fail: EURUSD (HTTP 502), GBPUSD (HTTP 500)" in told
    assert "1 given up as invalid for a day: USDJPY (HTTP 404)" in told
    assert "Workers died refreshing BTCUSD" in told
    remedies = [c["remedy"] for c in found if "given up as invalid" in c["text"]]
    assert remedies[0].endswith("`assetq dead retry USDJPY`.")
    queue.enqueue([Request("USDJPY", {"ticker": "C:USDJPY"})], 1, revive=True)
    assert "given up as invalid" not in cli.here("doctor").out


def test_an_asset_that_failed_once_is_told_and_is_no_trouble(cli: Cli, r: redis.Redis) -> None:
    QuotaLimiter(r, Policy()).reset()
    queue = PriorityQueue(r, Policy())
    queue.enqueue([Request("EURUSD", {"ticker": "C:EURUSD"})], 1)
    claimed = queue.claim()
    assert isinstance(claimed, Claimed)
    queue.end(claimed, [Retry("EURUSD", 60_000, 4, "HTTP 502")], answered=True)
    (told,) = [c for c in cli.here("doctor", "--json").json["checks"] if c["check"] == "assets"]
    assert told["status"] == "ok"
    assert told["text"] == "1 failed, to be tried again: EURUSD (HTTP 502)"
