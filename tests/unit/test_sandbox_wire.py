"""Reading requests off a socket, and when their first byte came."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.sandbox.stamps import Moment, ask_for_stamps, receive
from local.sandbox.wire import Malformed, Reply, Request, RequestReader
from tests.kit.waiting import eventually


class Began:
    """Notes the first bytes."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def __call__(self, mono_ns: int, wall_s: float) -> int:
        self.moments.append(Moment(mono_ns, wall_s))
        return len(self.moments)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's socket and the server's end of it, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ask_for_stamps(listener)
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            with server:
                yield client, server


Pair = tuple[socket.socket, socket.socket]


def read_all(pair: Pair, data: bytes) -> list[Request]:
    client, server = pair
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    reader = RequestReader(server, Began())
    return list(iter(reader.next, None))


def test_a_request_with_everything(pair: Pair) -> None:
    (request,) = read_all(
        pair,
        b"POST /a%20b/C%3AEURUSD?x=1&y=&x=2 HTTP/1.1\r\nHost: h\r\nAuthorization: bearer  k \r\n"
        b"Content-Length: 4\r\nConnection: Close\r\n\r\nbody",
    )
    assert (request.method, request.path, request.body) == ("POST", "/a b/C:EURUSD", b"body")
    assert request.query == {"x": "2", "y": ""}
    assert request.key == "k"
    assert not request.keeps_alive


def test_pipelined_requests_come_one_by_one_and_each_arrives(pair: Pair) -> None:
    requests = read_all(pair, b"GET /1 HTTP/1.1\r\n\r\nGET /2?apiKey=q HTTP/1.1\r\n\r\nGET /cut")
    assert [(request.seq, request.path, request.key) for request in requests] == [
        (1, "/1", ""),
        (2, "/2", "q"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1 extra\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n",
        b"GET /" + b"x" * 70_000,
    ],
)
def test_what_is_no_request_is_refused(pair: Pair, data: bytes) -> None:
    with pytest.raises(Malformed):
        read_all(pair, data)


def test_the_moment_is_that_of_the_first_byte_not_of_the_rest(pair: Pair) -> None:
    client, server = pair
    began = Began()
    reader = RequestReader(server, began)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(reader.next)
        before = time.monotonic_ns()
        client.sendall(b"G")
        eventually(lambda: began.moments)
        rest_at = before + 200_000_000
        eventually(lambda: time.monotonic_ns() > rest_at)
        client.sendall(b"ET / HTTP/1.1\r\n\r\n")
        assert reading.result(timeout=5) is not None
    (moment,) = began.moments
    assert before - 5_000_000 <= moment.mono_ns < rest_at
    assert moment.wall_s == pytest.approx(time.time() - 0.2, abs=0.15)


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not stamp")
def test_a_byte_is_stamped_when_it_came_even_if_nobody_reads_for_a_while(pair: Pair) -> None:
    client, server = pair
    sent = time.monotonic_ns()
    client.sendall(b"G")
    eventually(lambda: time.monotonic_ns() > sent + 300_000_000)
    data, moment = receive(server, 1)
    assert data == b"G"
    assert sent - 5_000_000 <= moment.mono_ns < sent + 150_000_000
    assert moment.wall_s == pytest.approx(time.time() - 0.3, abs=0.2)


def test_the_head_of_a_reply() -> None:
    reply = Reply(200, b"{}", headers={"X-Request-Id": "1"})
    head = reply.head(keeps_alive=True).decode().split("\r\n")
    assert head[0] == "HTTP/1.1 200 OK"
    assert {"Content-Length: 2", "Content-Type: application/json", "X-Request-Id: 1"} <= set(head)
    assert "Connection: keep-alive" in head
    assert Reply(429).head(keeps_alive=False).startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
