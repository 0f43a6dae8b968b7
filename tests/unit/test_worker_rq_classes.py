"""Jobs are JSON, forgotten after a day, and run nothing but ticks."""

from __future__ import annotations

import json
import pickle
import zlib
from typing import Any

import fakeredis
import pytest
from rq import Callback, Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

import worker.tasks
from queueing import Keys
from worker.rq_classes import (
    KEEP_FAILED,
    TICK_FUNCTIONS,
    ForeignJob,
    TickJob,
    TickWorker,
    check_ours,
)
from worker.ticks import BATCH, DRAIN, JOB_TIMEOUT_S, SECONDARY, Ticks, rq_queue


@pytest.fixture
def connection() -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis(server=fakeredis.FakeServer())


@pytest.fixture
def ticks(connection: fakeredis.FakeRedis) -> Ticks:
    return Ticks(connection, Keys())


@pytest.mark.parametrize("kind", [BATCH, SECONDARY, DRAIN])
def test_a_tick_is_json_bounded_in_time_and_forgotten(
    ticks: Ticks, connection: fakeredis.FakeRedis, kind: str
) -> None:
    job_id = ticks.push(kind, "1763923200")
    raw: Any = connection.hgetall(f"rq:job:{job_id}")
    data = raw[b"data"]
    assert json.loads(zlib.decompress(data)) == [
        f"worker.tasks.{kind}",
        None,
        ["1763923200"],
        {},
    ]
    assert int(raw[b"timeout"]) == JOB_TIMEOUT_S
    assert int(raw[b"failure_ttl"]) == 24 * 3600
    assert 0 < int(raw[b"result_ttl"]) <= 3600


def test_every_tick_names_a_function_that_exists() -> None:
    for name in TICK_FUNCTIONS:
        module, _, function = name.rpartition(".")
        assert module == "worker.tasks"
        assert callable(getattr(worker.tasks, function))


def test_ids_never_repeat_and_tell_their_kind(ticks: Ticks) -> None:
    ids = {ticks.push(DRAIN) for _ in range(50)}
    assert len(ids) == 50
    assert all(i.startswith("drain-") for i in ids)


def test_one_drain_tick_at_most_waits(ticks: Ticks) -> None:
    assert ticks.ensure_drain() is True
    assert ticks.ensure_drain() is False
    ticks.queue.empty()
    assert ticks.ensure_drain() is True


def test_a_drain_makes_room_for_every_other_tick_but_not_for_a_drain(ticks: Ticks) -> None:
    ticks.push(DRAIN)
    assert not ticks.others_waiting()
    ticks.push(SECONDARY)
    assert ticks.others_waiting()
    assert ticks.waiting(SECONDARY)
    assert not ticks.waiting(BATCH)


def test_urgent_goes_to_the_front(ticks: Ticks) -> None:
    ticks.push(DRAIN)
    ticks.push(BATCH, urgent=True)
    assert [i.partition("-")[0] for i in ticks.queue.job_ids] == [BATCH, DRAIN]


def test_a_job_without_a_serializer_is_json(connection: fakeredis.FakeRedis) -> None:
    """rq-scheduler cannot be told which one to use."""
    job = TickJob.create("worker.tasks.drain", connection=connection)
    assert job.serializer is JSONSerializer
    job.save()
    assert TickJob.fetch(job.id, connection=connection).failure_ttl == 24 * 3600


@pytest.mark.parametrize("name", ["os.system", "worker.tasks.bench", "worker.tasks.drain ", ""])
def test_other_functions_are_not_ours(connection: fakeredis.FakeRedis, name: str) -> None:
    with pytest.raises(ForeignJob, match="it names the function"):
        check_ours(TickJob.create(name or "x.y", connection=connection))


def test_a_pickle_is_never_opened(connection: fakeredis.FakeRedis) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle from Redis was opened",))

    job = Job.create("worker.tasks.drain", args=(1,), connection=connection, id="theirs")
    job.save()
    connection.hset("rq:job:theirs", "data", zlib.compress(pickle.dumps(Trap())))
    fetched = TickJob.fetch("theirs", connection=connection)
    with pytest.raises(ForeignJob, match="not JSON"):
        check_ours(fetched)


def test_a_job_cannot_bring_callbacks_or_addresses(connection: fakeredis.FakeRedis) -> None:
    queue = Queue(rq_queue(Keys()), connection=connection, serializer=JSONSerializer)
    queue.enqueue(
        "worker.tasks.drain",
        job_id="trap",
        on_success=Callback("os.system"),
        on_failure=Callback("os.system"),
        on_stopped=Callback("os.system"),
        webhooks=[
            Webhook("http://127.0.0.1:1/", "finished"),
            Webhook("http://127.0.0.1:1/", "failed"),
        ],
    )
    assert connection.hget("rq:job:trap", "stopped_callback_name") == b"os.system"
    job = TickJob.fetch("trap", connection=connection)
    assert job.success_callback is None
    assert job.failure_callback is None
    assert job.stopped_callback is None
    assert job.webhooks == []
    check_ours(job)


def test_of_many_failed_ticks_in_a_row_fifty_are_kept(connection: fakeredis.FakeRedis) -> None:
    queue = Queue(
        rq_queue(Keys()),
        connection=connection,
        serializer=JSONSerializer,
        job_class=TickJob,
    )
    worker = TickWorker([queue], connection=connection, serializer=JSONSerializer)
    failed = [queue.enqueue("worker.tasks.drain") for _ in range(KEEP_FAILED + 20)]
    for job in failed:
        queue.remove(job)
        worker.handle_job_failure(job, queue, exc_string="a traceback")
    kept = queue.failed_job_registry.get_job_ids()
    assert len(kept) == KEEP_FAILED == 50
    jobs: Any = connection.keys("rq:job:*")
    assert {key.decode().removeprefix("rq:job:") for key in jobs} == set(kept)
