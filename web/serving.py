"""gunicorn's threaded worker, with threads that never wait for a client.

gunicorn hands a connection to a thread at once, which then waits for the request: as many clients
that say nothing, or half a request, as there are threads silence every page. It also closes
connections one by one in the thread that accepts them, and waits for each client. Here the poller
does all of this waiting: a thread gets a request when its head has arrived.
"""

import math
import selectors
import socket
import time
from functools import partial
from typing import Any

from gunicorn.errors import ConfigError
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_S = 10.0
"""How long the head of a request may take to arrive, from its connection on."""
BODY_S = 5.0
"""How long a client may be silent within a body that the application reads, or not read from us."""
REST_S = 0.05
"""How long the rest of a body is waited for that the application did not read."""
GOODBYE_S = 2.0
"""How long a client may take to close a connection that we have closed."""
LAST_CALL_S = 1.0
"""How long after SIGTERM requests are taken from those that had connected."""
LONGEST_HEAD = 64 * 1024
"""Bytes; the parser, which accepts less, gets to refuse it."""
MOST_WAITING = 500
"""Connections that arrive, and that are being closed: beyond it the oldest makes room."""
_CHUNK = 16 * 1024
_END_OF_HEAD = b"\r\n\r\n"


class Connection(TConn):
    """A connection whose orderly close is left to the poller."""

    parser: Any

    def __init__(self, worker: "PollingWorker", *args: Any) -> None:
        super().__init__(*args)
        self._worker = worker
        self.head = bytearray()
        self.until = 0.0

    def close(self, graceful: bool = False) -> None:
        """Close at once, or after the client has read everything."""
        if not graceful or not self._worker.part(self):
            super().close()


class PollingWorker(ThreadWorker):
    """Waits for requests, and for clients that leave, in its poller and for a limited time."""

    poller: Any
    cfg: Any

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse certificates: TLS is for the proxy in front."""
        if cfg.is_ssl:
            raise ConfigError(
                "assetq web does not speak TLS: let a proxy do it, without --certfile."
            )
        super().check_config(cfg, log)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving: dict[Connection, None] = {}
        """Connections without a whole request head, the oldest first."""
        self._leaving: dict[Connection, None] = {}
        """Connections that we have closed and the client has not, the oldest first."""
        self._ends_at = math.inf

    def accept(self, listener: Any) -> bool:
        """Take a new connection, if there is one, and wait for its request."""
        try:
            sock, address = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        self.nr_conns += 1
        conn = Connection(self, self.cfg, sock, address, listener.getsockname())
        self._await_head(conn, b"")
        return True

    def set_accept_enabled(self, enabled: bool) -> None:
        """Begin or end accepting; at the end of the process take those that have connected."""
        if not (enabled or self.alive):
            self._ends_at = time.monotonic() + LAST_CALL_S
            for listener in self.sockets:
                while self.accept(listener):
                    pass
        super().set_accept_enabled(enabled)

    def enqueue_req(self, conn: Connection) -> None:
        """Give a connection to a thread once a whole request head has arrived on it."""
        head = conn.parser.unreader.take_buffered() if conn.parser else b""
        if _is_whole(head):
            conn.parser.unreader.unread(head)
            super().enqueue_req(conn)
        else:
            self._await_head(conn, head)

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """Run the application; a client that stops sending or reading ends its request."""
        conn.sock.settimeout(BODY_S)
        try:
            return super().handle_request(req, conn)
        except TimeoutError as error:
            raise NoMoreData from error

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Keep a connection only if the rest of the body is already here."""
        deadline = time.monotonic() + REST_S
        return keepalive and bool(conn.parser.finish_body(deadline=deadline))

    def murder_pending(self) -> None:
        """Close what has waited for too long; at the end of the process whatever still waits."""
        super().murder_pending()
        for waiting in (self._arriving, self._leaving):
            for conn in list(waiting):
                if min(conn.until, self._ends_at) > time.monotonic():
                    break
                self._drop(conn, waiting)

    def part(self, conn: Connection) -> bool:
        """Say goodbye and wait for the client's in the poller; False if it is gone already."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        self._watch(conn, self._leaving, GOODBYE_S, self._on_leaving_readable)
        return True

    def _await_head(self, conn: Connection, head: bytes) -> None:
        conn.head = bytearray(head)
        self._watch(conn, self._arriving, HEAD_S, self._on_arriving_readable)

    def _on_arriving_readable(self, conn: Connection, sock: Any) -> None:
        if conn not in self._arriving:  # dropped within this round of events
            return
        chunk = _received(sock)
        if chunk == b"":
            self._drop(conn, self._arriving)
            return
        conn.head += chunk or b""
        if _is_whole(conn.head):
            del self._arriving[conn]
            self.poller.unregister(sock)
            conn.init()
            conn.parser.unreader.unread(bytes(conn.head))
            self.enqueue_req(conn)

    def _on_leaving_readable(self, conn: Connection, sock: Any) -> None:
        if conn in self._leaving and _received(sock) == b"":
            self._drop(conn, self._leaving)

    def _watch(
        self, conn: Connection, waiting: dict[Connection, None], for_s: float, callback: Any
    ) -> None:
        if len(waiting) >= MOST_WAITING:
            self._drop(next(iter(waiting)), waiting)
        conn.until = time.monotonic() + for_s
        conn.sock.setblocking(False)
        waiting[conn] = None
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(callback, conn))

    def _drop(self, conn: Connection, waiting: dict[Connection, None]) -> None:
        del waiting[conn]
        self.poller.unregister(conn.sock)
        conn.close()
        if waiting is self._arriving:  # one that leaves is not counted any more
            self.nr_conns -= 1


def _received(sock: Any) -> bytes | None:
    """Read what is there; None: nothing yet, empty: the other side has ended."""
    try:
        return bytes(sock.recv(_CHUNK))
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""


def _is_whole(head: bytes | bytearray) -> bool:
    """True if a request's head has arrived, or more than the parser accepts."""
    return _END_OF_HEAD in head or len(head) > LONGEST_HEAD
