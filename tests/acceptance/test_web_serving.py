"""The web process under clients that dawdle: real sockets to the real gunicorn."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from local.servers.process import dying_with_us
from tests.kit.ports import own_port
from tests.kit.up_runs import clean_env
from tests.kit.waiting import eventually

# The limits are shorter than in production, so that the tests need not wait for them.
STARTED = """
import sys
import web.live
import web.serving
web.serving.HEAD_S = 3.0
web.live.HEARTBEAT_S = 1.0
from gunicorn.app.wsgiapp import WSGIApplication
sys.argv = ["gunicorn", "--config", "web/gunicorn_config.py", "web.app:application"]
WSGIApplication().run()
"""
PASSWORD = "a-password"
HALF = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
WHOLE = HALF + b"\r\n"
BODY_TO_COME = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n{"
LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Web:
    """The running process, and the sockets that a test opens to it."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], sockets: ExitStack) -> None:
        self.port, self.process, self._sockets = port, process, sockets

    def connect(self, sent: bytes = b"") -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self._sockets.enter_context(sock)
        sock.sendall(sent)
        return sock

    def healthz_s(self) -> float:
        """How long /healthz takes to answer."""
        began = time.monotonic()
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(f"http://127.0.0.1:{self.port}/healthz", timeout=30).ok
        return time.monotonic() - began


@contextmanager
def started(root: Path, tmp_path: Path, out: int, **more: str) -> Iterator[Web]:
    """The web process with `out` as its standard output and error."""
    port = own_port()
    env = clean_env(tmp_path) | {"PORT": str(port), "WEB_PASSWORD": PASSWORD} | more
    with ExitStack() as sockets:
        process = subprocess.Popen(
            [sys.executable, "-c", STARTED],
            cwd=root,
            env=env,
            stdout=out,
            stderr=out,
            preexec_fn=dying_with_us(),
        )
        found = Web(port, process, sockets)

        def answers() -> bool:
            try:
                return found.healthz_s() < 10
            except (requests.ConnectionError, requests.Timeout):
                return False

        eventually(answers)
        yield found
        process.terminate()
        assert process.wait(25) == 0


@pytest.fixture
def web(project_root: Path, tmp_path: Path) -> Iterator[Web]:
    path = tmp_path / "web.log"
    with path.open("wb") as log, started(project_root, tmp_path, log.fileno()) as found:
        yield found
    assert "Traceback" not in path.read_text()


def slowest_s(web: Web, count: int, sent: bytes = b"") -> float:
    """The slowest of three answers right after that many clients began to dawdle. On a busy machine
    one of a few tries is quick; where clients hold it up, none is."""
    for _ in range(count):
        web.connect(sent)
    return max(web.healthz_s() for _ in range(3))


@pytest.mark.parametrize(
    "sent", [b"", b"G", HALF, HALF + b"X: ", WHOLE + HALF, BODY_TO_COME, LAST, b"\x16\x03\x01"]
)
def test_clients_that_dawdle_delay_nobody(web: Web, sent: bytes) -> None:
    assert any(slowest_s(web, 40, sent) < 2.0 for _ in range(3))
    assert any(web.healthz_s() < 0.5 for _ in range(10))


def test_a_request_that_drips_is_closed_in_time(web: Web) -> None:
    sock = web.connect()
    sock.settimeout(0.2)
    began = time.monotonic()

    def closed() -> bool:
        try:
            sock.sendall(b"x")
            return sock.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    eventually(closed, 25, every_s=0.1)
    assert time.monotonic() - began > 2


def test_requests_in_pieces_and_in_a_row_are_answered(web: Web) -> None:
    sock = web.connect(HALF[:5])
    sock.sendall(HALF[5:])
    sock.sendall(b"\r\n" + HALF)  # the rest, and half of the next
    stream = sock.makefile("rb")
    assert stream.readline().startswith(b"HTTP/1.1 200")
    sock.sendall(b"\r\n" + LAST)
    text = stream.read()
    assert text.count(b"HTTP/1.1 200") == 2
    assert text.count(b'"alive"') == 3


def test_more_silent_clients_than_there_are_places(web: Web) -> None:
    assert any(slowest_s(web, 600) < 2.0 for _ in range(3))


def test_a_head_beyond_all_bounds_is_refused(web: Web) -> None:
    sock = web.connect(b"GET / HTTP/1.1\r\n")
    field = b"X: " + b"x" * 1000 + b"\r\n"
    try:
        sock.sendall(field * 1000)
        answer = sock.recv(100)
    except ConnectionError:
        answer = b""
    assert b"200" not in answer
    assert any(web.healthz_s() < 2.0 for _ in range(3))


def test_sigterm_answers_what_has_arrived_and_waits_for_nobody(web: Web) -> None:
    for sent in (b"", HALF, BODY_TO_COME) * 10:
        web.connect(sent)
    health = web.connect(LAST.replace(b"healthz", b"health/batch"))
    began = time.monotonic()
    web.process.send_signal(signal.SIGTERM)
    assert health.makefile("rb").read().startswith(b"HTTP/1.1 503")
    assert web.process.wait(25) == 0
    assert time.monotonic() - began < 15, "its patience with clients is 20 s"


@pytest.mark.parametrize("kind", ["unread", "full", "broken"])
def test_a_log_that_cannot_be_written_holds_no_request_up(
    project_root: Path, tmp_path: Path, kind: str
) -> None:
    reader, writer = os.pipe()
    if kind == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), writer)
    if kind == "broken":
        os.close(reader)
    with started(project_root, tmp_path, writer) as web, requests.Session() as session:
        session.trust_env = False
        url = f"http://127.0.0.1:{web.port}/nothing/{'x' * 2000}"
        assert {session.get(url, timeout=30).status_code for _ in range(60)} == {404}
