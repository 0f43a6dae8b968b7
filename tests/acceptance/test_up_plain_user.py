"""`assetq up` as a plain user in a clone of their own (the other tests run as who runs pytest)."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.up_runs import UpRun, clean_env, left_running

pytestmark = pytest.mark.slow
PARTS = (
    *("queueing", "market", "db", "worker", "scheduler", "web", "cli", "config"),
    *("settings.py", "Procfile"),
)
# A path with a space cannot stand behind #!: this is how pip begins such a script.
SCRIPT = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
from {module} import {call}
{call}()
"""


@pytest.fixture
def clone_of_nobody(project_root: Path) -> Iterator[tuple[Path, str]]:
    """A clone that belongs to `nobody`, and an interpreter for it with our packages."""
    minor = f"python3.{sys.version_info.minor}"
    found = [p for p in (f"/usr/bin/{minor}", f"/usr/local/bin/{minor}") if Path(p).exists()]
    if os.geteuid() != 0 or not shutil.which("setpriv") or not found:
        pytest.skip(f"needs root, setpriv and a {minor} that another user may run")
    home = Path(tempfile.mkdtemp(prefix="a plain user's "))
    try:
        for part in PARTS:
            source = project_root / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, home / part)
        python = virtual_environment(found[0], home)
        nobody = pwd.getpwnam("nobody")
        for path in (home, *home.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        yield home, python
    finally:
        shutil.rmtree(home)


def virtual_environment(python: str, home: Path) -> str:
    """What `make setup` makes, with links to the packages that are installed here."""
    subprocess.run([python, "-m", "venv", "--without-pip", str(home / ".venv")], check=True)
    ours = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    theirs = next((home / ".venv" / "lib").glob("python*/site-packages"))
    for package in ours.iterdir():
        if "editable" not in package.name:
            (theirs / package.name).symlink_to(package)
    (theirs / "clone.pth").write_text(f"{home}\n")
    own_python = home / ".venv" / "bin" / "python"
    for name, module, call in (
        ("rq", "rq.cli", "main"),
        ("gunicorn", "gunicorn.app.wsgiapp", "run"),
    ):
        script = own_python.with_name(name)
        script.write_text(SCRIPT.format(python=own_python, module=module, call=call))
        script.chmod(0o755)
    return str(own_python)


def test_a_plain_user_in_a_clone_of_their_own(clone_of_nobody: tuple[Path, str]) -> None:
    home, python = clone_of_nobody
    data = home / ".data"
    become = ("setpriv", "--reuid", "nobody", "--regid", "65534", "--clear-groups")
    env = {k: v for k, v in clean_env(data).items() if k != "ASSETQ_DATA_DIR"}
    run = UpRun(home, data, "--for", "5", prefix=become, python=python, env=env)
    try:
        assert run.wait() == 0, run.output
        assert "critical assets: all fresh" in run.output
        assert (data / "valkey").stat().st_uid == pwd.getpwnam("nobody").pw_uid
    finally:
        run.end()
    assert left_running(data) == []
