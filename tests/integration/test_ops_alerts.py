"""Alerts and dashboard: Prometheus' own tool reads them against the real output of /metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import requests
import yaml
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from rq.registry import FailedJobRegistry

from health.observe import Observer
from local.servers.process import dying_with_us
from queueing import (
    Batch,
    BatchOutcome,
    Bury,
    Claimed,
    Death,
    Done,
    Priority,
    Request,
    Retry,
)
from runtime.context import Context
from runtime.heartbeat import beat, gone
from settings import Settings
from tests.kit.ports import own_port
from tests.kit.promtool import ALERTS, Looks, constant, firing, promtool, rules
from tests.kit.waiting import answers, eventually
from tests.kit.worker import Running, process_env
from web.app import create_app
from worker.rq_classes import TickJob
from worker.ticks import Ticks, rq_queue

Case = tuple[Mapping[str, str], Looks]
DASHBOARD = Path(__file__).parents[2] / "ops" / "grafana" / "assetq.json"

PROVOKED = {
    "AssetqDown": ('up{job="assetq"}', "1x5 0x20 1x20"),
    "AssetqUnhealthy": ('assetq_status{status="unhealthy"}', "0x5 1x20 0x20"),
    "AssetqServerRefuses": ('assetq_server_up{server="redis"}', "1x5 0x20 1x20"),
    "AssetqNoWorker": ('assetq_cause{cause="worker",level="unhealthy"}', "_x5 1x20 stale"),
    "AssetqNoScheduler": ('assetq_cause{cause="scheduler",level="unhealthy"}', "_x5 1x20 stale"),
    "AssetqCriticalStale": ('assetq_assets{priority="critical",state="stale"}', "0x5 2x20 0x20"),
    "AssetqBatchLate": ('assetq_cause{cause="batch",level="unhealthy"}', "_x5 1x20 stale"),
    "AssetqQuotaBlocked": ("assetq_quota_blocked", "0x5 1x20 0x20"),
    "AssetqQuotaHeld": ("assetq_quota_held", "0x5 1x20 0x20"),
    "AssetqProviderFails": ("assetq_breaker_open", "0x5 1x20 0x20"),
    "AssetqDeadLetters": ("assetq_dead_items", "0x5 3x20 0x20"),
    "AssetqPoison": ('assetq_cause{cause="poison",level="degraded"}', "_x5 1x20 stale"),
    "AssetqTicksFail": ("assetq_failed_ticks", "0x5 2x20 0x20"),
    "AssetqBatchSuccessLow": ("assetq_batch_priority_success_ratio", "1x5 0.8x20 0.9x20"),
    "AssetqBatchSlow": ("assetq_batch_priority_latency_seconds", "30x5 31x20 30x20"),
    "AssetqQueueLong": ("assetq_queue_size", "500x5 501x20 500x20"),
    "AssetqRateLimitWaits": ("assetq_api_rate_limit_waits", "10x5 11x20 10x20"),
}
"""Alert → a series that provokes it from minute 6 on and clears it from minute 27 on."""


def test_every_alert_fires_and_clears(tmp_path: Path) -> None:
    names = {rule["alert"] for rule in rules()}
    assert names == {*PROVOKED, "AssetqQuotaIdle"}
    cases: list[Case] = [
        ({series: values}, [(4, []), (25, [name]), (40, [])])
        for name, (series, values) in PROVOKED.items()
    ]
    idle = {"assetq_idle_seconds_total": "0x5 0+60x60 3600x40", "assetq_quota_limit_calls": "5x110"}
    firing(tmp_path, *cases, (idle, [(5, []), (60, ["AssetqQuotaIdle"]), (100, [])]))


@pytest.fixture
def settings(redis_url: str, migrated_url: str) -> Settings:
    return Settings.model_validate({"REDIS_URL": redis_url, "DATABASE_URL": migrated_url})


@pytest.fixture
def context(settings: Settings) -> Iterator[Context]:
    with Context.open(settings) as context:
        yield context


@pytest.fixture
def site(settings: Settings, context: Context) -> FlaskClient:
    """A web process beside a system in which everything has happened once."""
    context.limiter.reset()
    live(context)
    with psycopg.connect(settings.database_url) as connection:
        connection.execute(
            "INSERT INTO trading.symbols (symbol, polygon_ticker, asset_type, priority)"
            " VALUES ('BTCUSD', 'X:BTCUSD', 'crypto', 1)"
        )
    now_ms = context.redis_now_ms()
    fetched(settings, now_ms)
    batch = Batch("1", now_ms, now_ms + 300_000, 300_000, 1, ("BTCUSD",))
    context.queue.enqueue([Request("BTCUSD")], 1, batch=batch)
    claimed = context.queue.claim()
    assert isinstance(claimed, Claimed)
    context.queue.end(claimed, [Done("BTCUSD")], answered=True, took_ms=90)
    context.redis.hincrby(context.keys.counters, "idle_ms", 5)
    return create_app(settings).test_client()


def live(context: Context) -> None:
    """Worker and scheduler have just sent a heartbeat."""
    for role in ("worker", "scheduler"):
        beat(context.redis, context.keys, role)


def scraped(site: FlaskClient) -> dict[str, float]:
    """What a scrape brings, by series."""
    text = site.get("/metrics").get_data(as_text=True)
    return {
        sample.name
        + "{"
        + ",".join(f"{k}={json.dumps(v)}" for k, v in sample.labels.items())
        + "}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_promtool_finds_nothing_to_say_about_names(site: FlaskClient) -> None:
    assert promtool("check", "metrics", text=site.get("/metrics").data).strip() == ""


def expressions() -> list[str]:
    """Of each alert, and of each panel of the dashboard."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(shown) > 20
    return [rule["expr"] for rule in rules()] + shown


def test_every_expression_reads_what_there_is(site: FlaskClient, tmp_path: Path) -> None:
    known = {series.partition("{")[0] for series in scraped(site)}
    recorded = []
    for number, text in enumerate(expressions()):
        used = set(re.findall(r"\bassetq_\w+", text))
        assert used <= known, f"{used - known} of {text!r}"
        expr = text.replace("$__rate_interval", "5m")
        recorded.append({"record": f"job:expression_{number}", "expr": expr})
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": recorded}]}))
    promtool("check", "rules", str(path))


def bury(context: Context, kind: Death) -> None:
    context.queue.enqueue([Request("EURUSD")], 2)
    claimed = context.queue.claim()
    assert isinstance(claimed, Claimed)
    context.queue.end(claimed, [Bury("EURUSD", kind, "why")], answered=True)


def fail(context: Context) -> None:
    """Let calls for different items fail until the circuit breaker opens."""
    names = [f"FAILS{n}" for n in range(5)]
    context.queue.enqueue(map(Request, names), 2)
    while not context.limiter.status().breaker.open:
        context.redis.zremrangebyrank(context.keys.window, 0, -2)  # these calls are long over
        claimed = context.queue.claim()
        assert isinstance(claimed, Claimed), claimed
        [item] = claimed.items
        retry = Retry(item.symbol, 60_000, 4, "ProviderDown: 502")
        context.queue.end(claimed, [retry], answered=True, failed=True)
    context.queue.cancel(names)


def hold(context: Context, ms: int) -> None:
    context.redis.hset(context.keys.quota, "hold_until", context.redis_now_ms() + ms)


def fail_a_tick(context: Context) -> None:
    ticks = Ticks(context.redis, context.keys)
    job = TickJob.fetch(ticks.push("drain"), connection=ticks.queue.connection)
    ticks.queue.remove(job)
    ticks.queue.failed_job_registry.add(job, ttl=TickJob.FAILURE_TTL_S)
    ticks.close()


def forget_failed_ticks(context: Context) -> None:
    registry = FailedJobRegistry(rq_queue(context.keys), connection=context.redis)
    context.redis.delete(registry.key)


def settle(context: Context, slot: str, *, took_ms: int = 10, error: str | None = None) -> None:
    """A batch of this slot, which has ended after this time, well or not."""
    outcomes = {"BTCUSD": BatchOutcome("failed" if error else "current", error)}
    now_ms = context.redis_now_ms()
    batch = Batch(slot, now_ms - took_ms, now_ms + 1, 300_000, 0, ("BTCUSD",), outcomes)
    context.queue.enqueue([], Priority.CRITICAL, batch=batch)
    records = context.keys.batch_records
    head = json.loads(str(context.redis.hget(records, slot)))
    head |= {"started_at_ms": now_ms - took_ms}
    context.redis.hset(records, slot, json.dumps(head))


def forget(context: Context, slot: str) -> None:
    context.redis.zrem(context.keys.batches, slot)


def fill(context: Context) -> None:
    context.queue.enqueue([Request(f"MANY{n}") for n in range(501)], 3)


def empty(context: Context) -> None:
    context.queue.cancel([f"MANY{n}" for n in range(501)])


def wait_often(context: Context) -> None:
    now_ms = context.redis_now_ms()
    context.redis.zadd(context.keys.waits, {f"call{n}": now_ms for n in range(11)})


Change = Callable[[Context], object]
PROVOKE: dict[str, tuple[Change, Change]] = {
    "AssetqQuotaBlocked": (
        lambda c: c.limiter.block(600_000, "429"),
        lambda c: c.limiter.block(0, "lifted", force=True),
    ),
    "AssetqQuotaHeld": (lambda c: hold(c, 60_000), lambda c: hold(c, 0)),
    "AssetqProviderFails": (fail, lambda c: c.limiter.reset()),
    "AssetqDeadLetters": (
        lambda c: bury(c, Death.INVALID),
        lambda c: c.queue.drop_dead(["EURUSD"]),
    ),
    "AssetqPoison": (lambda c: bury(c, Death.POISON), lambda c: c.queue.drop_dead(["EURUSD"])),
    "AssetqTicksFail": (fail_a_tick, forget_failed_ticks),
    "AssetqBatchSuccessLow": (
        lambda c: settle(c, "2", error="ProviderDown: 502"),
        lambda c: forget(c, "2"),
    ),
    "AssetqBatchSlow": (lambda c: settle(c, "3", took_ms=90_000), lambda c: forget(c, "3")),
    "AssetqQueueLong": (fill, empty),
    "AssetqRateLimitWaits": (wait_often, lambda c: c.redis.delete(c.keys.waits)),
    "AssetqNoWorker": (
        lambda c: gone(c.redis, c.keys, "worker"),
        lambda c: beat(c.redis, c.keys, "worker"),
    ),
    "AssetqNoScheduler": (
        lambda c: gone(c.redis, c.keys, "scheduler"),
        lambda c: beat(c.redis, c.keys, "scheduler"),
    ),
}
"""Alert → how to provoke and to clear it."""
ALONG = {"AssetqPoison": ["AssetqDeadLetters"]}
"""Alert → those that fire with it."""


def fetched(settings: Settings, at_ms: int) -> None:
    """Let the asset's price have been fetched at this instant."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
    price = {"last_price": 1, "observed_at_ms": at_ms, "timestamp": at, "as_of": at}
    with psycopg.connect(settings.database_url) as connection:
        connection.execute(
            "UPDATE trading.symbols SET metadata = jsonb_build_object('last_update', %s::jsonb)",
            (json.dumps(price),),
        )


def test_a_running_system_provokes_and_clears_alerts(
    site: FlaskClient, context: Context, settings: Settings, tmp_path: Path
) -> None:
    cases: list[Case] = []

    def fires(*expected: str) -> None:
        cases.append((constant(scraped(site)), [(18, expected)]))

    fires()
    for name, (provoke, clear) in PROVOKE.items():
        live(context)  # a busy machine may take half a minute for all of them
        provoke(context)
        fires(name, *ALONG.get(name, ()))
        clear(context)
        fires()
    live(context)
    now_ms = context.redis_now_ms()
    fetched(settings, now_ms - 200_000_000)
    fires("AssetqCriticalStale")
    fetched(settings, now_ms)
    fires()
    firing(tmp_path, *cases)


def test_a_system_without_batches_is_an_alert_until_one_begins(
    site: FlaskClient, context: Context, tmp_path: Path
) -> None:
    observer: Observer = site.application.extensions["assetq"]
    observer._began -= 3600
    observer._last_seen_ms.clear()
    forget(context, "1")
    late = constant(scraped(site))
    settle(context, "2")
    firing(
        tmp_path,
        (late, [(18, ["AssetqBatchLate", "AssetqUnhealthy"])]),
        (constant(scraped(site)), [(18, [])]),
    )


def test_permits_that_lie_idle_are_an_alert(
    site: FlaskClient, context: Context, tmp_path: Path
) -> None:
    """Between two scrapes, a minute apart, 30 slot-seconds were idle."""
    name = "assetq_idle_seconds_total{}"
    before = scraped(site)
    context.redis.hincrby(context.keys.counters, "idle_ms", 30_000)
    after = scraped(site)
    step = after[name] - before[name]
    idle = constant(after, 60) | {name: f"{before[name]:g}+{step:g}x60"}
    firing(tmp_path, (idle, [(50, ["AssetqQuotaIdle"])]), (constant(after, 60), [(50, [])]))


def test_a_refusing_database_is_an_alert(
    site: FlaskClient, settings: Settings, tmp_path: Path
) -> None:
    away = settings.model_copy(update={"database_url_given": "postgresql://u@127.0.0.1:1/d"})
    found = scraped(create_app(away).test_client())
    assert found['assetq_server_up{server="postgresql"}'] == 0
    looks = [(18, ["AssetqServerRefuses", "AssetqUnhealthy"])]
    firing(tmp_path, (constant(found), looks), (constant(scraped(site)), [(18, [])]))


@contextmanager
def prometheus(tmp_path: Path, scraped_port: int) -> Iterator[Callable[[], set[str]]]:
    """A real one with these rules, which does not wait where they say minutes. Yields a look at
    what fires."""
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("prometheus is not installed here (Debian: apt install prometheus)")
    (tmp_path / "alerts.yml").write_text(re.sub(r"for: \d+m", "for: 0s", ALERTS.read_text()))
    every = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "300ms")
    target = {"targets": [f"127.0.0.1:{scraped_port}"]}
    config = {
        "global": every,
        "scrape_configs": [{"job_name": "assetq", "static_configs": [target]}],
        "rule_files": ["alerts.yml"],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{own_port()}"
    with ExitStack() as stack:
        process = subprocess.Popen(
            [
                found,
                "--config.file=prometheus.yml",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address={address}",
                "--log.level=error",
            ],
            cwd=tmp_path,
            preexec_fn=dying_with_us(),
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        session = stack.enter_context(requests.Session())
        session.trust_env = False

        def fires() -> set[str]:
            answer = session.get(f"http://{address}/api/v1/alerts", timeout=30).json()
            alerts = answer["data"]["alerts"]
            return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}

        eventually(lambda: answers(f"http://{address}/-/ready"), what="prometheus is ready")
        yield fires


def test_prometheus_itself_tells_whether_the_web_process_answers(
    settings: Settings, context: Context, project_root: Path, tmp_path: Path
) -> None:
    """Nobody else can: `up` is its own. The worker's alert shows that it reads what we tell."""
    context.limiter.reset()
    settings = settings.model_copy(update={"api_key": SecretStr("unused")})
    port = own_port()
    env = process_env(settings, tmp_path, PORT=str(port))
    with prometheus(tmp_path, port) as fires:
        eventually(lambda: fires() == {"AssetqDown"})
        web = Running(project_root, "web", env, tmp_path / "web.log")
        try:
            eventually(lambda: "AssetqNoWorker" in fires() and "AssetqDown" not in fires())
            assert web.terminate(20) == 0
            eventually(lambda: "AssetqDown" in fires())
        finally:
            web.end()


def test_each_alert_is_provoked_here() -> None:
    others = {"AssetqUnhealthy", "AssetqServerRefuses", "AssetqCriticalStale"}
    others |= {"AssetqBatchLate", "AssetqQuotaIdle", "AssetqDown"}
    assert {rule["alert"] for rule in rules()} == {*PROVOKE, *others}
