"""The Procfile's web line beside a real worker and scheduler."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from db.connection import connect
from db.symbols import SymbolRepository
from local.sandbox import SandboxServer
from local.servers.process import dying_with_us
from local.servers.programs import program_env, read_procfile
from settings.catalogue import read_assets
from tests.kit.ports import own_port
from tests.kit.up_runs import clean_env
from tests.kit.waiting import answers, eventually

PASSWORD = "a-password-of-the-test"


def environment(data: Path, **given: str) -> dict[str, str]:
    """A host's: nothing of this shell's settings, our programs first on PATH."""
    return {**clean_env(data), "PATH": program_env({})["PATH"], **given}


class Processes:
    """Process types of the Procfile, each started as a host would."""

    def __init__(self, root: Path, logs: Path, env: dict[str, str]) -> None:
        self._root, self._logs, self.env = root, logs, env
        self._lines = read_procfile(root / "Procfile")
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, kind: str) -> subprocess.Popen[bytes]:
        with (self._logs / f"{kind}.log").open("ab") as log:
            self._running[kind] = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {self._lines[kind]}"],
                cwd=self._root,
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dying_with_us(),
            )
        return self._running[kind]

    def log(self, kind: str) -> str:
        return (self._logs / f"{kind}.log").read_text()

    def stop(self, kind: str) -> int:
        process = self._running.pop(kind)
        process.send_signal(signal.SIGTERM)
        return process.wait(28)

    def end(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def processes(
    project_root: Path, tmp_path: Path, redis_url: str, migrated_url: str, sandbox: SandboxServer
) -> Iterator[Processes]:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many(read_assets())
    env = environment(
        tmp_path,
        REDIS_URL=redis_url,
        DATABASE_URL=migrated_url,
        POLYGON_BASE_URL=sandbox.url,
        MASSIVE_API_KEY="sandbox",
        PORT=str(own_port()),
        WEB_PASSWORD=PASSWORD,
    )
    found = Processes(project_root, tmp_path, env)
    yield found
    found.end()


def test_from_a_lonely_web_process_to_healthy_and_back(processes: Processes) -> None:
    url = f"http://127.0.0.1:{processes.env['PORT']}"
    session = requests.Session()
    session.trust_env = False

    def health() -> dict[str, Any]:
        answer = session.get(f"{url}/health/batch", timeout=30)
        assert answer.headers["Content-Type"] == "application/json"
        return dict(answer.json())

    processes.start("web")
    eventually(lambda: answers(f"{url}/healthz"))
    body = health()
    assert body["status"] == "degraded", body["reasons"]
    assert [c["cause"] for c in body["causes"]] == ["scheduler", "worker"], "not their symptoms"

    processes.start("scheduler")
    processes.start("worker")
    # Where a slot begins meanwhile, its batch may wait a window for its calls.
    healthy = eventually(lambda: (b := health())["status"] == "healthy" and b, 150, every_s=0.2)
    assert [job["id"] for job in healthy["jobs"]] == ["every-batch", "every-secondary"]
    assert healthy["metrics"]["batch.priority.success_rate"]["value"] == 100
    assert healthy["last_priority_update"]
    assert 0 <= healthy["api_calls_remaining"] <= 2

    assert session.get(f"{url}/rq/", timeout=30).status_code == 401
    session.auth = ("admin", PASSWORD)
    workers = session.get(f"{url}/rq/0/data/workers.json", timeout=30).json()["workers"]
    assert [worker["queues"] for worker in workers] == [["assetq-massive"]]
    page = f"{url}/rq/0/data/jobs/assetq-massive/finished/50/asc/1.json"
    started = page.replace("finished", "started")

    def ticks() -> set[str]:
        rows = [row for at in (page, started) for row in session.get(at, timeout=30).json()["jobs"]]
        return {row["description"].split()[0] for row in rows}

    eventually(lambda: ticks() >= {"batch", "secondary"}, every_s=0.2)
    assert "assetq_queued_items" in session.get(f"{url}/metrics?secret=x", timeout=30).text
    session.get(f"{url}/nothing%0Aforged%20line", timeout=30)

    assert processes.stop("worker") == 0
    eventually(lambda: any("No worker is alive" in reason for reason in health()["reasons"]))
    assert processes.stop("scheduler") == 0
    session.close()
    assert processes.stop("web") == 0
    log = processes.log("web")
    assert '"GET /metrics" 200' in log
    assert '"GET /nothing%0Aforged%20line" 404' in log
    for secret in ("secret", PASSWORD, "Traceback", "web.defect"):
        assert secret not in log


@pytest.mark.parametrize(
    ("given", "bind"), [({}, "127.0.0.1:8000"), ({"PORT": "5055"}, "0.0.0.0:5055")]
)
def test_loopback_unless_a_port_is_given(
    project_root: Path, tmp_path: Path, given: dict[str, str], bind: str
) -> None:
    line = read_procfile(project_root / "Procfile")["web"]
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {line} --print-config"],
        cwd=project_root,
        env=environment(tmp_path, **given),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert re.search(r"^bind\s+= \['(.*)'\]", done.stdout, re.MULTILINE)[1] == bind  # type: ignore[index]
    assert re.search(r"^graceful_timeout\s+= 20$", done.stdout, re.MULTILINE)


def test_settings_that_make_no_sense_are_one_line(project_root: Path, tmp_path: Path) -> None:
    line = read_procfile(project_root / "Procfile")["web"]
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {line}"],
        cwd=project_root,
        env=environment(tmp_path, BATCH_INTERVAL_MINUTES="never"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 3
    (message,) = (done.stdout + done.stderr).splitlines()
    assert message.startswith("assetq: BATCH_INTERVAL_MINUTES='never'")
