"""One form of log for every process: key=value lines on standard error, without secrets."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

import structlog

from settings import Settings

_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_LEAST = 4
"""A shorter secret would mask half of every line."""


def configure(settings: Settings | None = None) -> None:
    """Sets structlog up; the API key and passwords are masked wherever they turn up."""
    secrets = _secrets(settings) if settings else []

    render = structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])

    def render_masked(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        """The whole line is masked, so that no list or exception in it can tell more."""
        line = _USERINFO.sub("***@", render(logger, name, event))
        for secret in secrets:
            line = line.replace(secret, "***")
        return line

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


def _secrets(settings: Settings) -> list[str]:
    """Every key and password, as written in a URL and as meant, the longest first."""
    given = (settings.api_key, settings.db_password, settings.web_password)
    found = {secret.get_secret_value() for secret in given if secret}
    for url in (settings.redis_url, settings.database_url):
        password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
        found |= {password, unquote(password)}
    return sorted((s for s in found if len(s) >= _LEAST), key=len, reverse=True)
