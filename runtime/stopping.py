"""The flag that asks running work to end."""

import time

LOOK_S = 0.2
"""The interval at which a wait looks at the flag: a stop ends it within this time."""


class StopFlag:
    """A request to end, set by a signal handler: a call is finished first, a wait ends soon.

    It is a plain attribute, because the signal may interrupt the very line that holds an Event's
    lock.
    """

    def __init__(self) -> None:
        self._asked = False

    def set(self) -> None:
        """Ask for the end. Safe in a signal handler."""
        self._asked = True

    def clear(self) -> None:
        """Withdraw the request: a work-horse starts afresh after its fork."""
        self._asked = False

    def is_set(self) -> bool:
        """True once the end has been asked for."""
        return self._asked

    def sleep(self, seconds: float) -> bool:
        """Wait so long; return False as soon as the end is asked for."""
        ends_at = time.monotonic() + seconds
        while not self._asked and (left_s := ends_at - time.monotonic()) > 0:
            time.sleep(min(left_s, LOOK_S))
        return not self._asked


STOP = StopFlag()
