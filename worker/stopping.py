"""How a running drain learns that it should end."""

import threading
from collections.abc import Callable


class StopWaiting(Exception):
    """A stop was asked for while the drain waited."""


class StopFlag:
    """Set by a signal handler. Work goes on to its next natural end; a wait ends at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._waiting = False

    def set(self) -> None:
        """Asks for the end. Called by a signal handler in the main thread."""
        self._asked.set()
        if self._waiting:
            self._waiting = False
            raise StopWaiting

    def clear(self) -> None:
        """Takes the request back: a work-horse starts afresh after its fork."""
        self._asked.clear()
        self._waiting = False

    def is_set(self) -> bool:
        """Has the end been asked for?"""
        return self._asked.is_set()

    def wait(self, block: Callable[[], bool]) -> bool:
        """Runs a blocking wait that a stop interrupts; False then.

        After a stop the connection that waited may be in the middle of a reply: drop it.
        """
        try:
            try:
                self._waiting = True
                return False if self._asked.is_set() else block()
            finally:  # a signal may strike until this line is done, so it is caught outside
                self._waiting = False
        except StopWaiting:
            return False


STOP = StopFlag()
