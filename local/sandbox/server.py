"""The sandbox API as an object: what to serve, where, and how it ends."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

from local.sandbox.app import App
from local.sandbox.arrivals import Arrival, ArrivalLog
from local.sandbox.errors import SandboxError
from local.sandbox.faults import Fault, FaultBook
from local.sandbox.instruments import load_instruments
from local.sandbox.plans import PLANS
from local.sandbox.series import Series
from local.sandbox.sockets import Sockets
from local.sandbox.wire import Reply, Request
from settings.checkout import CATALOGUE

_POLL_S: Final = 0.05


class SandboxServer:
    """The sandbox API on its own threads.

    ::

        with SandboxServer(plan="free") as sandbox:
            requests.get(f"{sandbox.url}/v1/marketstatus/now", headers=…)
            assert len(sandbox.arrivals()) == 1

    `limit` and `window_s` replace the plan's (limit 0: none). `count_refused`: whether requests
    answered 429 use up the window too (the provider most likely counts them). `key`: the only key
    that is accepted, None for any. `tickers`: files of more tickers. `now_ms` is the market's
    clock, for tests; the limit's clock is always the real one. Port 0 takes a free port; it listens
    from `start()` on. Raises SandboxError."""

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
        day_turns_in_new_york: bool = False,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        on_request: Callable[[Request, Reply], None] | None = None,
    ) -> None:
        if plan not in PLANS:
            raise SandboxError(f"unknown plan {plan!r}: choose one of {', '.join(PLANS)}")
        if (limit or 0) < 0 or not 0 < window_s < math.inf:
            raise SandboxError("a limit is 0 (none) or more calls, a window more than 0 seconds")
        effective = PLANS[plan].limit if limit is None else (limit or None)
        self.app = App(
            plan=PLANS[plan],
            series=Series(load_instruments([CATALOGUE, *tickers])),
            log=ArrivalLog(effective, window_s, count_refused=count_refused),
            faults=FaultBook(faults, seed),
            key=key,
            day_turns_in_new_york=day_turns_in_new_york,
            now_ms=now_ms,
        )
        self._host, self._port = host, port
        self._on_request = on_request
        self._sockets: Sockets | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self._host}:{self._port}"

    def start(self) -> Self:
        """Listen and serve; returns itself. Raises SandboxError when the port is taken."""
        try:
            self._sockets = Sockets((self._host, self._port), self.app)
        except (OSError, OverflowError) as error:
            raise SandboxError(f"cannot listen on {self._host}:{self._port}: {error}") from error
        self._sockets.on_request = self._on_request
        self._port = self._sockets.server_address[1]
        serve = self._sockets.serve_forever
        threading.Thread(target=serve, args=(_POLL_S,), name="sandbox", daemon=True).start()
        return self

    def stop(self) -> None:
        """Close every socket; a client that waits for an answer sees a closed connection."""
        if self._sockets is not None:
            self._sockets.shutdown()
            self._sockets.server_close()
            self._sockets.hang_up()
            self._sockets = None

    def arrivals(self) -> list[Arrival]:
        """Everything that arrived, in order of first bytes, without control requests."""
        return self.app.log.all()

    def configure(self, *faults: Fault | dict[str, Any], seed: int = 0) -> None:
        """Replace the faults in force; without any, behave well again. Raises BadFault."""
        built = [fault if isinstance(fault, Fault) else Fault.build(fault) for fault in faults]
        self.app.faults.set(built, seed)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
