"""One form of log for every process: key=value lines on standard error, without secrets."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from runtime.masking import Mask, secrets_of
from settings import Settings


def configure(settings: Settings | None = None) -> None:
    """Sets structlog up; the API key and passwords are masked wherever they turn up."""
    mask = Mask(secrets_of(settings) if settings else ())
    render = structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])

    def render_masked(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        """The whole line is masked, so that no list or exception in it can tell more."""
        return mask(render(logger, name, event))

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
