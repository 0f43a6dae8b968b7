"""Our own processes: what the Procfile says, and the sandbox API."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import requests

from local.servers.errors import EmbeddedError
from local.servers.process import Command
from local.servers.server import Server

# Workers end first, so that they can still write and complete what they do; servers end last.
_STAGES = {"worker": 0, "scheduler": 10, "web": 20}
_STAGE_OTHERS = 15
_STAGE_SANDBOX = 30
_STOP_TIMEOUT_S = 25.0
_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


def read_procfile(path: Path) -> dict[str, str]:
    """Process type → command line. The Procfile is the one place where these stand."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise EmbeddedError(f"{path} cannot be read: {error.strerror}") from error
    found = (_LINE.fullmatch(line.strip()) for line in lines if not line.lstrip().startswith("#"))
    return {match[1]: match[2] for match in found if match}


def procfile_commands(
    root: Path, log_dir: Path, env: Mapping[str, str], counts: Mapping[str, int]
) -> list[Command]:
    """Every long-running process of the Procfile (`release` is none), `counts` times (default 1).
    Named `worker.1`, `worker.2`, or just `web` where there is one."""
    commands = []
    for kind, line in read_procfile(root / "Procfile").items():
        count = counts.get(kind, 1)
        for number in range(1, (0 if kind == "release" else count) + 1):
            name = kind if count == 1 else f"{kind}.{number}"
            commands.append(
                Command(
                    name=name,
                    argv=("/bin/sh", "-c", f"exec {line}"),  # exec: signals reach the program
                    log=log_dir / f"{name}.log",
                    env=env,
                    cwd=root,
                    stop_timeout_s=_STOP_TIMEOUT_S,
                    stage=_STAGES.get(kind, _STAGE_OTHERS),
                )
            )
    return commands


def program_env(values: Mapping[str, str]) -> dict[str, str]:
    """The environment of our processes: this one's with `values`, our interpreter first on PATH,
    and output that reaches the log line by line."""
    here = str(Path(sys.executable).parent)
    path = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **values}


class SandboxProcess(Server):
    """The sandbox API as a process: `python -m local.sandbox`. `limit` is calls per `window_s`,
    None for the plan's own."""

    name = "sandbox"

    def __init__(
        self,
        root: Path,
        log: Path,
        env: Mapping[str, str],
        *,
        plan: str = "spec",
        limit: int | None = None,
        window_s: float = 60.0,
        prefer_port: int = 0,
    ) -> None:
        super().__init__(prefer_port=prefer_port, log=log)
        self._root, self._env = root, env
        self._options = ["--plan", plan, "--window-s", f"{window_s:g}"]
        self._options += [] if limit is None else ["--limit", str(limit)]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Command:
        """The sandbox as a process of its own."""
        module = (sys.executable, "-m", "local.sandbox", "--port", str(self.port))
        return Command(
            name=self.name,
            argv=(*module, *self._options),
            log=self.log,
            env=self._env,
            cwd=self._root,
            stop_timeout_s=10.0,
            stage=_STAGE_SANDBOX,
        )

    def answers(self, pid: int) -> bool:
        """True once it tells of itself."""
        try:
            with requests.Session() as session:
                session.trust_env = False  # a proxy knows nothing of our loopback
                return session.get(f"{self.url}/_sandbox/summary", timeout=2).ok
        except requests.RequestException:
            return False
