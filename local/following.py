"""Shows what happens in the running system, until the user, a signal or the time ends it."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from local.views import View
from local.watching import Refresh, Watcher

_LOOK_S = 0.25
_EARLIER = 500


def follow(
    watcher: Watcher,
    view: View,
    for_s: float | None,
    *,
    each: Callable[[], None] = lambda: None,
    seen: Callable[[Refresh], None] = lambda _: None,
) -> bool:
    """Show what happens; returns True if the user asked for the end, False if the time is over.

    `each` is called at each look and may raise RedisError. `seen` gets each refresh before it is
    shown: who reads it may end the run at once. While Redis is away, this says so once and goes
    on. Raises KeyboardInterrupt.
    """
    end_s = float("inf") if for_s is None else time.monotonic() + for_s
    began = away = False
    while (left_s := end_s - time.monotonic()) > 0:
        try:
            each()
            if not began:
                view.earlier(watcher.earlier(_EARLIER))
                began = True
            for refresh in watcher.updates():
                seen(refresh)
                view.refreshed(refresh)
            view.status(watcher.status())
            if away:
                view.say("Redis answers again")
            away = False
        except redis.RedisError as error:
            if not away:
                view.say(f"Redis does not answer ({type(error).__name__}); waiting for it")
            away = True
        if view.wait(min(_LOOK_S, left_s)):
            return True
    return False
