"""Waiting on the server with one command, while looking at what happens here; and ending a wait."""

import time
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import TimeoutError

from queueing.keys import Keys
from queueing.scripts import Scripts

LOOK_S = 0.2
WAIT_SLACK_S = 5.0
"""How late the answer to a wait may be before the server counts as gone."""


def wake_drain(
    redis: Redis, keys: Keys, *, always: bool = False, now_ms: int | None = None
) -> bool:
    """Makes the waiting drain look up; True if it was told.

    `always`: even if none is known to wait.
    """
    return bool(Scripts(redis, keys).run("wake", now_ms=now_ms, always=always))


def blocking_pop(connection: Any, key: str, timeout_s: float, stop: Callable[[], bool]) -> bool:
    """BLPOP, with looks at `stop` and at the clock instead of the connection's own time-out."""
    connection.send_command("BLPOP", key, f"{timeout_s:.3f}")
    ends_at = time.monotonic() + timeout_s + WAIT_SLACK_S
    while not connection.can_read(timeout=LOOK_S):
        if stop():
            connection.disconnect()  # takes the pop back
            return False
        if time.monotonic() > ends_at:
            raise TimeoutError(f"no answer {WAIT_SLACK_S:g} s after the end of a wait")
    return connection.read_response() is not None
