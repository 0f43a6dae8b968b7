"""URLs of servers: what is one, what it says, and how it is shown without its secrets."""

import re
from dataclasses import dataclass
from typing import ClassVar, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit


@dataclass(frozen=True)
class SentinelUrl:
    """redis+sentinel://user:password@host:port,host:port/service/db: the master of a service.

    User and password are the server's; the sentinels are asked without.
    """

    SCHEME: ClassVar = "redis+sentinel://"
    _FORM: ClassVar = re.compile(
        r"redis\+sentinel://(?:(?P<user>[^:@/]*):(?P<password>[^@/]*)@)?"
        r"(?P<hosts>[^@/?#\s]+)/(?P<service>[\w.-]+)(?:/(?P<db>\d{1,5}))?/?"
    )

    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int
    user: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str) -> Self | None:
        """None for anything else."""
        form = cls._FORM.fullmatch(url)
        if form is None:
            return None
        each = form["hosts"].split(",")
        places = [re.fullmatch(r"(.+?)(?::(\d{1,5}))?", place) for place in each]
        hosts = tuple((place[1], int(place[2] or 26379)) for place in places if place)
        if len(hosts) != len(places):
            return None
        user, password = unquote(form["user"] or ""), unquote(form["password"] or "")
        return cls(hosts, form["service"], int(form["db"] or 0), user or None, password or None)


def redacted_url(url: str) -> str:
    """The URL for people: user, password and secret options are masked, also in a broken one."""
    scheme, found, rest = url.partition("://")
    if not found:
        return "***" if "@" in url else url
    place, mark, query = rest.partition("?")
    if "@" in query:  # a question mark in the password: everything up to the last @ is login
        place, mark, query = rest, "", ""
    if "@" in place:
        place = "***@" + place.rpartition("@")[2]
    return f"{scheme}://{place}{mark}" + _SECRET_OPTION.sub(r"\1=***", query)


_SECRET_OPTION = re.compile(r"(?i)([a-z_-]*(?:pass|secret|key|token)[a-z_-]*)=[^&#]*")


def checked_url(value: str, schemes: tuple[str, ...]) -> SplitResult:
    """Parts of a URL with host; ValueError, which tells no secret, for all else.

    A password that is not quoted tears it, and is told as such.
    """
    example = f"must be a URL such as {schemes[0]}://host:port/…"
    scheme, _, rest = value.partition("://")
    if scheme not in schemes:
        raise ValueError(example)
    if rest.count("@") > 1 or re.search(r"[/?#].*@|\s", rest):
        raise ValueError(f"cannot be read: {_QUOTING}")
    try:
        parts = urlsplit(value)
        # PostgreSQL's may name several places.
        places = [urlsplit(f"//{p}") for p in parts.netloc.rpartition("@")[2].split(",")]
        named = all(place.hostname and place.port != 0 for place in places)
    except ValueError:
        raise ValueError(f"{example}, with a number as port; {_QUOTING}") from None
    if not named and "host" not in dict(parse_qsl(parts.query)):  # an option may name a socket
        raise ValueError(f"{example}, with a host and a port above 0")
    return parts


_QUOTING = "write @ : / ? # % of a password as %40 %3A %2F %3F %23 %25"
