"""When a byte came: the kernel's stamp, whenever the byte is read."""

from __future__ import annotations

import io
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local.sandbox.stamps import StampedStream, ask_for_stamps, receive
from tests.kit.waiting import eventually

Pair = tuple[socket.socket, socket.socket]


READ_AFTER_NS = 1_000_000_000


@contextmanager
def connected(listener: socket.socket) -> Iterator[Pair]:
    with socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            yield client, server


def stamps(listener: socket.socket) -> bool:
    """Whether a byte that is read later has the stamp of its arrival."""
    with connected(listener) as (client, server):
        client.sendall(b"x")
        sent = time.monotonic_ns()
        eventually(lambda: time.monotonic_ns() > sent + 5_000_000)
        read_at = time.monotonic_ns()
        return receive(server, 1)[1].mono_ns < read_at


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A client's socket and the server's end of it, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ask_for_stamps(listener)
        if sys.platform == "linux":
            # A kernel that stamped nothing so far begins a moment after it is asked.
            eventually(lambda: stamps(listener))
        with connected(listener) as both:
            yield both


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not stamp")
def test_a_byte_is_stamped_when_it_came_even_if_nobody_reads_for_a_while(pair: Pair) -> None:
    client, server = pair
    sent, sent_s = time.monotonic_ns(), time.time()
    client.sendall(b"G")
    eventually(lambda: time.monotonic_ns() > sent + READ_AFTER_NS)
    data, moment = receive(server, 1)
    assert data == b"G"
    assert sent - 5_000_000 <= moment.mono_ns < sent + READ_AFTER_NS // 2
    assert sent_s - 0.005 <= moment.wall_s < sent_s + READ_AFTER_NS / 2e9


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not stamp")
def test_a_stream_keeps_the_moment_of_the_first_byte_until_the_rest_is_read(pair: Pair) -> None:
    client, server = pair
    stream = StampedStream(server)
    reader = io.BufferedReader(stream)
    sent = time.monotonic_ns()
    client.sendall(b"G")
    eventually(lambda: time.monotonic_ns() > sent + READ_AFTER_NS)
    assert reader.peek(1) == b"G"
    client.sendall(b"ET")
    assert sent - 5_000_000 <= stream.came.mono_ns < sent + READ_AFTER_NS // 2
    assert reader.read(3) == b"GET"
    assert stream.came.mono_ns >= sent + READ_AFTER_NS
