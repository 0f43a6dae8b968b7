"""README's Deploy pasted in a clone; the processes of ops/systemd killed and started again.

As a plain user, where the test is root; the lines for root are checked in `tests/unit/test_ops.py`.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
import redis

from local.sandbox import SandboxServer
from local.servers.process import dying_with_us
from queueing import Keys
from runtime import heartbeat
from tests.acceptance.test_up_plain_user import BECOME_NOBODY
from tests.kit import worker as worker_kit
from tests.kit.formation import Formation
from tests.kit.ports import own_port
from tests.kit.units import UNITS, Unit, deploy_blocks
from tests.kit.up_runs import refreshed
from tests.kit.waiting import answers, eventually
from tests.kit.worker import process_env, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
CRITICAL = {"XAUUSD", "EURUSD", "BTCUSD"}
KEYS = Keys("massive")


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("spec", limit=5, window_s=60.0) as server:
        yield server


@pytest.fixture
def clone(project_root: Path) -> Iterator[Path]:
    """What git would clone, and what is not committed yet; a plain user's where that can be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=project_root,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip(f"this is no clone: {listed.stderr.strip()}")
    home = Path(tempfile.mkdtemp(prefix="a clone "))
    for name in filter(None, listed.stdout.split("\0")):
        if (project_root / name).exists():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project_root / name, home / name)
    if plain_user():
        nobody = pwd.getpwnam("nobody")
        for path in (home, *home.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    yield home
    shutil.rmtree(home)


def plain_user() -> list[str]:
    """The prefix that makes root a plain user, if that is possible here."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return []
    probe = [*BECOME_NOBODY, sys.executable, "-c", ""]
    return [*BECOME_NOBODY] if subprocess.run(probe, check=False).returncode == 0 else []


def host_environment(clone: Path) -> dict[str, str]:
    """No settings, no virtual environment: a login of somebody who has just cloned it."""
    base = Path(sys.base_prefix) / "bin"
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "LANG"))}
    return {**kept, "HOME": str(clone), "PATH": f"{base}{os.pathsep}{os.defpath}:/usr/sbin"}


def edited(clone: Path, **values: str) -> None:
    """`.env` as its owner would edit it."""
    path = clone / ".env"
    text = path.read_text()
    for name, value in values.items():
        line = f"{name}={value}"
        text, count = re.subn(rf"^{name}=.*$", line, text, flags=re.M)
        text += "" if count else f"{line}\n"
    path.write_text(text)


def fresh(database_url: str) -> set[str]:
    query = b"SELECT symbol FROM trading.symbols WHERE metadata ? 'last_update'"
    with psycopg.connect(database_url) as connection:
        return {row[0] for row in connection.execute(query)}


def test_deploy_as_pasted(
    clone: Path,
    redis_url: str,
    database_url: str,
    provider: SandboxServer,
) -> None:
    env = host_environment(clone)

    def pasted(lines: str) -> str:
        done = subprocess.run(
            [*plain_user(), "bash", "-ec", lines],
            cwd=clone,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    install, start, *_ = deploy_blocks(clone)
    pasted(install)
    assert (clone / ".env").stat().st_mode & 0o077 == 0
    assert pasted("bin/assetq --version").startswith("assetq ")
    edited(
        clone,
        MASSIVE_API_KEY="some-key",
        REDIS_URL=redis_url,
        DATABASE_URL=database_url,
        POLYGON_BASE_URL=provider.url,
    )
    *before, up = start.splitlines()
    pasted("\n".join(before))
    with subprocess.Popen(
        [*plain_user(), "bash", "-c", f"exec {up}"],
        cwd=clone,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=dying_with_us(),
    ) as running:
        assert running.stdout
        lines: list[str] = []
        while not refreshed(lines) >= CRITICAL:
            line = running.stdout.readline()
            assert line, "".join(lines)
            lines.append(line)
        stored = fresh(database_url)
        running.send_signal(signal.SIGINT)
        output = "".join(lines) + running.communicate(timeout=100)[0]
    assert running.returncode == 0, output
    assert "critical assets: all fresh (XAUUSD, EURUSD, BTCUSD)" in output
    assert stored >= CRITICAL


def test_each_process_of_the_units_is_back_within_10_s(
    project_root: Path,
    redis_url: str,
    migrated_url: str,
    provider: SandboxServer,
    tmp_path: Path,
    r: redis.Redis,
) -> None:
    """What systemd does with Restart=always and RestartSec, in a few lines."""
    settings = settings_for(redis_url, migrated_url, provider.url)
    port = own_port()
    env = process_env(settings, tmp_path, PYTHONUNBUFFERED="1", PORT=str(port))
    formation = Formation(project_root, env, tmp_path / "units.log")
    running: dict[str, subprocess.Popen[bytes]] = {}

    def start(unit: Unit) -> None:
        program, *words = unit.exec_start.split()
        here = program.replace("/srv/assetq", str(project_root))
        running[unit.role] = formation.start([here, *words])

    def at_work(role: str) -> bool:
        if role == "web":
            return answers(f"http://127.0.0.1:{port}/healthz")
        pid = running[role].pid
        return any(f"-{pid}-" in seen.name for seen in heartbeat.living(r, KEYS, role))

    def killed_and_back_s(unit: Unit) -> float:
        formation.leaders.remove(running[unit.role])
        running[unit.role].kill()
        assert running[unit.role].wait(60) == -signal.SIGKILL
        killed = time.monotonic()
        eventually(lambda: time.monotonic() > killed + unit.restart_s)
        start(unit)
        eventually(partial(at_work, unit.role), what=formation.output)
        took_s = time.monotonic() - killed
        print(f"{unit.role}: at work again after {took_s:.1f} s")
        return took_s

    units = [Unit.read(project_root, name) for name in UNITS]
    try:
        for unit in units:
            start(unit)
        for unit in units:
            eventually(partial(at_work, unit.role), what=formation.output)
            # A busy machine may be slow to start a process; what the unit itself takes, it takes
            # each time.
            assert any(killed_and_back_s(unit) < 10 for _ in range(3))
        assert formation.stop() == [0] * len(units), formation.output
    finally:
        formation.end()
    assert "Traceback" not in formation.output
