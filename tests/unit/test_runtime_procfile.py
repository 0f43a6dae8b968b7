"""What a process learns from how a Procfile runner started it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.procfile import process_name


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, None),
        ({"HONCHO_PROCESS_NAME": "web.1"}, "web.1"),
        ({"PS": "worker.12"}, "worker.12"),
        ({"FOREMAN_WORKER_NAME": "release.1"}, "release.1"),
        ({"PS": "1.5 GB"}, None),
        ({"PORT": "5000"}, None),
        ({"DYNO": "web.1", "PS": "web.1"}, None),
    ],
)
def test_only_local_runners_name_their_processes(
    environment: dict[str, str], name: str | None
) -> None:
    assert process_name(environment) == name


@pytest.fixture
def program(project_root: Path, tmp_path: Path) -> Path:
    """Says when it runs, that it got SIGTERM, or that its input ended before that."""
    python = tmp_path / "python"
    python.symlink_to(Path(sys.executable).resolve())
    path = tmp_path / "program"
    path.write_text(
        f"#!{python}\n"  # a path without a space, which a shebang cannot hold
        "import signal, sys\n"
        f"sys.path.insert(0, {str(project_root)!r})\n"
        "from runtime.procfile import follow_shell\n"
        "def told(*_):\n"
        "    print('told', flush=True)\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, told)\n"
        "follow_shell()\n"
        "print('runs', flush=True)\n"
        "sys.stdin.read()\n"
        "print('left alone', flush=True)\n"
    )
    path.chmod(0o755)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal is Linux's")
@pytest.mark.parametrize(
    ("line", "outcome"), [("{}", "told"), ("true && {}", "left alone"), ("{} &&true", "left alone")]
)
def test_the_end_of_a_shell_that_waits_for_us_alone(program: Path, line: str, outcome: str) -> None:
    shell = shutil.which("dash")
    if shell is None:
        pytest.skip("dash is not installed here: other shells become the program of their line")
    with subprocess.Popen(
        [shell, "-c", line.format(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "runs\n"
        process.kill()
        process.wait(60)
        if outcome != "told":
            process.stdin.close()
        assert process.stdout.readline() == f"{outcome}\n"
