"""Headers of every answer, the login, and who may change something."""

import hmac
import secrets
from urllib.parse import urlsplit

from flask import Request, Response
from pydantic import SecretStr

USER = "admin"
STRICT_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_SAFE = {"GET", "HEAD", "OPTIONS"}


def set_headers(response: Response) -> Response:
    """What holds for every answer; a page with scripts brings a policy of its own."""
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin"
    headers.setdefault("Content-Security-Policy", STRICT_POLICY)
    headers.setdefault("Cache-Control", "no-store")
    return response


def logged_in(request: Request, password: SecretStr) -> bool:
    """HTTP Basic. Takes the same time however much of it is right."""
    login = request.authorization
    given_user = login.username if login and login.type == "basic" else None
    given_password = login.password if login and login.type == "basic" else None
    right_user = hmac.compare_digest((given_user or "").encode(), USER.encode())
    right_password = hmac.compare_digest(
        (given_password or "").encode(), password.get_secret_value().encode()
    )
    return right_user & right_password


def ask_for_login() -> Response:
    """401, which makes a browser ask."""
    headers = {"WWW-Authenticate": 'Basic realm="assetq", charset="UTF-8"'}
    return Response("Log in as admin with WEB_PASSWORD.\n", 401, headers, mimetype="text/plain")


def from_elsewhere(request: Request) -> bool:
    """Was this change asked for by a page of another site?

    A browser sends the login along with whatever any page asks of us. It also says where the page
    came from; programs that are no browsers say nothing, and nobody can make them do things.
    """
    if request.method in _SAFE:
        return False
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host


def new_nonce() -> str:
    """Marks the scripts of one answer as ours."""
    return secrets.token_urlsafe(16)
