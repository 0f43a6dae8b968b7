"""How a running drain learns that it should end."""

import time

LOOK_S = 0.2
"""How often a wait looks up: the latest that a stop ends it."""


class StopFlag:
    """Set by a signal handler. Work goes on to its next natural end; a wait ends soon.

    A plain attribute: an Event's lock may be held by the very line that the signal interrupts.
    """

    def __init__(self) -> None:
        self._asked = False

    def set(self) -> None:
        """Asks for the end. Safe in a signal handler."""
        self._asked = True

    def clear(self) -> None:
        """Takes the request back: a work-horse starts afresh after its fork."""
        self._asked = False

    def is_set(self) -> bool:
        """Has the end been asked for?"""
        return self._asked

    def sleep(self, seconds: float) -> bool:
        """Waits; False as soon as the end is asked for."""
        ends_at = time.monotonic() + seconds
        while not self._asked and (left_s := ends_at - time.monotonic()) > 0:
            time.sleep(min(left_s, LOOK_S))
        return not self._asked


STOP = StopFlag()
