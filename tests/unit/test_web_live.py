"""What a stream makes of its client's socket."""

from __future__ import annotations

import socket
import time

from web.live import is_gone


def test_a_silent_client_is_there_and_delays_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)  # as the web process sets it for a body
        began = time.monotonic()
        assert not is_gone(ours)
        assert time.monotonic() - began < 4
        theirs.sendall(b"x")
        assert not is_gone(ours)


def test_a_client_that_left_is_gone() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(5)
        theirs.close()
        assert is_gone(ours)
    assert is_gone(ours), "closed here"
    assert not is_gone(None), "served without a socket"
