"""The sandbox's sockets: a thread per connection, each request stamped at its first byte."""

from __future__ import annotations

import io
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from local.sandbox.app import App
from local.sandbox.stamps import StampedStream, ask_for_stamps
from local.sandbox.wire import Manner, Reply, Request

_LINGER_RESET: Final = struct.pack("ii", 1, 0)
_MAX_BODY: Final = 1_048_576


class Sockets(socketserver.ThreadingTCPServer):
    """Listens from the start, serves in `serve_forever`. `stopped` ends what is still answering."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], app: App) -> None:
        self.app = app
        self.on_request: Callable[[Request, Reply], None] | None = None
        self.stopped = threading.Event()
        self.connections: set[socket.socket] = set()
        super().__init__(address, _Connection)

    def server_activate(self) -> None:
        """Listen, and let the kernel stamp what comes in."""
        ask_for_stamps(self.socket)
        super().server_activate()

    def hang_up(self) -> None:
        """Close every connection: a client that waits for an answer sees its end."""
        self.stopped.set()
        for connection in list(self.connections):
            with suppress(OSError):  # it may be closed already
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    """One connection, kept for as many requests as the client likes."""

    server: Sockets
    protocol_version = default_request_version = "HTTP/1.1"  # a refusal has a status line too
    timeout = 75.0  # for a kept connection at rest, as nginx has it
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._stream = StampedStream(self.connection)
        self.rfile = self._reader = io.BufferedReader(self._stream)
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def handle_one_request(self) -> None:
        """Enter the arrival at its first byte; for a pipelined request, when its packet came."""
        self.close_connection = True
        self._stream.await_first()
        with suppress(TimeoutError):
            if self._reader.peek(1):
                log = self.server.app.log
                self._seq = log.begin(*self._stream.came)
                try:
                    super().handle_one_request()
                finally:
                    log.finish(self._seq, None)

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if len(self.requestline.split()) != 3:  # the library lets HTTP/0.9 in
            self.send_error(400)
            return False
        return True

    def _exchange(self) -> None:
        try:
            target = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", "0"))
        except ValueError:
            length = -1
        if not 0 <= length <= _MAX_BODY:
            self.send_error(400)
            return
        request = Request(
            self._seq,
            self.command,
            unquote(target.path),
            dict(parse_qsl(target.query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
        )
        reply = self.server.app.answer(request)
        if self.server.on_request is not None:
            self.server.on_request(request, reply)
        self._send(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _exchange

    def _send(self, reply: Reply) -> None:
        """Put the reply on the wire as it wants.

        The log knows the status before the client does, so that a test finds it there."""
        stopped = self.server.stopped.wait(reply.delay_s) if reply.delay_s else False
        if reply.manner is not Manner.WHOLE or stopped:
            self.close_connection = True
        if stopped:
            return
        if reply.manner is Manner.HANG:
            self._wait_for_the_end()
            return
        if reply.manner is Manner.RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            self.connection.close()
            return
        self.server.app.log.finish(self._seq, reply.status)
        self._send_head(reply)
        body = b"" if self.command == "HEAD" else reply.body
        if reply.manner is Manner.DRIP:
            self._drip(body, reply.drip_s)
        else:
            self.wfile.write(body[: len(body) // 2] if reply.manner is Manner.CUT else body)

    def _send_head(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _drip(self, body: bytes, pause_s: float) -> None:
        for at in range(len(body)):
            if self.server.stopped.wait(pause_s):
                return
            self.wfile.write(body[at : at + 1])

    def _wait_for_the_end(self) -> None:
        """Until the client gives up; whatever else it sends is read and ignored."""
        self.connection.settimeout(None)
        while self.connection.recv(65_536):
            continue

    def version_string(self) -> str:
        return "nginx"

    def log_message(self, format: str, *args: Any) -> None:
        """The arrivals are the log."""
