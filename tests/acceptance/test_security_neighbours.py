"""Other users of RQ in the same Redis, and what they leave lying about, as real processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from rq import Queue
from rq.registry import FailedJobRegistry

from local.sandbox import SandboxServer
from tests.kit import worker as worker_kit
from tests.kit.ports import own_port
from tests.kit.waiting import answers, eventually
from tests.kit.worker import CRITICAL, Running, Site, process_env, settings_for

WEB_PASSWORD = "MarkWeb86"
SYMBOLS = {a.symbol for a in CRITICAL}


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter") as server:
        yield server


@pytest.fixture
def site(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[Site]:
    settings = settings_for(redis_url, migrated_url, provider.url)
    with Site.open(settings, CRITICAL) as opened:
        yield opened


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


class Neighbour:
    """A program of RQ or rq-scheduler as its own documentation starts it."""

    def __init__(self, stack: ExitStack, log: Path, *argv: str, env: dict[str, str]) -> None:
        self.log = log
        program = str(Path(sys.executable).with_name(argv[0]))
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [program, *argv[1:]], cwd=log.parent, env=env, stdout=out, stderr=out
            )
        stack.callback(self.end)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(60)


def schedule_stock(raw: redis.Redis, path: Path) -> None:
    """An entry as rq-scheduler pickles it, due now."""
    from datetime import UTC, datetime

    from rq_scheduler.scheduler import Scheduler

    at = datetime.now(UTC).replace(tzinfo=None)
    Scheduler("default", connection=raw).enqueue_at(at, os.mkdir, str(path))


def test_neighbours_neither_disturb_nor_are_disturbed(
    site: Site, raw: redis.Redis, redis_url: str, project_root: Path, tmp_path: Path
) -> None:
    env = process_env(
        site.context.settings,
        tmp_path,
        PYTHONUNBUFFERED="1",
        PORT=str(own_port()),
        WEB_PASSWORD=WEB_PASSWORD,
    )
    theirs = Queue("default", connection=raw)
    first = theirs.enqueue(os.mkdir, str(tmp_path / "theirs-queued"))
    broken = theirs.enqueue(os.mkdir, str(tmp_path / "no" / "such" / "place"))
    schedule_stock(raw, tmp_path / "theirs-scheduled")
    with ExitStack() as stack:
        for number, name in enumerate(("scheduler", "worker", "web")):
            one = Running(project_root, name, env, tmp_path / f"{name}{number}.log")
            stack.callback(one.end)
        neighbours = [
            Neighbour(
                stack, tmp_path / "rq.log", "rq", "worker", "-u", redis_url, "default", env=env
            ),
            Neighbour(
                stack, tmp_path / "rqs.log", "rqscheduler", "-u", redis_url, "-i", "1", env=env
            ),
        ]
        for name in ("theirs-queued", "theirs-scheduled"):
            eventually(lambda name=name: (tmp_path / name).is_dir(), what=name)  # type: ignore[misc]
        eventually(lambda: set(site.events()) == SYMBOLS, what="ours")
        eventually(lambda: first.get_status(refresh=True) == "finished")

        # Their failed job is theirs, and ours goes on after they requeue everything they see.
        failed = FailedJobRegistry("default", connection=raw)
        eventually(lambda: broken.id in failed.get_job_ids())
        assert FailedJobRegistry("assetq-massive", connection=raw).get_job_ids() == []
        evil = Queue("assetq-massive", connection=raw).enqueue(os.mkdir, str(tmp_path / "it-ran"))
        refused = FailedJobRegistry("assetq-massive", connection=raw)
        eventually(lambda: evil.id in refused.get_job_ids(), what="refused")
        for registry in (refused, failed):
            for job_id in registry.get_job_ids():
                registry.requeue(job_id)  # what a dashboard of theirs does
        eventually(lambda: evil.id in refused.get_job_ids(), what="refused again")
        session = stack.enter_context(requests.Session())
        session.trust_env, session.auth = False, ("admin", WEB_PASSWORD)
        eventually(lambda: answers(f"http://127.0.0.1:{env['PORT']}/healthz"))
        base = f"http://127.0.0.1:{env['PORT']}/rq"
        for queue in ("default", "assetq-massive"):
            jobs = session.get(f"{base}/0/data/jobs/{queue}/failed/50/asc/1.json", timeout=30)
            assert jobs.ok
            assert session.get(f"{base}/0/data/job/{evil.id}.json", timeout=30).ok
            answer = session.post(f"{base}/requeue/{queue}", timeout=30)
            assert answer.ok, answer.text
        eventually(lambda: evil.id in refused.get_job_ids(), what="refused for ever")
        eventually(lambda: broken.id in failed.get_job_ids(), what="failed again, theirs")
        assert not (tmp_path / "it-ran").exists()

        before = len(site.events())
        site.ask("EURUSD")
        site.ticks.push("drain")
        eventually(lambda: len(site.events()) > before, what="ours goes on")
        assert [one.process.poll() for one in neighbours] == [None, None]
        for name in ("rq.log", "rqs.log"):
            assert "UnicodeDecodeError" not in (tmp_path / name).read_text()
        assert "assetq" not in (tmp_path / "rq.log").read_text()
        mine = [key for key in raw.scan_iter("rq:scheduler*") if b"assetq" in key]
        assert mine == []


class Trap:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("field", ["data", "meta", "result"])
def test_nothing_of_a_job_is_ever_unpickled(
    site: Site, raw: redis.Redis, project_root: Path, tmp_path: Path, field: str
) -> None:
    """By the worker, the scheduler or the pages, wherever in a job's hash it stands."""
    trap = tmp_path / "it-ran"
    armed = pickle.dumps(Trap(str(tmp_path / "armed")))
    pickle.loads(armed)
    assert (tmp_path / "armed").is_dir(), "the trap works"
    tick = site.ticks.push("drain")
    raw.hset(f"rq:job:{tick}", field, pickle.dumps(Trap(str(trap))))
    env = process_env(
        site.context.settings,
        tmp_path,
        PYTHONUNBUFFERED="1",
        PORT=str(own_port()),
        WEB_PASSWORD=WEB_PASSWORD,
    )
    site.ask("EURUSD")
    with ExitStack() as stack:
        web = Running(project_root, "web", env, tmp_path / "web.log")
        stack.callback(web.end)
        session = stack.enter_context(requests.Session())
        session.trust_env, session.auth = False, ("admin", WEB_PASSWORD)
        base = f"http://127.0.0.1:{env['PORT']}/rq/0/data"
        eventually(lambda: answers(f"http://127.0.0.1:{env['PORT']}/healthz"))
        session.get(f"{base}/job/{tick}.json", timeout=30)
        session.get(f"{base}/jobs/assetq-massive/queued/50/asc/1.json", timeout=30)
        worker = Running(project_root, "worker", env, tmp_path / "worker.log")
        stack.callback(worker.end)
        eventually(lambda: raw.llen("rq:queue:assetq-massive") == 0)
        site.ticks.push("drain")
        eventually(lambda: site.events() == ["EURUSD"])
        session.get(f"{base}/jobs/assetq-massive/failed/50/asc/1.json", timeout=30)
        assert worker.process.poll() is None
    assert not trap.exists()
