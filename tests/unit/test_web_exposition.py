"""/metrics: what it says, and that Prometheus' own rules of naming hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from health.causes import Level
from health.facts import Facts
from health.metrics import LATENCY, QUEUE_SIZE, RATE_LIMIT_WAITS, SUCCESS_RATE
from queueing import BOUNDS_MS, Histogram
from runtime.heartbeat import Process
from tests.unit.test_health_rules import FACTS, REDIS_DOWN, STATE
from web.exposition import COUNTERS, exposition

ABBREVIATED = {"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"}
NOT_BASE = {"milliseconds", "minutes", "hours", "days", "percent", "kilobytes", "bits"}
ODD_NAME = 'worker@a"b\nc-1'
ENDS = {"gauge": {""}, "counter": {"_total"}, "histogram": {"_bucket", "_sum", "_count"}}
TIMES = [
    Histogram(name, label, (1,) * (len(BOUNDS_MS[name]) + 1), 2_500)
    for name, label in (("wait", "1"), ("call", "ok"), ("batch", ""))
]
COUNTED = {"granted:1": 3, "waits:reserved": 2, "idle_ms": 1500, "holds": 1}


def families(facts: Facts, level: Level = Level.HEALTHY) -> list[Metric]:
    text, content_type = exposition(facts, level)
    assert content_type.startswith("text/plain")
    return list(text_string_to_metric_families(text.decode()))


def samples(found: Iterable[Metric]) -> dict[str, float]:
    """E.g. `assetq_status{status=healthy}` → 1."""
    return {
        sample.name
        + "".join(f"{{{k}={v}}}" for k, v in sorted(sample.labels.items())): sample.value
        for family in found
        for sample in family.samples
    }


def facts_with(counters: dict[str, int]) -> Facts:
    state = replace(STATE, counters=counters, processes=[Process(ODD_NAME, 10)], histograms=TIMES)
    return replace(FACTS, state=state)


def test_what_it_says() -> None:
    found = samples(families(facts_with(COUNTED)))
    expected = {
        "assetq_status{status=healthy}": 1,
        "assetq_status{status=unhealthy}": 0,
        "assetq_server_up{server=redis}": 1,
        "assetq_queued_items{priority=critical}": 0,
        "assetq_quota_free_calls": 5,
        "assetq_granted_calls_total{priority=critical}": 3,
        "assetq_waits_total{reason=reserved}": 2,
        "assetq_idle_seconds_total": 1.5,
        "assetq_holds_total": 1,
        f"assetq_heartbeat_age_seconds{{process={ODD_NAME}}}{{role=worker}}": 0.01,
        "assetq_last_batch_timestamp_seconds": STATE.batches[0].record.planned_at_ms / 1000,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_the_watched_metrics_are_in_base_units() -> None:
    metrics = [SUCCESS_RATE.of(75), LATENCY.of(1500), QUEUE_SIZE.of(7), RATE_LIMIT_WAITS.of(11)]
    found = samples(families(replace(FACTS, state=replace(STATE, metrics=metrics))))
    assert found["assetq_batch_priority_success_ratio"] == 0.75
    assert found["assetq_batch_priority_latency_seconds"] == 1.5
    assert found["assetq_queue_size"] == 7
    assert found["assetq_api_rate_limit_waits"] == 11
    assert found["assetq_alert{metric=batch.priority.success_rate}"] == 1
    assert found["assetq_alert{metric=queue.size}"] == 0


def test_names_follow_the_rules_of_prometheus() -> None:
    """Those that `promtool check metrics` applies."""
    counters = {f"{name}:x" if label else name: 1 for name, (_, label, _) in COUNTERS.items()}
    found = families(facts_with(counters | {"idle_ms": 1}))
    assert len({family.name for family in found}) == len(found)
    for family in found:
        assert family.documentation.endswith("."), family.name
        words = family.name.split("_")
        assert words[0] == "assetq"
        assert not {*words} & (ABBREVIATED | NOT_BASE), family.name
        assert not {*words} & {"counter", "gauge", "info"}, family.name
        assert words[-1] not in ("total", "sum", "count", "bucket"), family.name
        ends = {sample.name.removeprefix(family.name) for sample in family.samples}
        assert ends == ENDS[family.type], family.name
        for sample in family.samples:
            assert all(re.fullmatch("[a-z_]+", label) for label in sample.labels)


def test_every_metric_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    counters = {f"{name}:x" if label else name: 1 for name, (_, label, _) in COUNTERS.items()}
    for sample in samples(families(facts_with(counters | {"idle_ms": 1}))):
        name = sample.partition("{")[0].removeprefix("assetq_")
        assert f"`{name}`" in page, name


def test_openmetrics_where_it_is_asked_for() -> None:
    text, content_type = exposition(
        facts_with(COUNTED), Level.HEALTHY, "application/openmetrics-text; version=1.0.0"
    )
    assert content_type.startswith("application/openmetrics-text")
    assert list(openmetrics.text_string_to_metric_families(text.decode()))


def test_every_counter_of_the_scripts_is_shown() -> None:
    lua = files("queueing") / "lua"
    texts = [
        p.read_text() for folder in (lua, lua / "lib") for p in folder.iterdir() if p.is_file()
    ]
    counted = {name for text in texts for name in re.findall(r"\bcount\('(\w+)", text)}
    assert counted == {*COUNTERS, "idle_ms"}


def test_a_counter_without_a_label_is_there_before_it_first_counts() -> None:
    found = samples(families(facts_with({})))
    names = [family for family, label, _ in COUNTERS.values() if label is None]
    assert [found.get(f"assetq_{name}_total") for name in [*names, "idle_seconds"]] == [
        0 for _ in (*names, "idle_seconds")
    ]


@pytest.mark.parametrize("strange", ["odd-name:x", "waits", "holds:x", 'x"y'])
def test_counters_of_an_external_writer_are_left_out(strange: str) -> None:
    assert (
        samples(families(facts_with({strange: 1}))).keys()
        == samples(families(facts_with({}))).keys()
    )


def test_buckets_of_a_histogram_add_up() -> None:
    found = samples(families(facts_with({})))
    of = "assetq_batch_seconds"
    assert found[f"{of}_bucket{{le=1}}"] == 1
    assert found[f"{of}_bucket{{le=30}}"] == 5, "the threshold of the alert is a bound"
    assert found[f"{of}_bucket{{le=+Inf}}"] == found[f"{of}_count"] == 9
    assert found[f"{of}_sum"] == 2.5


@pytest.mark.parametrize("reason", ["hold", "blocked", "breaker", "policy", "spacing"])
def test_no_call_remains_while_calls_are_held(reason: str) -> None:
    held = replace(STATE.quota, urgent=(STATE.quota.now_ms + 1, reason))
    found = samples(families(replace(FACTS, state=replace(STATE, quota=held))))
    assert found["assetq_quota_free_calls"] == 5
    assert found["assetq_quota_remaining_calls"] == 0


def test_without_a_limit_its_families_are_absent() -> None:
    state = replace(STATE, quota=replace(STATE.quota, limit=None, free=None))
    found = {family.name for family in families(replace(FACTS, state=state))}
    assert not found & {"assetq_quota_limit_calls", "assetq_quota_free_calls"}


def test_without_redis() -> None:
    found = samples(families(replace(FACTS, state=None, redis=REDIS_DOWN), Level.UNHEALTHY))
    assert found["assetq_server_up{server=redis}"] == 0
    assert found["assetq_status{status=unhealthy}"] == 1
    assert "assetq_delayed_items" not in found
