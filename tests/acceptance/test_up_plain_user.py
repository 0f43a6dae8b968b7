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

from tests.kit.rooms import ROOMS
from tests.kit.up_runs import UpRun, clean_env, left_running

pytestmark = pytest.mark.slow
CRITICAL = ("XAUUSD", "EURUSD", "BTCUSD")
PARTS = (*ROOMS, "Procfile", "bin")
# May read everything, as our interpreter may lie in root's home; may write only what is theirs.
BECOME_NOBODY = (
    *("setpriv", "--reuid", "nobody", "--regid", "65534", "--clear-groups"),
    *("--securebits", "+no_setuid_fixup", "--inh-caps", "-all,+dac_read_search"),
    *("--ambient-caps", "-all,+dac_read_search"),
)


@pytest.fixture
def clone(project_root: Path) -> Iterator[Path]:
    """A clone that belongs to `nobody`."""
    probe = [*BECOME_NOBODY, sys.executable, "-c", ""]
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become another user, with setpriv")
    if subprocess.run(probe, check=False).returncode != 0:
        pytest.skip("this root may not pass on the right to read")
    home = Path(tempfile.mkdtemp(prefix="a plain user's "))
    for part in PARTS:
        source = project_root / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, home / part)
    nobody = pwd.getpwnam("nobody")
    for path in (home, *home.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    yield home
    shutil.rmtree(home)


def test_a_plain_user_in_a_clone_of_their_own(clone: Path) -> None:
    data = clone / ".data"
    env = clean_env(data, PYTHONPATH=str(clone))
    del env["ASSETQ_DATA_DIR"]  # the default
    run = UpRun(clone, data, prefix=BECOME_NOBODY, env=env)
    try:
        run.until_refreshed(CRITICAL)
        owners = {path.owner() for path in data.glob("*")}
        run.press_ctrl_c()
        assert run.wait() == 0, run.output
        assert "critical assets: all fresh" in run.output, run.output
        assert owners == {"nobody"}
    finally:
        run.end()
    assert left_running(data) == []
