"""URLs of servers in general: what is one, and how it is shown without its secrets."""

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

_SECRET_OPTION = re.compile(r"(?i)([a-z_-]*(?:pass|pwd|auth|secret|key|token)[a-z_-]*)=[^&#]*")
_QUOTING = "write @ : / ? # % of a password as %40 %3A %2F %3F %23 %25"


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


def checked_url(value: str, schemes: tuple[str, ...]) -> SplitResult:
    """Parts of a URL with a host; ValueError, which tells no secret, for anything else.

    A password that is not quoted breaks the URL, and the error says so.
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
