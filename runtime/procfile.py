"""What a process learns from how a Procfile runner started it."""

import ctypes
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_RUNNERS = ("HONCHO_PROCESS_NAME", "PS", "FOREMAN_WORKER_NAME")
"""Name a process: set by honcho, by Ruby's foreman (and the units it exports), by npm's foreman."""


def process_name(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return this process' name, such as `web.1`, where honcho or a foreman runs the Procfile.

    None on a host with dynos or containers, which sets PORT only where it routes requests.
    """
    if "DYNO" in environment:
        return None
    names = (environment.get(runner, "") for runner in _RUNNERS)
    return next((name for name in names if re.fullmatch(r"[\w-]+\.\d+", name)), None)


def follow_shell() -> None:
    """Take SIGTERM from the kernel when `sh -c LINE` ends, if this process is LINE (Linux).

    Debian's sh does not become the program of its line: a runner that signals its child alone ends
    the shell only. A shell that was told to do more than LINE (`nohup LINE &`) is left to end.
    """
    shell = os.getppid()
    if sys.platform != "linux" or not _runs_only(shell, sys.argv):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != shell:  # it ended just before
        os.kill(os.getpid(), signal.SIGTERM)


def _runs_only(shell: int, argv: list[str]) -> bool:
    try:
        words = Path(f"/proc/{shell}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return False
    return len(words) > 2 and words[1] == "-c" and words[2].split() == argv
