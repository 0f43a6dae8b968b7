"""Ports for servers of the tests that nothing else takes between the look and the use.

What the kernel gives to connections, and to servers that name no port, may be gone a moment later,
and while a server is down that is started again on its port.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

from local.servers.server import port_is_free

_FIRST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LAST = max(int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768, 2 * _FIRST)
# The processes of one run begin far apart, and two runs most likely do.
_begin = random.Random(os.getpid()).randrange(_FIRST, _LAST)
_candidates: Iterator[int] = itertools.cycle((*range(_begin, _LAST), *range(_FIRST, _begin)))


def own_port() -> int:
    """Return a free port of this process alone, below those that the kernel gives away."""
    return next(port for port in _candidates if port_is_free(port))
