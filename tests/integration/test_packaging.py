"""An installed assetq has all that the clone has: scripts, SQL, pages, data."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOMS = ("config", "queueing", "market", "db", "worker", "scheduler", "web", "cli")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "recorded")


def test_the_wheel_holds_every_file_of_every_room(project_root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "settings.py"):
        shutil.copy(project_root / name, copy)
    for room in ROOMS:
        shutil.copytree(project_root / room, copy / room, ignore=LEFT_OUT)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path), str(copy)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    here = [path for room in ROOMS for path in (copy / room).rglob("*") if path.is_file()]
    wanted = {path.relative_to(copy).as_posix() for path in here} | {"settings.py"}
    assert {"config/catalogue.csv", "queueing/lua/claim.lua", "db/sql/grants.sql"} <= wanted
    assert wanted - packed == set()
