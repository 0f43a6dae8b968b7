"""One form of log for every process: key=value lines on standard error, without secrets.

A log that cannot be written costs lines and nothing else: no call here raises, and none waits for
longer than a moment for the reader of the lines. Lost lines are counted, and reported by the first
line that can be written again. A process and those that it forks count together.
"""

import logging
import mmap
import os
import select
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from runtime.masking import Mask, secrets_of
from settings import Settings

_configured: list["Lines"] = []
"""Where the lines of this process go."""
PATIENCE_S = 0.2
"""The longest wait for a full pipe or terminal; after it lines are lost at once until it drains."""
_FIRST = ("timestamp", "level", "event")
_PIPE_CHUNK = 4096
"""What a pipe takes whole once it is writable (PIPE_BUF)."""


def configure(settings: Settings | None = None, *, level: int = logging.INFO) -> None:
    """Set up structlog; the API key and passwords are masked wherever they turn up."""
    mask = Mask(secrets_of(settings) if settings else ())

    def render(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        """Mask the whole line, so that no list or exception in it can reveal more."""
        return mask(rendered(event))

    lines = next((known for known in _configured if known.stream is sys.stderr), None)
    lines = lines or Lines(sys.stderr)  # a work-horse keeps the one that it shares with its worker
    _configured[:] = [lines]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lines,
        cache_logger_on_first_use=False,
    )
    _take_over(lines, mask)


def is_lost() -> bool:
    """True while the log of this process and of those that it forked cannot be written.

    Tries it, if the last line was lost.
    """
    return not all(lines.report_lost() for lines in _configured)


def _take_over(lines: "Lines", mask: Mask) -> None:
    """Send what libraries log (RQ, rq-scheduler) the same way."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(lines, mask))


class _LibraryHandler(logging.Handler):
    """Writes the standard library's log records as our own lines."""

    def __init__(self, lines: "Lines", mask: Mask) -> None:
        super().__init__()
        self._lines, self._mask = lines, mask

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; a record that cannot be formatted is named."""
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - whatever its arguments raise
            text = f"{record.msg!r} ({type(error).__name__})"
        event = {
            "timestamp": _now(),
            "level": record.levelname.lower(),
            "event": text,
            "logger": record.name,
        }
        self._lines.msg(self._mask(rendered(event)))


def rendered(event: Mapping[str, Any]) -> str:
    """Write an event as key=value pairs, time, level and name first."""
    keys = [key for key in _FIRST if key in event] + [key for key in event if key not in _FIRST]
    return " ".join(f"{key}={_shown(event[key])}" for key in keys)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - whatever a value's own code raises
        return f"<{type(value).__name__}: {type(error).__name__} in its repr>"


class Lines:
    """Writes lines to a stream that may be full, broken or closed; structlog's logger factory."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self._patience_s = PATIENCE_S
        self._torn = False
        """A line was begun and not ended."""
        self._shared = mmap.mmap(-1, 8)

    @property
    def lost(self) -> int:
        """How many lines were lost since one could be written, here and in forked processes."""
        return int.from_bytes(self._shared[:8])

    @lost.setter
    def lost(self, count: int) -> None:
        self._shared[:8] = count.to_bytes(8)

    def __call__(self, *args: Any) -> "Lines":
        """Return the logger: the same for every name."""
        return self

    def msg(self, line: str) -> None:
        """Write one line, or count it as lost."""
        if not (self.report_lost() and self._written(line)):
            self.lost += 1

    def report_lost(self) -> bool:
        """Report how many lines were lost, if any were; False: that cannot be written either."""
        if not self.lost:
            return True
        event = {"timestamp": _now(), "level": "warning", "event": "log.lost"}
        if not self._written(rendered(event | {"lines": self.lost})):
            return False
        self.lost = 0
        return True

    def write(self, text: str) -> None:
        """Write a line as to a stream: for a logging.StreamHandler of a library's own."""
        self.msg(text.removesuffix("\n"))

    def flush(self) -> None:
        """Nothing is buffered."""

    debug = info = warning = warn = error = critical = fatal = exception = log = failure = msg

    def _written(self, line: str) -> bool:
        if self.stream is None:
            return False
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        begin = "\n" if self._torn else ""
        data = f"{begin}{line}\n".encode(encoding, "backslashreplace")
        try:
            fd = self.stream.fileno()
        except (OSError, ValueError):  # no file is behind it, as in tests, or it is closed
            return self._into_stream(data.decode(encoding))
        try:
            return self._into_file(fd, data)
        except (OSError, ValueError):
            return False

    def _into_file(self, fd: int, data: bytes) -> bool:
        """Write past the stream's buffer, which would keep a line that failed for the next try."""
        for start in range(0, len(data), _PIPE_CHUNK):
            _, ready, _ = select.select([], [fd], [], self._patience_s)
            if not ready:
                self._patience_s = 0.0
                return False
            chunk = data[start : start + _PIPE_CHUNK]
            self._torn = True
            if os.write(fd, chunk) < len(chunk):
                return False
        self._torn = False
        self._patience_s = PATIENCE_S
        return True

    def _into_stream(self, text: str) -> bool:
        assert self.stream is not None
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):
            return False
        return True


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
