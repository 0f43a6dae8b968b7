"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import requests

T = TypeVar("T")


def eventually(
    check: Callable[[], T | None], timeout_s: float = 60.0, *, every_s: float = 0.02, what: str = ""
) -> T:
    """Call `check` until it returns something true, and return that.

    An AssertionError inside `check` counts as "not yet". When `timeout_s` has passed:
    AssertionError with the last one's text, or the last value.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            value = check()
            problem: object = f"last value {value!r}"
            if value:
                return value
        except AssertionError as error:
            problem = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what or check}: {problem}")
        time.sleep(every_s)  # the only sleep of the tests: between two looks


def clear_of_the_end(of_every_s: int, margin_s: float) -> None:
    """Wait until the next multiple of a time has begun (UTC), if it begins within the margin."""
    slot = time.time() // of_every_s
    if of_every_s - time.time() % of_every_s < margin_s:
        eventually(lambda: time.time() // of_every_s > slot, margin_s + 5)


def answers(url: str) -> bool:
    """Does a server of this machine answer there, with success? One that starts refuses, or
    accepts before it can answer."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False
