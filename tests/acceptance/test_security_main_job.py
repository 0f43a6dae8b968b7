"""The whole main job under the least rights there are: the ACL user and the role of grants.sql."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import requests

from cli.commands.acl import COMMANDS
from local.sandbox import SandboxServer
from settings import Settings
from tests.acceptance.test_pipeline import Subscriber
from tests.kit import worker as worker_kit
from tests.kit.cli_runs import Cli
from tests.kit.ports import own_port
from tests.kit.security import ALWAYS, SILENT, Recorder, acl_user, least_role
from tests.kit.waiting import answers, eventually
from tests.kit.worker import (
    CRITICAL,
    OTHERS,
    Running,
    Site,
    process_env,
    settings_for,
    traded_yesterday,
)

LIMIT, WINDOW_S = 20, 1.0
ALL = [a.symbol for a in (*CRITICAL, *OTHERS)]
WEB_PASSWORD = "MarkWeb85"
RARE = {
    "script|load": "a script that the server does not know yet",
    "select": "REDIS_URL names another database than 0",
    "discard": "a transaction is given up",
    "lpop": "RQ cleans its list of jobs under way",
    "lmove": "RQ looks without waiting (--burst)",
    "lpos": "rq-dashboard shows a job's place",
    "rename": "rq-dashboard compacts a list",
    "smismember": "`assetq dead list` with dead letters",
    "ttl": "redis-cli, for people",
    "unlink": "`assetq limiter reset`",
    "sscan": "`assetq queue list` for a symbol that is not pending",
    "zcount": "the batch's reservation",
    "zscore": "marks of idleness",
    "hlen": "a batch's record",
    "unwatch": "RQ gives a transaction up",
    "punsubscribe": "the end of `assetq watch`",
}
COMMAND_LINES = (
    *("queue stats", "queue list", "queue peek", "dead list", "limiter status", "schedule list"),
    *("symbols list", "enqueue EURUSD GBPUSD", "limiter consume 1", "limiter block 0.1"),
    *("rebuild", "batch", "drain", "watch --for 1", "doctor"),
)
PAGES = (
    *("/", "/freshness", "/health"),
    *("/health/batch", "/metrics", "/rq/", "/rq/0/view/queues", "/rq/0/data/queues.json"),
    *("/rq/0/data/workers.json", "/rq/0/data/jobs/assetq-massive/finished/50/asc/1.json"),
)


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("spec", limit=LIMIT, window_s=WINDOW_S) as server:
        yield server


def test_the_least_rights_do_the_whole_main_job(
    r: redis.Redis,
    redis_url: str,
    migrated_url: str,
    provider: SandboxServer,
    project_root: Path,
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        least_redis = stack.enter_context(acl_user(r))
        least_postgres = stack.enter_context(least_role(migrated_url))

        def settings(database_url: str) -> Settings:
            return settings_for(
                least_redis,
                database_url,
                provider.url,
                polygon_tier="free",
                polygon_rate_limit=LIMIT,
                rate_window_seconds=WINDOW_S,
                request_timeout_seconds=10,
            )

        owner = stack.enter_context(Site.open(settings(migrated_url)))  # imports the assets
        recorder = Recorder(redis_url)
        stack.callback(recorder.close)
        subscriber = Subscriber(r)
        stack.callback(subscriber.close)
        env = process_env(
            settings(least_postgres),
            tmp_path,
            PYTHONUNBUFFERED="1",
            PORT=str(own_port()),
            WEB_PASSWORD=WEB_PASSWORD,
        )
        fleet = []
        for number, name in enumerate(("scheduler", "worker", "worker", "web")):
            one = Running(project_root, name, env, tmp_path / f"{name}{number}.log")
            stack.callback(one.end)
            fleet.append(one)

        # Batch, secondary round and drains: rows, bars, events, records.
        eventually(lambda: set(owner.events()) == set(ALL), what="every asset")
        eventually(lambda: owner.context.queue.size == 0, what="their bars too")
        assert owner.context.queue.batches(10)[-1].updated == ALL[:3]
        assert owner.context.redis.get(owner.context.keys.secondary)
        for symbol in ALL:
            assert owner.status(symbol) == ("success", None)
        with_bars = owner.one("SELECT count(DISTINCT symbol_id) FROM market_data.ohlcv_5m")
        assert with_bars == len(traded_yesterday((*CRITICAL, *OTHERS)))
        assert owner.one("SELECT count(*) FROM data_sources.api_calls") >= len(ALL)
        eventually(lambda: {json.loads(text)["symbol"] for _, text in subscriber.heard} == set(ALL))

        # People and pages.
        commands = Cli(tmp_path, env)
        for line in COMMAND_LINES:
            done = commands.here(*line.split())
            assert done.code == 0, (line, done)
        assert "0 fail" in done.out
        session = stack.enter_context(requests.Session())
        session.trust_env, session.auth = False, ("admin", WEB_PASSWORD)
        eventually(lambda: answers(f"http://127.0.0.1:{env['PORT']}/healthz"))
        for page in PAGES:
            assert session.get(f"http://127.0.0.1:{env['PORT']}{page}", timeout=30).ok, page
        with session.get(f"http://127.0.0.1:{env['PORT']}/live", stream=True, timeout=30) as live:
            assert next(live.iter_lines()) == b"retry: 1000"
            eventually(lambda: "xread" in recorder.seen, what="the reader of the stream")
        assert [one.terminate(25) for one in reversed(fleet)] == [0, 0, 0, 0]

        # Nothing else worked, nothing was denied, and nothing is granted without use.
        denied = {str(entry["object"]) for entry in r.acl_log() if entry["username"] != "default"}
        assert denied <= {SILENT}, r.acl_log()
        used = set(recorder.seen) - ALWAYS - {SILENT}
        assert used - {"monitor", "acl|log", "acl|setuser"} <= set(COMMANDS)
        assert set(COMMANDS) - used <= set(RARE), "granted without need"
        assert not set(RARE) - set(COMMANDS)
        for one in fleet:
            assert "NOPERM" not in one.output
            assert "Traceback" not in one.output, one.output[-3000:]
