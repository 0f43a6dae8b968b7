"""Replaces secrets in text before it is logged or printed."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from settings import Settings

_USERINFO = re.compile(r"(?<=://)[^/\s]*@")
_NAMES = (
    "MASSIVE_API_KEY",
    "POLYGON_API_KEY",
    "DB_PASSWORD",
    "WEB_PASSWORD",
    "WEB_READER_PASSWORD",
    "PGPASSWORD",
)
_URLS = ("REDIS_URL", "DATABASE_URL")
_SHORTEST = 4
"""A shorter secret would mask half of every text."""
_SHORTEST_PART = 8


class Mask:
    """Replaces each of `secrets`, as written and percent-encoded, and the login of any URL.

    Of a secret with blanks, such as two keys pasted into one variable, each long part is one.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        given = set(secrets)
        given |= {part for s in given for part in s.split() if len(part) >= _SHORTEST_PART}
        forms = {form for s in given for form in (s, quote(s, safe="", errors="replace"))}
        forms |= {unquote(form) for form in forms}
        self._forms = sorted((f for f in forms if len(f) >= _SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without them."""
        clean = _USERINFO.sub("***@", text)
        for form in self._forms:
            clean = clean.replace(form, "***")
        return clean


def secrets_of(settings: Settings) -> set[str]:
    """The API key and every password that the settings hold."""
    pages = (settings.web_password, settings.web_reader_password)
    given = (settings.api_key, settings.db_password, *pages)
    found = {secret.get_secret_value() for secret in given if secret}
    urls = (settings.redis_url, settings.database_url)
    return found | {password for url in urls for password in _passwords(url)}


def secrets_of_environment(env_file: str = ".env") -> set[str]:
    """The same from the environment and `.env`, for when the settings cannot be read."""
    from dotenv import dotenv_values

    values: dict[str, str | None] = dict(os.environ)
    if Path(env_file).is_file():
        # Undecodable bytes are replaced: the file's encoding may be the error that is reported.
        text = Path(env_file).read_text("utf-8-sig", errors="replace")
        values |= dotenv_values(stream=io.StringIO(text))
    found = {value for name in _NAMES if (value := values.get(name))}
    return found | {p for name in _URLS for p in _passwords(values.get(name) or "")}


def complaint(error: Exception) -> str:
    """What a process says as it ends because of its settings or servers, in one line."""
    return f"assetq: {Mask(secrets_of_environment())(str(error))}"


def _passwords(url: str) -> set[str]:
    """Find the passwords without parsing: a malformed URL holds one, too."""
    userinfo = url.partition("://")[2].rpartition("@")[0]
    password = userinfo.partition(":")[2]
    in_query = re.findall(r"[?&]password=([^&]+)", url)
    return {word for word in (password, *in_query) if word}
