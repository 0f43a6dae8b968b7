"""Whatever is raised between a claim and its end, the call ends as what it is.

Only a process that died counts towards poison; what concerns every worker is told in any case.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from redis.exceptions import ResponseError

from local.sandbox import SandboxServer
from queueing import Priority
from runtime import failpoints, heartbeat
from runtime.failpoints import Point
from runtime.logs import configure
from tests.kit import worker as worker_kit
from tests.kit.waiting import eventually
from tests.kit.worker import Running, Site, process_env, settings_for
from worker.drain import Drained
from worker.ticks import BATCH

CALL = [
    Point.CLAIMED,
    Point.SEND_BEFORE,
    Point.ANSWERED,
    Point.PROVIDER_TOLD,
    Point.WRITE_BEFORE,
    Point.COMMIT_BEFORE,
    Point.COMMITTED,
    Point.END_BEFORE,
    Point.ENDED,
]
"""Every step of a call between its claim and the drain's next one."""
SUCCESS = [point for point in CALL if point is not Point.PROVIDER_TOLD]
TOLD = [point for point in CALL if point is not Point.ANSWERED]
DEFECTS = [
    KeyError("price"),
    OSError(errno.EPIPE, "Broken pipe"),
    RecursionError("too deep"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ResponseError("ERR user_script:1: a defect"),
]


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """As in a worker; structlog's own way draws each traceback, which takes seconds."""
    configure()
    yield
    structlog.reset_defaults()


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter") as server:
        yield server


@pytest.fixture
def site(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[Site]:
    given = settings_for(
        redis_url, migrated_url, provider.url, retry_max_attempts=2, retry_delay_seconds=0
    )
    with Site.open(given) as opened:
        opened.capabilities.refuse("snapshot_v3", "one asset per call, please")
        yield opened


@pytest.fixture
def raise_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Point]]:
    """Raises an error at a point, the first `times` times; returns the points reached."""

    def order(point: Point, error: BaseException, times: int = 1) -> list[Point]:
        seen: list[Point] = []

        def reached(now: Point) -> None:
            seen.append(now)
            if now is point and seen.count(point) <= times:
                raise error

        monkeypatch.setattr(failpoints, "on_reached", reached)
        return seen

    return order


@pytest.fixture
def dead_log() -> Callable[[str], list[str]]:
    """A log that raises for one event; returns the events that were tried."""
    tried: list[str] = []

    def kill(name: str) -> list[str]:
        def dead(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
            tried.append(event["event"])
            if event["event"] == name:
                raise OSError(errno.ENOSPC, "No space left on device")
            return ""

        structlog.configure(processors=[dead])
        return tried

    return kill


def run(site: Site) -> Drained:
    """A drain as a worker has it, which opens PostgreSQL anew where a defect broke the session."""
    return site.drain(slice_s=60, reconnecting=True).run()


def assert_no_crash(site: Site) -> None:
    r, keys = site.context.redis, site.context.keys
    assert r.zcard(keys.leases) == 0
    for symbol in r.hkeys(keys.items):
        assert site.item(str(symbol)).crashes == 0
    assert all(letter.kind != "poison" for letter in site.context.queue.dead())


@pytest.mark.parametrize("error", DEFECTS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("point", SUCCESS, ids=lambda p: p.name)
def test_a_defect_at_any_step_costs_an_attempt_at_most(
    site: Site, raise_at: Callable[..., list[Point]], point: Point, error: BaseException
) -> None:
    site.ask("XAUUSD", "EURUSD", at=Priority.CRITICAL)
    raise_at(point, error)
    assert run(site).ended == "empty"
    assert set(site.events()) == {"XAUUSD", "EURUSD"}
    assert site.context.queue.size == 0
    assert_no_crash(site)


@pytest.mark.parametrize("point", CALL, ids=lambda p: p.name)
def test_a_defect_that_stays_spends_the_attempts_of_its_items(
    site: Site, provider: SandboxServer, raise_at: Callable[..., list[Point]], point: Point
) -> None:
    site.ask("XAUUSD", at=Priority.CRITICAL)
    if point is Point.PROVIDER_TOLD:
        provider.configure({"kind": "server_error", "count": 50})
    raise_at(point, KeyError("always"), times=1000)
    run(site)
    assert site.context.queue.size == 0
    letters = site.context.queue.dead()
    assert all(letter.kind == "transient" for letter in letters)
    assert len(provider.arrivals()) <= 3
    if point not in (Point.COMMITTED, Point.END_BEFORE, Point.ENDED):
        assert letters[0].attempts == 3
    assert_no_crash(site)


@pytest.mark.parametrize("point", TOLD, ids=lambda p: p.name)
@pytest.mark.parametrize(
    ("fault", "blocked"),
    [
        ({"kind": "rate_limited", "retry_after_s": 40}, True),
        ({"kind": "empty_429"}, True),
        ({"kind": "refusal"}, False),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_what_concerns_every_worker_is_told_whatever_is_raised(
    site: Site,
    provider: SandboxServer,
    raise_at: Callable[..., list[Point]],
    point: Point,
    fault: dict[str, Any],
    blocked: bool,
) -> None:
    provider.configure(fault | {"count": 1})
    site.ask("XAUUSD", at=Priority.CRITICAL)
    asked_in_vain = point in (Point.CLAIMED, Point.SEND_BEFORE)
    raise_at(point, BrokenPipeError())
    site.drain(slice_s=3, reconnecting=True).run()
    status = site.context.limiter.status()
    if blocked:
        assert status.blocked_until_ms > status.now_ms
        assert len(provider.arrivals()) == 1, "nobody calls while the provider says so"
        assert site.item("XAUUSD").attempts == int(asked_in_vain)
    else:
        assert "snapshot" in site.capabilities.refused()
    assert_no_crash(site)


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        ("refresh.done", None),
        ("call.failed", {"kind": "server_error", "count": 1}),
        ("refresh.failed", {"kind": "server_error", "count": 1}),
        ("call.failed", {"kind": "rate_limited", "retry_after_s": 40}),
        ("call.defect", None),
    ],
)
def test_a_log_that_cannot_be_written_costs_no_call(
    site: Site,
    provider: SandboxServer,
    dead_log: Callable[[str], list[str]],
    raise_at: Callable[..., list[Point]],
    event: str,
    fault: dict[str, Any] | None,
) -> None:
    if fault:
        provider.configure(fault)
    if event == "call.defect":
        raise_at(Point.SEND_BEFORE, KeyError("x"))
    tried = dead_log(event)
    site.ask("XAUUSD", at=Priority.CRITICAL)
    waits = bool(fault and fault["kind"] == "rate_limited")  # to the end of each slice
    for _ in range(3):
        try:
            site.drain(slice_s=1.0 if waits else 60, reconnecting=True).run()
        except OSError:  # out of the last resort's own line: the call has ended before
            assert event == "call.defect"
    assert event in tried
    assert len(provider.arrivals()) <= 2
    assert_no_crash(site)
    if fault and fault["kind"] == "rate_limited":
        status = site.context.limiter.status()
        assert status.blocked_until_ms > status.now_ms
    else:
        assert site.events() == ["XAUUSD"]


def test_a_worker_without_a_log_keeps_to_a_429(
    site: Site, provider: SandboxServer, project_root: Path, tmp_path: Path
) -> None:
    provider.configure({"kind": "rate_limited", "retry_after_s": 60})
    site.ask("XAUUSD", at=Priority.CRITICAL)
    site.ask("EURUSD", "BTCUSD", at=Priority.CRITICAL)
    env = process_env(site.context.settings, tmp_path)
    worker = Running(project_root, "worker", env, Path("/dev/full"))
    try:
        site.ticks.ensure_drain()
        eventually(lambda: len(provider.arrivals()) == 1)
        site.ticks.push(BATCH, "1", urgent=True)
        eventually(lambda: bool(site.context.queue.batches(1)))
        assert worker.process.poll() is None
        redis, keys = site.context.redis, site.context.keys
        (name,) = eventually(lambda: heartbeat.unlogged(redis, keys))
        assert [p.name for p in heartbeat.processes(redis, keys)] == [name]
        assert worker.terminate(25) == 0
        assert heartbeat.unlogged(redis, keys) == []
    finally:
        worker.end()
    assert len(provider.arrivals()) == 1
    assert_no_crash(site)
