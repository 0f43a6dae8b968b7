"""A provider made of raw sockets: it does exactly what a test says and counts what arrives."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, server: RawServer) -> None:
        self.sock = sock
        self.server = server

    def read_head(self) -> str:
        """The next request head; "" when the client hung up. Counted at its first byte."""
        data = b""
        while b"\r\n\r\n" not in data:
            try:
                chunk = self.sock.recv(1)
            except OSError:
                return ""
            if not chunk:
                return ""
            if not data:
                self.server.arrivals.append(time.monotonic())
            data += chunk
        self.server.heads.append(data.decode("latin-1"))
        return self.server.heads[-1]

    def send(self, data: bytes) -> bool:
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    def answer(self, body: Any, status: str = "200 OK", *headers: str) -> bool:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", *headers, "", ""]
        return self.send("\r\n".join(lines).encode() + data)


class RawServer:
    """Runs `script(peer)` in a thread for every connection; `tls_delay_s` holds TLS back."""

    def __init__(
        self,
        script: Callable[[Peer], None],
        *,
        tls: tuple[Path, Path] | None = None,
        tls_delay_s: float = 0.0,
        backlog: int = 16,
        accepting: bool = True,
    ) -> None:
        self.script = script
        self.arrivals: list[float] = []
        self.heads: list[str] = []
        self.connections = 0
        self._tls_delay_s = tls_delay_s
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*tls)
        self._peers: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port: int = self._listener.getsockname()[1]
        self.stopping = threading.Event()
        if accepting:
            threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._peers.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._context:
                self.stopping.wait(self._tls_delay_s)
                sock = self._context.wrap_socket(sock, server_side=True)
                self._peers.append(sock)
            self.script(Peer(sock, self))
        except OSError:
            return  # the client gave up, which is what many tests are about
        finally:
            sock.close()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self._listener.close()
        for peer in self._peers:
            with contextlib.suppress(OSError):  # closed already
                # Wakes the thread that reads from it and closes it; past TLS, which has one thread.
                socket.socket.shutdown(peer, socket.SHUT_RDWR)
