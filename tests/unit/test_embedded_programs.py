"""The Procfile as `assetq up` reads it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from local.servers.errors import EmbeddedError
from local.servers.programs import procfile_commands, program_env, read_procfile


def test_every_process_type_but_release_is_run_workers_first_to_end(project_root: Path) -> None:
    commands = procfile_commands(project_root, Path("/log"), {}, {"worker": 2})
    assert [c.name for c in commands] == ["web", "worker.1", "worker.2", "scheduler"]
    stages = {c.name: c.stage for c in commands}
    assert stages["worker.1"] == stages["worker.2"] < stages["scheduler"] < stages["web"]
    assert {c.log.name for c in commands} >= {"worker.1.log", "web.log"}


def test_signals_reach_the_program_and_not_a_shell(project_root: Path) -> None:
    (web,) = (c for c in procfile_commands(project_root, Path("/log"), {}, {}) if c.name == "web")
    line = read_procfile(project_root / "Procfile")["web"]
    assert web.argv == ("/bin/sh", "-c", f"exec {line}")


def test_comments_and_empty_lines_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("# web: nothing\n\nclock:  tick --every 5\n")
    assert read_procfile(tmp_path / "Procfile") == {"clock": "tick --every 5"}
    with pytest.raises(EmbeddedError, match=r"Procfile cannot be read: No such file"):
        read_procfile(tmp_path / "none" / "Procfile")


def test_programs_find_our_interpreter_first() -> None:
    env = program_env({"REDIS_URL": "redis://here"})
    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert env["REDIS_URL"] == "redis://here"
