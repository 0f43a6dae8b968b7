"""Server-sent events: what happens in Redis, told to open pages at once.

A refresh is an event whose id is that of the Redis stream, so that a page which was cut off says
where it stopped (Last-Event-ID) and misses nothing. Any other change of queue or quota is a
`change` without an id. One thread per process reads Redis, however many pages are open; beyond
MOST_STREAMS a page is told to poll (204), so that threads are left for everybody else.
"""

import json
import queue
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis import RedisError

from queueing.foreign import json_object
from runtime.context import Context

log = structlog.get_logger(__name__)

MOST_STREAMS = 16
HEARTBEAT_S = 15.0
"""Hosts cut a stream that is silent for a minute."""
LOOK_S = 0.5
"""How often a stream looks whether its process ends or its client has left."""
READ_MS = 500
"""How long a read of the stream waits; between two the rest of the state is compared."""
AGAIN_S = 1.0
BEGIN_S = 2.0
"""How long a stream waits for the reader before it asks for what its page missed."""
LAST_SEEN = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)
_STEP = 500
_WAITING_AT_MOST = 1000

Event = tuple[str, str]
"""Id in the Redis stream (empty: none) and the text as it is sent."""


@dataclass(eq=False)
class Listener:
    """One open page."""

    events: queue.Queue[Event] = field(default_factory=lambda: queue.Queue(_WAITING_AT_MOST))
    lost: bool = False
    """It fell behind; it comes back with the id of what it saw last."""


class Live:
    """Reads Redis for all open pages of this process."""

    def __init__(
        self,
        context: Context,
        on_refresh: Callable[[set[str]], None] = lambda symbols: None,
        *,
        alive: Callable[[], bool] = lambda: True,
        most: int = MOST_STREAMS,
    ) -> None:
        """`on_refresh` is told the symbols before the pages are. `alive` says whether this process
        goes on."""
        self._context, self._on_refresh, self._most = context, on_refresh, most
        self.alive = alive
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._reading = False
        self._begun = threading.Event()
        """The reader knows from where on it tells: ask for what came before after this only."""

    def join(self) -> Listener | None:
        """Add a page; None: there are as many as there may be."""
        with self._lock:
            if len(self._listeners) >= self._most:
                return None
            listener = Listener()
            self._listeners.add(listener)
            if not self._reading:
                self._reading = True
                self._begun.clear()
                threading.Thread(target=self._read, name="live", daemon=True).start()
            return listener

    def leave(self, listener: Listener) -> None:
        """Remove a page."""
        with self._lock:
            self._listeners.discard(listener)

    def stream(
        self, listener: Listener, last_seen: str | None, sock: socket.socket | None = None
    ) -> Iterator[str]:
        """Yield what the page is sent, first what it missed. Ends with the process or the page."""
        try:
            yield f"retry: {int(AGAIN_S * 1000)}\n\n"
            reached = (0, 0)
            if last_seen and LAST_SEEN.fullmatch(last_seen):
                if not self._begun.wait(BEGIN_S):
                    return
                reached = _order(last_seen)
                for id_, text in self._missed(last_seen):
                    reached = _order(id_)
                    yield text
            spoken = time.monotonic()
            while self.alive() and not listener.lost and not is_gone(sock):
                try:
                    id_, text = listener.events.get(timeout=LOOK_S)
                except queue.Empty:
                    if time.monotonic() - spoken < HEARTBEAT_S:
                        continue
                    id_, text = "", ": alive\n\n"
                if not id_ or _order(id_) > reached:
                    spoken = time.monotonic()
                    yield text
        except RedisError as error:  # what was missed cannot be read: the page comes back for it
            log.info("live.missed", error=type(error).__name__)
        finally:
            self.leave(listener)

    def _missed(self, last_seen: str) -> Iterator[Event]:
        redis, key = self._context.redis, self._context.keys.updates
        while True:
            rows: Any = redis.xrange(key, f"({last_seen}", count=_STEP)
            yield from (_refresh(id_, fields) for id_, fields in rows)
            if len(rows) < _STEP:
                return
            last_seen = rows[-1][0]

    def _read(self) -> None:
        """Tell every page what happens, as long as there is one."""
        newest, state = "$", None
        while self._wanted():
            try:
                newest = self._newest() if newest == "$" else newest
                self._begun.set()
                newest = self._refreshes(newest)
                before, state = state, self._state()
                if before not in (None, state):
                    self._tell([("", "event: change\ndata: {}\n\n")])
            except RedisError as error:
                log.info("live.redis", error=type(error).__name__)
                if state != "away":
                    self._tell([("", "event: change\ndata: {}\n\n")])
                state = "away"
                time.sleep(AGAIN_S)

    def _wanted(self) -> bool:
        with self._lock:
            self._reading = bool(self._listeners) and self.alive()
            return self._reading

    def _newest(self) -> str:
        rows: Any = self._context.redis.xrevrange(self._context.keys.updates, count=1)
        return str(rows[0][0]) if rows else "0-0"

    def _refreshes(self, newest: str) -> str:
        redis, key = self._context.redis, self._context.keys.updates
        found: Any = redis.xread({key: newest}, count=500, block=READ_MS)
        rows = found[0][1] if found else []
        if rows:
            events = [_refresh(id_, fields) for id_, fields in rows]
            self._on_refresh({symbol for _, fields in rows if (symbol := _symbol(fields))})
            self._tell(events)
        return rows[-1][0] if rows else newest

    def _state(self) -> str:
        """Everything else that pages show and that may change by itself, in short."""
        keys = self._context.keys
        pipe = self._context.redis.pipeline(transaction=False)
        pipe.hmget(keys.quota, "blocked_until", "hold_until", "open_since", "batch_at")
        pipe.hmget(keys.counters, "enqueued", "cancelled", "retried", "buried", "batches")
        for key in (keys.queue, keys.window, keys.leases, keys.delayed, keys.dead):
            pipe.zcard(key)
        pipe.get(keys.outage)
        pipe.lindex(keys.actions, 0)
        return json.dumps(pipe.execute())

    def _tell(self, events: list[Event]) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                for event in events:
                    listener.events.put_nowait(event)
            except queue.Full:
                listener.lost = True


def _refresh(id_: str, fields: dict[str, str]) -> Event:
    data = fields.get("event", "{}").replace("\n", " ").replace("\r", " ")
    return id_, f"id: {id_}\nevent: refresh\ndata: {data}\n\n"


def _symbol(fields: dict[str, str]) -> str | None:
    symbol = json_object(fields.get("event")).get("symbol")
    return symbol if isinstance(symbol, str) else None


def _order(id_: str) -> tuple[int, int]:
    ms, _, number = id_.partition("-")
    return int(ms), int(number)


def is_gone(sock: socket.socket | None) -> bool:
    """True if the client has closed its connection: its thread is then free at once."""
    if sock is None:
        return False
    try:
        # Asked first: a socket with a time-out waits that long for bytes, flags or no flags.
        ready = select.poll()
        ready.register(sock, select.POLLIN)
        return bool(ready.poll(0)) and sock.recv(1, socket.MSG_PEEK) == b""
    except (OSError, ValueError):
        return True
