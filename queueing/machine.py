"""This machine's own clock, which nobody sets.

A script that is told how long the machine runs can tell a step of Redis' clock from time that
passed (lib/clock.lua). Linux only; elsewhere the scripts believe Redis' clock.
"""

import os
import time
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE = "/proc/self/ns/time"


@cache
def machine() -> str | None:
    """Name this run of this machine, in which all processes read one clock; None: unknown."""
    try:
        boot = _BOOT_ID.read_text("ascii")
        return f"{boot[:13]}:{os.readlink(_TIME_NAMESPACE).strip('time:[]')}"
    except OSError:
        return None


def uptime(now_ms: int | None = None) -> dict[str, str | int]:
    """Return the arguments that tell a script how long this machine runs, suspended or not; none
    beside a simulated clock."""
    name = machine() if now_ms is None else None
    if name is None:
        return {}
    return {"machine": name, "up_ms": time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000}
