"""HTTP that never sends late: one attempt is at most one request, begun before its send deadline.

The quota of the provider counts arrivals, so the grant of a call must say until when the request
can arrive. The check therefore happens after DNS, connect and TLS, right before the first byte. Two
more rules close the remaining gaps: unacknowledged bytes are not retransmitted beyond the deadline
(TCP_USER_TIMEOUT, where the system has it), and a connection that is given up without an answer is
reset, so that nothing leaves its buffers later.

Known edge: a proxy that forwards plain http:// holds the request as long as it likes. Tunnels
(https:// through a proxy) are covered.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import queue
import socket
import struct
import threading
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any, Final

from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from market.deadline import Attempt, SendDeadline, boottime_s, current_attempt

__all__ = ["IDLE_LIMIT_S", "Attempt", "GuardedAdapter", "SendDeadline", "boottime_s"]

IDLE_LIMIT_S: Final = 15.0
"""An idle connection older than this is closed: servers and firewalls drop them silently."""

_DNS_THREAD: Final = "market-dns"
_ABORT_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class _TimedReader(io.RawIOBase):
    """Reads a socket so that all reads together keep to the attempt's time."""

    def __init__(self, sock: socket.socket, attempt: Attempt) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._attempt = attempt

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._attempt.left_s())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


@dataclass(frozen=True, slots=True)
class _TimedSocket:
    """The one method of a socket that an HTTPResponse uses."""

    sock: socket.socket
    attempt: Attempt

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self.sock, self.attempt))


class _TimedResponse(HTTPResponse):
    """An answer whose head and body together must arrive within the attempt's reading time."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        self._attempt = current_attempt.get()
        super().__init__(_TimedSocket(sock, self._attempt), *args, **kwargs)  # type: ignore[arg-type]

    def begin(self) -> None:
        super().begin()
        self._attempt.answered = True


class _GuardedConnection(HTTPConnection):
    """A connection that asks its attempt before it writes the first byte of a request."""

    response_class = _TimedResponse
    _attempt: Attempt | None = None
    _starting = False
    _used_at_s = 0.0

    def _new_conn(self) -> socket.socket:
        attempt = current_attempt.get()
        addresses = _resolve(self._dns_host, self.port, attempt.left_s())
        for waiting, (family, kind, proto, _, address) in zip(
            range(len(addresses), 0, -1), addresses, strict=True
        ):
            sock = socket.socket(family, kind, proto)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(attempt.left_s() / waiting)  # a dead address leaves time for others
                sock.connect(address)
                sock.settimeout(attempt.left_s())  # TLS follows, and counts as one operation
            except OSError:
                sock.close()
                if waiting == 1:
                    raise
            else:
                return sock
        raise OSError(f"no address found for {self.host}")

    @property
    def is_connected(self) -> bool:
        """Whether a kept-alive connection may be used again. One with anything to read is broken:
        the server hung up, or says something unasked."""
        return boottime_s() - self._used_at_s <= IDLE_LIMIT_S and super().is_connected

    def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
        if self.sock is None:
            self.connect()
        self._attempt = current_attempt.get()
        self._starting = True
        super().endheaders(message_body, encode_chunked=encode_chunked)

    def send(self, data: Any) -> None:
        if self._starting and self._attempt is not None:  # not so for CONNECT to a proxy
            self._starting = False
            self._forbid_late_retransmission(self._attempt.deadline)
            self._attempt.begin_sending()
        super().send(data)

    def _forbid_late_retransmission(self, deadline: SendDeadline) -> None:
        if hasattr(socket, "TCP_USER_TIMEOUT") and isinstance(self.sock, socket.socket):
            milliseconds = max(1, int(deadline.remaining_s() * 1000))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._used_at_s = boottime_s()
        return response

    def close(self) -> None:
        attempt, self._attempt, self._starting = self._attempt, None, False
        given_up = attempt is not None and attempt.sent and not attempt.answered
        if given_up and isinstance(self.sock, socket.socket):
            with contextlib.suppress(OSError):  # already closed by the other side
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_ON_CLOSE)
        super().close()


class _GuardedHttpsConnection(_GuardedConnection, HTTPSConnection):
    """The same over TLS; the handshake happens in `connect`, before the check."""


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _GuardedConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedHttpsConnection


_POOLS: Final = {"http": _HttpPool, "https": _HttpsPool}


class GuardedAdapter(HTTPAdapter):
    """The adapter for http:// and https://. Requests must be made inside `Attempt.active()`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections that keep the send deadline."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the same through a proxy. Raises InvalidSchema for one of SOCKS."""
        if proxy.lower().startswith("socks"):
            raise InvalidSchema("SOCKS proxies cannot keep the send deadline: use an http:// proxy")
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _resolve(host: str, port: int, timeout_s: float) -> list[Any]:
    """getaddrinfo with a time limit; it has none of its own, so it runs in a thread."""

    def look_up() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as exc:
            found.put(exc)

    found: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()
    if _is_address(host):
        look_up()
    else:
        threading.Thread(target=look_up, name=_DNS_THREAD, daemon=True).start()
    try:
        result = found.get(timeout=timeout_s)
    except queue.Empty:
        raise TimeoutError(f"no address for {host} in time") from None
    if isinstance(result, Exception):
        raise OSError(f"no address for {host}: {result}") from result
    return result


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
