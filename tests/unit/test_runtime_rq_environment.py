"""Another program's RQ variables redirect nothing of assetq's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.rq_environment import VARIABLES, drop, dropped


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_is_dropped_and_remembered(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for other in VARIABLES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "of-another-program")
    drop()
    assert name not in os.environ
    assert dropped() == [name]
    drop()
    assert dropped() == []


def test_a_worker_that_rq_starts_itself_refuses_to_be_redirected(project_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import worker.rq_config"],
        cwd=project_root,
        env=os.environ | {"RQ_REDIS_URL": "redis://:pw@elsewhere:1/0", "MASSIVE_API_KEY": "k"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "RQ_REDIS_URL would redirect this worker" in done.stderr
    assert "elsewhere" not in done.stderr
