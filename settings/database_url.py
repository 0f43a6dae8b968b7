"""DATABASE_URL and DB_*: what leads to PostgreSQL."""

import re
from ipaddress import IPv6Address
from urllib.parse import quote

from settings.urls import checked_url


def checked_database_url(value: str) -> str:
    """The URL as libpq reads it (hosts also write postgres://); ValueError for anything else."""
    checked_url(value, ("postgresql", "postgres"))
    return "postgresql://" + value.partition("://")[2]


def checked_host(value: str) -> str:
    """The host, address (IPv6 without brackets) or directory of a socket; ValueError otherwise."""
    if value.startswith("/"):
        return value
    try:
        return str(IPv6Address(value.removeprefix("[").removesuffix("]")))
    except ValueError:
        if not re.fullmatch(r"[^\s/:@?#]+", value):
            raise ValueError(
                "must be a host name, an address or a socket's directory; the port is DB_PORT"
            ) from None
        return value


def joined(*, host: str, port: int, name: str, user: str, password: str) -> str:
    """One URL of its parts, each quoted."""
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    place = f"[{host}]" if ":" in host else quote(host, safe="")
    return f"postgresql://{login}@{place}:{port}/{quote(name, safe='')}"
