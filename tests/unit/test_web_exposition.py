"""/metrics in Prometheus' text format."""

from __future__ import annotations

import re
from dataclasses import replace

from health.rules import Level
from runtime.heartbeat import Process
from tests.unit.test_health_rules import FACTS, STATE
from web.exposition import exposition

SAMPLE = re.compile(
    r'[a-z_:]+(\{[a-z_]+="([^"\\\n]|\\["\\n])*"(,[a-z_]+="([^"\\\n]|\\["\\n])*")*\})? -?[0-9.e+]+'
)


def lines(text: str) -> list[str]:
    assert text.endswith("\n")
    return text.splitlines()


def test_every_line_has_the_format_and_every_family_one_head() -> None:
    counters = {"granted:1": 3, "waits:reserved": 2, "idle_ms": 1500, "odd-name:x": 1, "holds": 1}
    state = replace(STATE, counters=counters, processes=[Process('worker@a"\\\n-1', 10)])
    found = lines(exposition(replace(FACTS, state=state), Level.HEALTHY))
    heads = [line.split()[2] for line in found if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))
    samples = [line for line in found if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples), samples
    assert {re.split(r"[ {]", line)[0] for line in samples} == set(heads)
    for line in (
        'assetq_status{status="healthy"} 1',
        'assetq_status{status="unhealthy"} 0',
        'assetq_server_up{server="redis"} 1',
        'assetq_queue_items{priority="critical"} 0',
        "assetq_quota_free_calls 5",
        'assetq_granted_total{priority="1"} 3',
        'assetq_waits_total{reason="reserved"} 2',
        "assetq_idle_seconds_total 1.5",
        'assetq_alert_value{metric="batch.priority.success_rate"} 100',
        'assetq_process_seen_seconds{role="worker",process="worker@a\\"\\\\\\n-1"} 0.01',
        f"assetq_last_batch_timestamp_seconds {STATE.batches[0].record.planned_at_ms // 1000}",
    ):
        assert line in found


def test_without_a_limit_its_families_are_absent() -> None:
    state = replace(STATE, quota=replace(STATE.quota, limit=None, free=None))
    text = exposition(replace(FACTS, state=state), Level.HEALTHY)
    assert "quota_limit_calls" not in text
    assert "quota_free_calls" not in text


def test_without_redis() -> None:
    text = exposition(replace(FACTS, state=None, redis="refused"), Level.UNHEALTHY)
    assert 'assetq_server_up{server="redis"} 0' in text
    assert 'assetq_status{status="unhealthy"} 1' in text
    assert "queue_items" not in text
