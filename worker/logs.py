"""One form of log for every process: key=value lines on standard error, without secrets."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from settings import Settings

_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


def configure(settings: Settings | None = None) -> None:
    """Sets structlog up; the API key and passwords in URLs are masked wherever they turn up."""
    key = settings.api_key.get_secret_value() if settings and settings.api_key else ""

    render = structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])

    def render_masked(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        """The whole line is masked, so that no list or exception in it can tell more."""
        line = _USERINFO.sub("***@", render(logger, name, event))
        return line.replace(key, "***") if key else line

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render_masked,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
