"""REDIS_URL: a server (`redis://`, `rediss://`, `unix://`), or a service that sentinels name.

How the client behaves (time-outs, retries, decoding, protocol) is assetq's, and its promises rest
on it. Options of a URL would silently overrule it, so only those that lead to a server are let in.
"""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from settings.urls import checked_url

_LOGIN = ("username", "password")
_SENTINEL_LOGIN = ("sentinel_username", "sentinel_password")
_TLS = (
    *("ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_ca_path"),
    *("ssl_certfile", "ssl_keyfile", "ssl_password"),
)
_VALUES = {
    "db": (r"\d{1,5}", "a whole number"),
    "ssl_cert_reqs": ("none|optional|required", "none, optional or required"),
    "ssl_check_hostname": ("true|false", "true or false"),
}
_UNVERIFIED = {"ssl_cert_reqs": "none", "ssl_check_hostname": "false"}


@dataclass(frozen=True)
class SentinelUrl:
    """redis+sentinel://user:password@host:port,host:port/service/db: the master of a service.

    User and password are the server's. The options `sentinel_username` and `sentinel_password` are
    the sentinels'. rediss+sentinel:// is the same over TLS, to servers and sentinels.
    """

    SCHEMES: ClassVar = ("redis+sentinel://", "rediss+sentinel://")
    FORM: ClassVar = (
        "must name sentinels, the service and the number of a database, such as "
        "redis+sentinel://host:26379,host:26379/mymaster/0"
    )
    _FORM: ClassVar = re.compile(
        r"redis(?P<tls>s?)\+sentinel://(?:(?P<user>[^:@/]*):(?P<password>[^@/]*)@)?"
        r"(?P<hosts>[^@/?#\s]+)/(?P<service>[\w.-]+)(?:/(?P<db>\d{1,5}))?/?(?:\?(?P<query>[^#\s]*))?"
    )

    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int
    user: str | None
    password: str | None = field(repr=False)
    sentinel_login: dict[str, str] = field(default_factory=dict, repr=False)
    tls: dict[str, Any] = field(default_factory=dict)
    """`ssl=True` and what else redis-py must know for TLS; empty without TLS."""

    @classmethod
    def parse(cls, url: str) -> Self | None:
        """None for a URL of another kind; ValueError, which tells no secret, for a broken one."""
        if not url.startswith(cls.SCHEMES):
            return None
        form = cls._FORM.fullmatch(url)
        if form is None:
            raise ValueError(cls.FORM)
        over_tls = bool(form["tls"])
        options = _checked_options(form["query"] or "", _SENTINEL_LOGIN, tls=over_tls)
        return cls(
            hosts=tuple(_place(text) for text in form["hosts"].split(",")),
            service=form["service"],
            db=int(form["db"] or 0),
            user=unquote(form["user"] or "") or None,
            password=unquote(form["password"] or "") or None,
            sentinel_login={
                name.removeprefix("sentinel_"): options[name]
                for name in _SENTINEL_LOGIN
                if name in options
            },
            tls={"ssl": True, **_tls_options(options)} if over_tls else {},
        )


def _place(text: str) -> tuple[str, int]:
    place = re.fullmatch(r"(.+?)(?::(\d{1,5}))?", text)
    if place is None:
        raise ValueError(SentinelUrl.FORM)
    return place[1], int(place[2] or 26379)


def _tls_options(options: dict[str, str]) -> dict[str, Any]:
    """What redis-py must know for TLS, of the types that it expects."""
    found: dict[str, Any] = {name: value for name, value in options.items() if name in _TLS}
    if "ssl_check_hostname" in found:
        found["ssl_check_hostname"] = found["ssl_check_hostname"] == "true"
    return found


def checked_redis_url(value: str) -> str:
    """The URL unchanged; ValueError, which tells no secret, if it leads to no server or changes
    how the client works."""
    if SentinelUrl.parse(value):
        return value
    if value.startswith("unix://"):
        socket, _, query = value.partition("?")
        if "/" not in socket.removeprefix("unix://"):
            raise ValueError("must name a socket, such as unix:///run/redis.sock?db=0")
        _checked_options(query, ("db", *_LOGIN), tls=False)
        return value
    parts = checked_url(value, ("redis", "rediss"))
    if "," in parts.netloc.rpartition("@")[2]:
        raise ValueError("must name one server; several sentinels are redis+sentinel://a,b/service")
    if not re.fullmatch(r"/?\d*", parts.path):  # redis-py would silently take database 0
        raise ValueError("must end with the number of a database, such as redis://host:6379/0")
    given = _checked_options(parts.query, ("db", *_LOGIN), tls=parts.scheme == "rediss")
    if parts.path.strip("/") and "db" in given:
        raise ValueError("names its database twice; remove the option db")
    if "@" in parts.netloc and given.keys() & set(_LOGIN):
        raise ValueError("names its login twice; remove the options username and password")
    return value


def without_verification(url: str) -> str:
    """The same URL; over TLS it trusts any certificate."""
    if urlsplit(url).scheme not in ("rediss", "rediss+sentinel"):
        return url
    place, _, query = url.partition("?")
    return f"{place}?{urlencode(dict(parse_qsl(query)) | _UNVERIFIED)}"


def _checked_options(query: str, allowed: tuple[str, ...], *, tls: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        shown = name if re.fullmatch(r"[A-Za-z_]{1,30}", name) else "?"
        if name in _TLS and not tls:
            raise ValueError(f"the option {shown} needs TLS; write rediss:// or remove it")
        if name not in (*allowed, *_TLS):
            known = ", ".join((*allowed, *(_TLS if tls else ())))
            raise ValueError(f"the option {shown} is not one of {known}; remove it")
        if name in found:
            raise ValueError(f"the option {shown} is given twice; remove one of them")
        form, meaning = _VALUES.get(name, (r".+", "set, or absent"))
        if not re.fullmatch(form, value):
            raise ValueError(f"the option {shown} must be {meaning}")
        found[name] = value
    return found
