"""Bytes with the moment they came, by the kernel's stamp where it gives one.

A thread that is told of a byte wakes up later than the byte came, by much on a busy machine; Linux
can say when the packet was there. Elsewhere the moment of the wake-up has to do."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SO_TIMESTAMPNS: Final = 35  # Linux; Python has no name for it
_TIMESPEC: Final = struct.Struct("@qq")
_BELIEVABLE_NS: Final = 10_000_000_000  # older than that means that the wall clock was set


class Moment(NamedTuple):
    """One instant on both clocks."""

    mono_ns: int
    wall_s: float


class StampedStream(io.RawIOBase):
    """What a connection receives; `came` is when the bytes read last were there.

    After `await_first` the next read takes one byte only: packets that the kernel has merged carry
    the stamp of the latest."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._one_byte = True
        self.came = Moment(0, 0.0)

    def await_first(self) -> None:
        """The next byte begins a request."""
        self._one_byte = True

    def readable(self) -> bool:
        """Return True: it is for reading alone."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what has come, and keep when it came."""
        view = memoryview(buffer)
        data, self.came = receive(self._connection, 1 if self._one_byte else len(view))
        self._one_byte = False
        view[: len(data)] = data
        return len(data)


def ask_for_stamps(listener: socket.socket) -> None:
    """Let the kernel stamp what comes in; connections inherit it from the listening socket."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # an unusual kernel: the wake-up counts
            listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def receive(connection: socket.socket, most: int) -> tuple[bytes, Moment]:
    """Up to `most` bytes and when the last packet among them came. Empty: the peer closed."""
    data, notes, _, _ = connection.recvmsg(most, socket.CMSG_SPACE(_TIMESPEC.size))
    mono_ns, wall_ns = time.monotonic_ns(), time.time_ns()
    for level, kind, payload in notes:
        if (level, kind, len(payload)) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS, _TIMESPEC.size):
            seconds, ns = _TIMESPEC.unpack(payload)
            age_ns = wall_ns - (seconds * 1_000_000_000 + ns)
            if 0 <= age_ns < _BELIEVABLE_NS:
                return data, Moment(mono_ns - age_ns, (wall_ns - age_ns) / 1e9)
    return data, Moment(mono_ns, wall_ns / 1e9)
