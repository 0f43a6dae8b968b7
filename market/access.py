"""How the provider is reached: which base URL and which API key can be used at all."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import SecretStr


def checked_base_url(url: str) -> str:
    """The base URL without trailing slash; ValueError unless it is plain http(s)://host[:port]."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must look like https://api.example.com")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "must be an address without user, key or query, such as https://api.example.com"
        )
    _ = parts.port  # raises ValueError when out of range
    return url.rstrip("/")


def checked_key(key: SecretStr) -> SecretStr:
    """The key; ValueError, which does not show it, unless it fits into a header."""
    if not re.fullmatch(r"[!-~]+", key.get_secret_value()):
        raise ValueError(
            "is empty, or holds a space, a line break or a character outside ASCII; copy the key "
            "once more"
        )
    return key
