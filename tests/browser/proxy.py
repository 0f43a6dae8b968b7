"""A small reverse proxy that serves the site under a prefix, as nginx does with `proxy_pass`."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def prefixed(port: int, prefix: str) -> Iterator[str]:
    """Serve what listens on a port under a prefix; the address, with a slash at the end."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            length = int(self.headers.get("Content-Length", 0))
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            upstream.request(
                self.command,
                self.path.removeprefix(prefix),
                self.rfile.read(length) if length else None,
                dict(self.headers.items()) | {"Host": "upstream.internal"},
            )
            self._answer(upstream.getresponse())
            upstream.close()

        do_POST = do_GET

        def _answer(self, answer: http.client.HTTPResponse) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "server", "date"):
                    self.send_header(name, value)
            self.end_headers()
            try:
                while piece := answer.read1(65536):
                    self.wfile.write(piece)
                    self.wfile.flush()
            except ConnectionError:  # the browser has left, or the site was stopped
                return

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}{prefix}/"
    server.shutdown()
    server.server_close()
    thread.join()
