"""A log that cannot be written: real processes whose standard error is full, broken or closed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

LINES = 50
PROGRAM = f"""
import logging, sys, structlog
from runtime.logs import configure
configure()
log = structlog.get_logger()
for n in range({LINES}):
    log.warning("told", n=n, text="x" * 2000)
    logging.getLogger("rq.worker").warning("a library, %s", n)
print("worked")
"""
AGAIN = """
import os
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
log.warning("again")
"""


def python(
    program: str, *arguments: str, stderr: int | None, env: dict[str, str] | None = None
) -> str:
    """Run it; what it printed. It must end in order, and soon."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, **(env or {})},
        text=True,
        timeout=60,
        check=True,
    )
    assert time.monotonic() - began < 30
    return done.stdout


def full() -> Iterator[int]:
    """Every write fails with ENOSPC."""
    fd = os.open("/dev/full", os.O_WRONLY)
    yield fd
    os.close(fd)


def broken() -> Iterator[int]:
    """Every write fails with EPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def hung_up() -> Iterator[int]:
    """Every write fails with EIO: the terminal is gone."""
    master, slave = pty.openpty()
    os.close(master)
    yield slave
    os.close(slave)


def read_only() -> Iterator[int]:
    """Every write fails with EBADF."""
    fd = os.open("/dev/null", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture(params=[full, broken, hung_up, read_only], ids=lambda kind: kind.__name__)
def bad(request: pytest.FixtureRequest) -> Iterator[int]:
    yield from request.param()


def test_work_goes_on_and_the_lost_lines_are_reported(bad: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert python(PROGRAM + AGAIN, str(log), stderr=bad) == "worked\n"
    lost, again = log.read_text().strip().splitlines()
    assert f"event='log.lost' lines={2 * LINES}" in lost
    assert "event='again'" in again


def test_what_a_forked_process_loses_its_parent_knows_until_a_look_finds_it_writable(
    tmp_path: Path,
) -> None:
    """A worker writes little itself: its work-horses do."""
    program = """
import os, sys, structlog
from runtime.logs import configure, is_lost
configure()
assert not is_lost()
if os.fork() == 0:
    configure()
    structlog.get_logger().info("lost")
    os._exit(0)
os.wait()
assert is_lost()
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), 2)
assert not is_lost()
print("worked")
"""
    with open("/dev/full", "wb") as stderr:
        assert python(program, str(tmp_path / "log"), stderr=stderr.fileno()) == "worked\n"
    assert "event='log.lost' lines=1" in (tmp_path / "log").read_text()


def test_a_closed_standard_error() -> None:
    command = 'exec "$0" -c "$1" 2>&-'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, PROGRAM],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == b"worked\n"


def test_a_pipe_that_nobody_reads_holds_nothing_up() -> None:
    reader, writer = os.pipe()
    assert python(PROGRAM, stderr=writer) == "worked\n"
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        seen = stream.read().decode().splitlines()
    assert 10 < len(seen) < 2 * LINES
    assert all("event=" in line for line in seen[:-1]), "lines are whole"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "utf-16"])
def test_streams_of_any_encoding(encoding: str) -> None:
    reader, writer = os.pipe()
    program = PROGRAM.replace('"told"', r'"5 \u20ac, \udc80"')
    python(program.replace("2000", "2"), stderr=writer, env={"PYTHONIOENCODING": encoding})
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        seen = stream.read().decode(encoding)
    assert seen.count("event='5 ") == LINES
    assert ("\u20ac" in seen) == encoding.startswith("utf")


def test_a_value_that_cannot_be_shown() -> None:
    program = PROGRAM.replace("text=", "bad=type('Odd', (), {'__repr__': lambda s: 1 / 0})(), x=")
    assert python(program, stderr=subprocess.DEVNULL) == "worked\n"
