"""Who may look at the pages and who may change something: the one door of the web process.

With WEB_PASSWORD the user `admin` sees everything, rq-dashboard included, and may do what
WEB_ACTIONS lists; with WEB_READER_PASSWORD the user `reader` sees the pages and changes nothing.
Without WEB_PASSWORD nobody changes anything; without any password the pages are for a browser on
this machine.
"""

import hmac
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Request, Response, g, request
from pydantic import SecretStr

from settings import Settings
from web.security import Throttle, ask_for_login, from_elsewhere

ADMIN, READER = "admin", "reader"
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
CLOSED = (
    "Without a password the pages are shown to this machine alone: set WEB_PASSWORD, restart the "
    "web process, and log in as admin. /health/batch, /metrics and /healthz need no login.\n"
)
ELSEWHERE = "A page of another site asked for this, or the proxy changes the Host header."


class Right(StrEnum):
    """What may be done on the pages, each on its own."""

    REFRESH = "refresh"
    DEAD = "dead"
    PAUSE = "pause"
    BLOCK = "block"
    CONSUME = "consume"


@dataclass(frozen=True)
class Visitor:
    """Whoever sent this request."""

    name: str
    rights: frozenset[Right] = frozenset()


class Door:
    """Lets requests in, or answers why not. One per process: it counts the wrong logins."""

    def __init__(self, settings: Settings) -> None:
        self._passwords = {
            name: password
            for name, password in (
                (ADMIN, settings.web_password),
                (READER, settings.web_reader_password),
            )
            if password is not None
        }
        self._rights = frozenset(map(Right, settings.web_actions))
        self._throttle = Throttle()

    def refusal(self, *, admin_only: bool = False) -> Response | None:
        """Return the answer that refuses this request; None: `g.visitor` is in."""
        visitor = self._visitor()
        if isinstance(visitor, Response):
            return visitor
        if admin_only and visitor.name != ADMIN:
            return Response("This is for the user admin.\n", 403, mimetype="text/plain")
        if from_elsewhere(request):
            return Response(f"{ELSEWHERE}\n", 403, mimetype="text/plain")
        g.visitor = visitor
        return None

    def _visitor(self) -> Visitor | Response:
        if not self._passwords:
            local = Visitor("this machine")
            closed = Response(CLOSED, 403, mimetype="text/plain")
            return local if from_this_machine(request) else closed
        address = request.remote_addr or ""
        if self._throttle.refuses(address):
            return self._throttle.answer()
        name = _login(request, self._passwords)
        if name is None:
            if request.authorization:
                self._throttle.failed(address)
            return ask_for_login()
        return Visitor(name, self._rights if name == ADMIN else frozenset())


def _login(asked: Request, passwords: dict[str, SecretStr]) -> str | None:
    """Return the user whose login this is; takes the same time however much of it is right."""
    login = asked.authorization
    basic = login if login and login.type == "basic" else None
    given = f"{(basic and basic.username) or ''}:{(basic and basic.password) or ''}".encode()
    found = None
    for name, password in passwords.items():
        if hmac.compare_digest(given, f"{name}:{password.get_secret_value()}".encode()):
            found = name
    return found


def from_this_machine(asked: Request) -> bool:
    """True for a browser on this machine that asked without a proxy, under a name of this machine:
    a name of its own is how a page of another site would reach us (DNS rebinding)."""
    if any(name in asked.headers for name in _FORWARDED):
        return False
    host = urlsplit(f"//{asked.host}").hostname or ""
    return _loopback(asked.remote_addr or "") and (host == "localhost" or _loopback(host))


def _loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
