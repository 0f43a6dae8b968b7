"""The last guard: whatever an error says, no key and no password is printed with it."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from settings import Settings

_USERINFO = re.compile(r"(?<=://)[^/\s]*@")
_NAMES = ("MASSIVE_API_KEY", "POLYGON_API_KEY", "DB_PASSWORD", "WEB_PASSWORD", "PGPASSWORD")
_URLS = ("REDIS_URL", "DATABASE_URL")
_LEAST = 4  # a shorter secret would mask half of every text


def of(settings: Settings) -> set[str]:
    """All secrets that the settings hold."""
    given = (settings.api_key, settings.db_password, settings.web_password)
    found = {secret.get_secret_value() for secret in given if secret}
    urls = (settings.redis_url, settings.database_url)
    return found | {password for url in urls for password in _passwords(url)}


def of_environment(env_file: str = ".env") -> set[str]:
    """The same when the settings could not be read."""
    from dotenv import dotenv_values

    values: dict[str, str | None] = dict(os.environ)
    if Path(env_file).is_file():
        # Also where it is not UTF-8, which is then the error to be told.
        text = Path(env_file).read_text("utf-8-sig", errors="replace")
        values |= dotenv_values(stream=io.StringIO(text))
    found = {value for name in _NAMES if (value := values.get(name))}
    return found | {p for name in _URLS for p in _passwords(values.get(name) or "")}


def masked(text: str, secrets: set[str]) -> str:
    """The text without them, and without user and password in any URL."""
    clean = _USERINFO.sub("***@", text)
    for secret in sorted(secrets, key=len, reverse=True):
        for form in {secret, quote(secret, safe="", errors="replace"), unquote(secret)}:
            if len(form) >= _LEAST:
                clean = clean.replace(form, "***")
    return clean


def _passwords(url: str) -> set[str]:
    """By hand: a URL that cannot be parsed has a password, too."""
    userinfo = url.partition("://")[2].rpartition("@")[0]
    password = userinfo.partition(":")[2]
    in_query = re.findall(r"[?&]password=([^&]+)", url)
    return {word for word in (password, *in_query) if word}
