"""The sandbox's sockets: a thread per connection, each request stamped at its first byte."""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from local.sandbox import answers
from local.sandbox.app import App
from local.sandbox.arrivals import Arrival, ArrivalLog
from local.sandbox.errors import SandboxError
from local.sandbox.faults import Fault, FaultBook
from local.sandbox.instruments import load_instruments
from local.sandbox.plans import PLANS
from local.sandbox.recorded import Tracks
from local.sandbox.series import Series
from local.sandbox.sources import DATA_DIR
from local.sandbox.stamps import ask_for_stamps
from local.sandbox.tracks import SyntheticTrack
from local.sandbox.wire import Malformed, Manner, Reply, Request, RequestReader
from settings.checkout import CATALOGUE

_BACKLOG: Final = 512
_IDLE_S: Final = 75.0  # how long a kept connection may rest, as nginx has it
_LINGER_RESET: Final = struct.pack("ii", 1, 0)


class SandboxServer:
    """The sandbox API on its own threads.

    ::

        with SandboxServer(plan="free") as sandbox:
            requests.get(f"{sandbox.url}/v1/marketstatus/now", headers=…)
            assert len(sandbox.arrivals()) == 1

    `limit` and `window_s` replace the plan's (limit 0 = none). `count_refused`: do requests
    answered 429 use up the window too (yes, as the provider most likely counts). `key`: the only
    key that is accepted, None for any. `data_dir`: where recorded prices lie, None for synthetic
    ones only. `now_ms` is the market's clock, for tests; the limit's clock is always the real one.
    Port 0 takes a free port; it listens from `start()` on. Raises SandboxError."""

    def __init__(
        self,
        plan: str = "spec",
        port: int = 0,
        limit: int | None = None,
        window_s: float = 60.0,
        *,
        host: str = "127.0.0.1",
        key: str | None = None,
        count_refused: bool = True,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        tickers: Sequence[Path] = (),
        data_dir: Path | None = DATA_DIR,
        day_turns_in_new_york: bool = False,
        now_ms: Callable[[], int] | None = None,
        on_request: Callable[[Request, Reply], None] | None = None,
    ) -> None:
        if plan not in PLANS:
            raise SandboxError(f"unknown plan {plan!r}: choose one of {', '.join(PLANS)}")
        if (limit or 0) < 0 or not 0 < window_s < math.inf:
            raise SandboxError("a limit is 0 (none) or more calls, a window more than 0 seconds")
        effective = PLANS[plan].limit if limit is None else (limit or None)
        self.app = App(
            plan=PLANS[plan],
            series=Series(
                load_instruments([CATALOGUE, *tickers]),
                SyntheticTrack if data_dir is None else Tracks(data_dir),
            ),
            log=ArrivalLog(effective, window_s, count_refused=count_refused),
            faults=FaultBook(faults, seed),
            key=key,
            day_turns_in_new_york=day_turns_in_new_york,
        )
        if now_ms is not None:
            self.app.now_ms = now_ms
        self._host, self._port = host, port
        self._on_request = on_request
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    def start(self) -> Self:
        """Listen and serve; returns itself. Raises SandboxError when the port is taken."""
        try:
            self._listener = socket.create_server((self._host, self._port), backlog=_BACKLOG)
        except (OSError, OverflowError) as error:
            raise SandboxError(f"cannot listen on {self._host}:{self._port}: {error}") from error
        ask_for_stamps(self._listener)
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="sandbox", daemon=True).start()
        return self

    def stop(self) -> None:
        """Close every socket; whoever waits for an answer sees a closed connection."""
        self._stopped.set()
        if self._listener is not None:
            _hang_up(self._listener)
        with self._lock:
            for connection in self._connections:
                _hang_up(connection)

    def arrivals(self) -> list[Arrival]:
        """Everything that arrived, in order of first bytes, without control requests."""
        return self.app.log.all()

    def configure(self, *faults: Fault | dict[str, Any], seed: int = 0) -> None:
        """Replace the faults in force; without any, behave well again. Raises BadFault."""
        built = [fault if isinstance(fault, Fault) else Fault.build(fault) for fault in faults]
        self.app.faults.set(built, seed)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _accept(self) -> None:
        assert self._listener is not None
        with self._listener as listener:
            while not self._stopped.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:  # closed by stop(), or no file descriptor is left for now
                    self._stopped.wait(0.05)
                    continue
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._connections.add(connection)
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        reader = RequestReader(connection, self.app.log.begin)
        try:
            connection.settimeout(_IDLE_S)
            while (request := reader.next()) is not None:
                reply = self.app.answer(request)
                if self._on_request is not None:
                    self._on_request(request, reply)
                if not self._send(connection, request, reply):
                    return
        except Malformed as error:
            with contextlib.suppress(OSError):  # it may not even be a client that reads
                refusal = answers.bad_request(str(error))
                connection.sendall(refusal.head(keeps_alive=False) + refusal.body)
        except OSError:
            return  # the client went away, rested too long, or we are stopping
        finally:
            if reader.seq is not None:
                self.app.log.finish(reader.seq, None)
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _send(self, connection: socket.socket, request: Request, reply: Reply) -> bool:
        """Put the reply on the wire as it wants; False when the connection is done with.

        The log knows the status before the client does, so that a test finds it there."""
        if reply.delay_s and self._stopped.wait(reply.delay_s):
            return False
        if reply.manner is Manner.HANG:
            self._wait_for_the_end(connection)
            return False
        if reply.manner is Manner.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            return False
        self.app.log.finish(request.seq, reply.status)
        keeps_alive = request.keeps_alive and reply.manner is Manner.WHOLE
        head = reply.head(keeps_alive)
        body = b"" if request.method == "HEAD" else reply.body
        if reply.manner is Manner.WHOLE:
            connection.sendall(head + body)
        elif reply.manner is Manner.CUT:
            connection.sendall(head + body[: len(body) // 2])
        else:
            self._drip(connection, head, body, reply.drip_s)
        return keeps_alive

    def _drip(self, connection: socket.socket, head: bytes, body: bytes, pause_s: float) -> None:
        connection.sendall(head)
        for at in range(len(body)):
            if self._stopped.wait(pause_s):
                return
            connection.sendall(body[at : at + 1])

    def _wait_for_the_end(self, connection: socket.socket) -> None:
        """Until the client gives up; whatever else it sends is read and ignored."""
        connection.settimeout(None)
        while connection.recv(65_536):
            continue


def _hang_up(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be closed already
        sock.shutdown(socket.SHUT_RDWR)
    if sys.platform != "linux":
        sock.close()
