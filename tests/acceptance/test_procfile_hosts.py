"""The Procfile under what hosts and developers start it with: all run, and end in order."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from local.sandbox import SandboxServer
from local.servers.programs import read_procfile
from queueing import Keys
from runtime import heartbeat
from tests.kit import worker as worker_kit
from tests.kit.formation import Formation, listening
from tests.kit.ports import own_port
from tests.kit.waiting import answers, eventually
from tests.kit.worker import process_env, settings_for

pytestmark = pytest.mark.slow
CRITICAL = {"XAUUSD", "EURUSD", "BTCUSD"}
TYPES = ("web", "worker", "scheduler")


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("spec") as server:
        yield server


@dataclass
class Site:
    """The stores of a formation, and what runs on them."""

    formation: Formation
    redis: redis.Redis
    database_url: str
    provider: SandboxServer
    port: int
    keys: Keys

    def command(self, *words: str) -> str:
        done = subprocess.run(
            ["bin/assetq", *words],
            cwd=self.formation.root,
            env=dict(self.formation.env),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done
        return done.stdout

    def fresh(self) -> set[str]:
        """Assets with a price."""
        with psycopg.connect(self.database_url) as connection:
            rows = connection.execute(
                "SELECT symbol FROM trading.symbols WHERE metadata ? 'last_update'"
            )
            return {row[0] for row in rows}

    def runs(self) -> None:
        """Critical assets are refreshed; every process is there and says so."""
        eventually(lambda: self.fresh() >= CRITICAL, 120, what=self.formation.output)
        for role in ("worker", "scheduler"):
            eventually(partial(heartbeat.living, self.redis, self.keys, role), what=role)
        url = f"http://127.0.0.1:{self.port}/healthz"
        eventually(lambda: answers(url), what=f"{url}: {self.formation.output}")

    def calls(self) -> int:
        """Calls whose answers are stored."""
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute("SELECT count(*) FROM data_sources.api_calls").fetchone()
            return int(row[0]) if row else 0

    def in_a_call(self) -> None:
        """A worker waits for an answer, which takes a second."""
        self.provider.configure({"kind": "delay", "min_s": 1.0, "max_s": 1.0})
        eventually(
            lambda: len(self.provider.arrivals()) > self.calls(), 30, what="a call in flight"
        )

    def nothing_is_left(self, *, waits_5_s: bool = False) -> None:
        """The call in hand was finished, and all took their signal themselves: killed processes
        would still stand in the registries. A runner that waits for 5 s only may kill some, on a
        busy machine; their work-horse finishes the call all the same."""
        assert not self.redis.zcard(self.keys.leases)
        assert self.calls() == len(self.provider.arrivals()), self.formation.output
        assert "Traceback" not in self.formation.output
        if waits_5_s and "SIGKILL" in self.formation.output:
            return
        assert heartbeat.processes(self.redis, self.keys) == []
        assert not self.redis.smembers("rq:workers")
        assert "SIGKILL" not in self.formation.output


@pytest.fixture
def site(
    redis_url: str,
    database_url: str,
    provider: SandboxServer,
    project_root: Path,
    tmp_path: Path,
) -> Iterator[Site]:
    settings = settings_for(redis_url, database_url, provider.url, POLYGON_TIER="free")
    port = own_port()
    env = process_env(
        settings, tmp_path, POLYGON_RATE_LIMIT="100", PYTHONUNBUFFERED="1", HOME=str(tmp_path)
    )
    if Path(sys.prefix) == project_root / ".venv":  # not activated: it is found
        env["PATH"] = os.environ.get("PATH", os.defpath)
    formation = Formation(project_root, env, tmp_path / "formation.log")
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        found = Site(formation, client, database_url, provider, port, Keys("massive"))
        found.command("migrate")
        found.command("symbols", "import")
        yield found
        formation.end()


def tool(name: str, how: str) -> str:
    """The path of a program; without it the test is skipped, and says so."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed here ({how})")
    return path


def honcho() -> list[str]:
    return [str(Path(sys.executable).with_name("honcho")), "start"]


def ruby_foreman() -> list[str]:
    # Five seconds, its default, would not do for a call that hangs.
    return [tool("foreman", "apt install ruby-foreman"), "start", "-t", "25"]


def npm_foreman() -> list[str]:
    return [tool("nf", "npm install --global foreman"), "start"]


@pytest.mark.parametrize("runner", [honcho, ruby_foreman, npm_foreman])
def test_a_runner_of_the_whole_procfile(site: Site, runner: Callable[[], list[str]]) -> None:
    formation = site.formation
    formation.start(runner(), PORT=str(site.port))
    site.runs()
    assert len(read_procfile(formation.root / "Procfile")) == 4
    for kind in (*TYPES, "release"):
        formation.pid_of(kind)  # `release` has done its work, and ends no other process
    assert listening(formation.pids()) == {f"127.0.0.1:{site.port}"}
    site.in_a_call()
    formation.stop(like_ctrl_c=runner is npm_foreman)  # which knows SIGINT only
    site.nothing_is_left(waits_5_s=runner is honcho)


def test_a_release_that_stays_ends_well_under_two_signals(site: Site) -> None:
    """honcho passes Ctrl-C on and sends its own SIGTERM: here both are there when it wakes up."""
    leader = site.formation.start(["bin/assetq", "release"], HONCHO_PROCESS_NAME="release.1")
    eventually(lambda: "stays" in site.formation.output)
    for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        leader.send_signal(number)
    assert leader.wait(120) == 0, site.formation.output
    assert "Traceback" not in site.formation.output


def test_honcho_starts_nothing_again(site: Site) -> None:
    """What docs/deployment.md says of it: the end of one ends all; restarts are a host's."""
    formation = site.formation
    leader = formation.start(honcho(), PORT=str(site.port))
    site.runs()
    os.kill(formation.pid_of("scheduler"), signal.SIGKILL)
    assert leader.wait(120) != 0
    eventually(lambda: not formation.pids())


def plain_shell(shell: str) -> Callable[[str], list[str]]:
    name, *applet = shell.split()
    return lambda line: [tool(name, f"apt install {name}"), *applet, "-c", line]


def herokuish(line: str) -> list[str]:
    """Dokku: `exec setuidgid USER $(eval echo LINE)`."""
    become = tool("setuidgid", "apt install daemontools")
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    return ["bash", "-c", f'exec {become} root $(eval echo "{line}")']


def exec_with_a_name(line: str) -> list[str]:
    """What units of `foreman export systemd` run."""
    return ["bash", "-lc", f'exec -a "app-process.1" {line}']


def buildpack(line: str) -> list[str]:
    """The launcher of cloud-native buildpacks, for a Procfile's line."""
    return ["bash", "-c", 'exec bash -c "$@"', "launcher", line]


SHELLS = [plain_shell(shell) for shell in ("sh", "bash", "busybox sh", "zsh")]  # sh: often dash
NAMES = ["sh", "bash", "busybox", "zsh"]
HOSTS = [herokuish, exec_with_a_name, buildpack]


@pytest.mark.parametrize(
    "wrapped", [*SHELLS, *HOSTS], ids=[*NAMES, "herokuish", "exec-a", "buildpack"]
)
def test_each_line_as_a_host_runs_it(site: Site, wrapped: Callable[[str], list[str]]) -> None:
    formation = site.formation
    lines = read_procfile(formation.root / "Procfile")
    formation.start(wrapped(lines["release"])).wait(120)
    assert formation.leaders.pop().returncode == 0, formation.output
    for kind in TYPES:
        formation.start(wrapped(lines[kind]), PORT=str(site.port), DYNO=f"{kind}.1")
    site.runs()
    assert listening(formation.pids()) == {f"0.0.0.0:{site.port}"}
    site.in_a_call()
    codes = formation.stop()
    site.nothing_is_left()
    # Debian's sh stays in between and dies of the signal; all others become the program.
    assert set(codes) <= {0, -signal.SIGTERM}
    if wrapped in HOSTS:
        assert codes == [0, 0, 0]


def test_the_units_that_foreman_exports(site: Site, tmp_path: Path) -> None:
    """Read and run as systemd would: its ExecStart, directory and environment."""
    foreman = tool("foreman", "apt install ruby-foreman")
    target = tmp_path / "units"
    subprocess.run(
        [foreman, "export", "systemd", target, "-a", "assetq", "-u", "root", "-p", str(site.port)],
        cwd=site.formation.root,
        env=dict(site.formation.env),
        check=True,
        capture_output=True,
    )
    units = {path.stem: path.read_text() for path in target.glob("assetq-*.service")}
    assert set(units) == {f"assetq-{kind}.1" for kind in (*TYPES, "release")}
    for text in units.values():
        given: dict[str, Any] = dict(re.findall(r'^Environment="?(\w+)=(.*?)"?$', text, re.M))
        (directory,) = re.findall(r"^WorkingDirectory=(.*)$", text, re.M)
        assert directory == str(site.formation.root)
        ((shell, flags, line),) = re.findall(r"^ExecStart=(\S+) (\S+) '(.*)'$", text, re.M)
        # A login shell of Debian forgets our PATH: bin/assetq finds its own interpreter.
        site.formation.start([shell, flags, line], **given)
    site.runs()
    assert listening(site.formation.pids()) == {f"127.0.0.1:{site.port}"}
    site.in_a_call()
    assert site.formation.stop() == [0, 0, 0, 0]
    site.nothing_is_left()
