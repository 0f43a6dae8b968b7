"""Headers of every answer, the login, and who may change something."""

import secrets
import time
from collections import deque
from urllib.parse import urlsplit

from flask import Request, Response

STRICT_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_SAFE = {"GET", "HEAD", "OPTIONS"}
_MOST_ADDRESSES = 1000


def set_headers(response: Response) -> Response:
    """Set what holds for every answer; a page with scripts brings a policy of its own."""
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin"
    headers.setdefault("Content-Security-Policy", STRICT_POLICY)
    headers.setdefault("Cache-Control", "no-store")
    return response


def ask_for_login() -> Response:
    """Answer 401, which makes a browser ask."""
    headers = {"WWW-Authenticate": 'Basic realm="assetq", charset="UTF-8"'}
    return Response("Log in as admin with WEB_PASSWORD.\n", 401, headers, mimetype="text/plain")


class Throttle:
    """Counts the wrong logins of each address; too many are refused unread for a while."""

    def __init__(self, *, allowed: int = 60, within_s: float = 60.0) -> None:
        self._allowed, self._within_s = allowed, within_s
        self._failed_at: dict[str, deque[float]] = {}

    def refuses(self, address: str) -> bool:
        """True while this address has used up its wrong logins."""
        failed_at = self._failed_at.get(address, ())
        since = time.monotonic() - self._within_s
        return sum(at > since for at in failed_at) >= self._allowed

    def failed(self, address: str) -> None:
        """Count a wrong login."""
        if address not in self._failed_at and len(self._failed_at) >= _MOST_ADDRESSES:
            del self._failed_at[next(iter(self._failed_at))]
        kept = self._failed_at.setdefault(address, deque(maxlen=self._allowed))
        kept.append(time.monotonic())

    def answer(self) -> Response:
        """Answer 429."""
        headers = {"Retry-After": f"{self._within_s:.0f}"}
        text = f"Too many wrong logins. Wait {self._within_s:.0f} s.\n"
        return Response(text, 429, headers, mimetype="text/plain")


def from_elsewhere(request: Request) -> bool:
    """True if a page of another site asks for this change.

    A browser sends the login along with whatever any page asks of us, but also where that page came
    from; other programs say nothing, and no page can make them do anything. Behind a proxy that
    passes on another Host, what the browser says of itself must do: Sec-Fetch-Site, or a header
    that scripts of other sites may not send.
    """
    if request.method in _SAFE:
        return False
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    if request.headers.get("X-Requested-With") == "XMLHttpRequest":
        return False
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host


def new_nonce() -> str:
    """Make the mark of the scripts of one answer."""
    return secrets.token_urlsafe(16)
