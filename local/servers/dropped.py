"""Run a program as `nobody` when we are root: PostgreSQL refuses to run as root.

A clone in root's home lies below a directory of mode 0700 that `nobody` may not enter. Opening it
with chmod would be a trap for the user, so the program keeps one right of root instead: `setpriv`
gives it CAP_DAC_OVERRIDE as an ambient capability (it survives exec), and the securebit
no_setuid_fixup keeps the kernel from taking it away in the moment the user id changes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from local.servers.errors import CannotDropRoot
from local.servers.process import PR_SET_PDEATHSIG


@dataclass(frozen=True)
class Identity:
    """The user a program runs as. `prefix` stands before its argv; `uid` owns its files."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        """Give the file to that user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def choose_identity(
    program: Path, data_dir: Path, env: dict[str, str], stop_signal: int = signal.SIGINT
) -> Identity:
    """Stay ourselves if we are not root, else `nobody` in the first way that can run `program` and
    enter `data_dir` (which exists). Raises CannotDropRoot."""
    if os.geteuid() != 0:
        return Identity()
    nobody = pwd.getpwnam("nobody")
    reasons = []
    probe = ("/bin/sh", "-c", 'cd "$1" && exec "$2" --version', "sh", str(data_dir), str(program))
    for prefix in _prefixes(nobody.pw_uid, nobody.pw_gid, stop_signal):
        try:
            subprocess.run([*prefix, *probe], env=env, cwd="/", check=True,
                           capture_output=True, text=True, timeout=20)  # fmt: skip
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
            reasons.append(f"{Path(prefix[0]).name}: {said[0]}")
        else:
            return Identity(prefix, nobody.pw_uid, nobody.pw_gid)
    raise CannotDropRoot(reasons)


def _prefixes(uid: int, gid: int, stop_signal: int) -> list[tuple[str, ...]]:
    """First with the capability, then without: that works where every parent may be entered."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return [_plain(uid, gid, stop_signal)]
    drop = (setpriv, "--reuid", str(uid), "--regid", str(gid), "--clear-groups")
    # Set here, because changing the user clears the one that our fork has set.
    die_with_parent = ("--pdeathsig", signal.Signals(stop_signal).name)
    keep = (
        "--securebits", "+no_setuid_fixup",
        "--inh-caps", "-all,+dac_override", "--ambient-caps", "-all,+dac_override",
    )  # fmt: skip
    return [drop + keep + die_with_parent, drop + die_with_parent, _plain(uid, gid, stop_signal)]


def _plain(uid: int, gid: int, stop_signal: int) -> tuple[str, ...]:
    """Without setpriv (macOS): an interpreter that changes its user and becomes the program."""
    steps = ["import os,sys,ctypes", f"os.setgroups([]);os.setgid({gid});os.setuid({uid})"]
    if sys.platform == "linux":
        steps.append(f"ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG},{int(stop_signal)})")
    steps.append("os.execv(sys.argv[1],sys.argv[1:])")
    return (sys.executable, "-I", "-S", "-c", ";".join(steps))
