"""The rooms: imports run downwards only, and the checkout works without being installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.rooms import FLOORS, ROOMS

LINT = Path(sys.executable).parent / "lint-imports"
ABOVE = [
    (upper, lower)
    for level, floor in enumerate(FLOORS)
    for upper in sorted(floor)
    for lower in sorted(set().union(*FLOORS[level + 1 :]))
]


@pytest.fixture(scope="module")
def copy(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources alone, outside the checkout."""
    root = tmp_path_factory.mktemp("checkout")
    for part in (*ROOMS, "bench", "bin"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(project_root / part, root / part, ignore=ignore)
    shutil.copy(project_root / "pyproject.toml", root)
    return root


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(root)}
    command = [str(LINT), "--no-cache"]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)


def test_imports_run_downwards(copy: Path) -> None:
    assert lint(copy).returncode == 0


@pytest.mark.parametrize(
    ("upper", "lower"), [("worker", "queueing"), ("cli", "runtime"), ("web", "db")]
)
def test_an_import_upwards_fails_lint(copy: Path, upper: str, lower: str) -> None:
    assert (upper, lower) in ABOVE
    planted = copy / lower / "planted.py"
    planted.write_text(f"def late() -> object:\n    import {upper}\n\n    return {upper}\n")
    try:
        done = lint(copy)
    finally:
        planted.unlink()
    assert done.returncode != 0
    assert f"{lower}.planted -> {upper}" in done.stdout


def test_the_command_runs_from_the_checkout_alone(copy: Path, tmp_path: Path) -> None:
    """As on a host that installs requirements.txt only, from any folder."""
    command = [sys.executable, "-I", str(copy / "bin" / "assetq"), "symbols", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    where = "import sys; sys.argv = ['x']; import cli; print(cli.__file__)"
    code = f"import sys; sys.path.insert(0, {str(copy)!r}); {where}"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(copy / "cli" / "__init__.py")
