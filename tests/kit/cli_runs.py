"""Running `assetq` as a user would: the installed command, in a directory and environment of its
own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from cli.main import run

ASSETQ = str(Path(sys.executable).with_name("assetq"))
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def complaints(self) -> list[str]:
        """The lines that name a cause."""
        return [line for line in self.err.splitlines() if line.startswith("assetq: ")]

    def failed(self, code: int, *told: str) -> Done:
        """It ended with this code and one line that tells all of this; and no traceback."""
        assert self.code == code, self
        assert len(self.complaints) == 1, self
        for text in told:
            assert text in self.complaints[0], self
        assert "Traceback" not in self.err + self.out
        return self


@dataclass
class Cli:
    """Runs commands. Everything that they said is kept, to be searched for secrets."""

    cwd: Path
    env: dict[str, str]
    said: list[str] = field(default_factory=list)

    def __call__(self, *args: str, timeout_s: float = 120, **env: str) -> Done:
        done = subprocess.run(
            [ASSETQ, *args],
            cwd=self.cwd,
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        self.said += [done.stdout, done.stderr]
        return Done(done.returncode, done.stdout, done.stderr)

    def here(self, *args: str, **env: str) -> Done:
        """The same in this process: quicker, where nothing depends on a process of its own."""
        out, err = io.StringIO(), io.StringIO()
        before = Path.cwd(), dict(os.environ), sys.stdin
        try:
            os.chdir(self.cwd)
            os.environ.clear()
            os.environ.update(self.environment(**env))
            with Path(os.devnull).open() as sys.stdin, redirect_stdout(out), redirect_stderr(err):
                code = run(args)
        finally:
            os.chdir(before[0])
            os.environ.clear()
            os.environ.update(before[1])
            sys.stdin = before[2]
            structlog.reset_defaults()
        self.said += [out.getvalue(), err.getvalue()]
        return Done(int(code), out.getvalue(), err.getvalue())

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        """A command that runs on; the caller ends it."""
        return subprocess.Popen(
            [ASSETQ, *args],
            cwd=self.cwd,
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return {**kept, "PYTHONUNBUFFERED": "1", "HISTORY_DAYS": "1", **self.env, **more}
