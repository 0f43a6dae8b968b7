"""The provider over HTTP: one `get` is at most one request, and every outcome has a type."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, NoReturn, TypeAlias
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from pydantic import SecretStr
from requests.auth import AuthBase
from requests.utils import get_environ_proxies

from market.access import checked_base_url, checked_key
from market.deadline import Attempt, SendDeadline
from market.errors import BadAnswer, MarketError, ProviderDown, SendDeadlinePassed
from market.refusals import refusal
from market.transport import GuardedAdapter

JsonDict: TypeAlias = dict[str, Any]

BODY_LIMIT_BYTES: Final = 16 * 1024 * 1024
TEXT_LIMIT: Final = 300
_HTTP_TROUBLE: Final = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)


class MarketClient:
    """One HTTP session with the provider; open it after a fork, use it from one thread.

    Nothing is retried, redirected or sent late: every call of `get` is at most one arrival at the
    provider. A crash in the middle leaves nothing behind but a request that may have arrived."""

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        *,
        timeout_s: float = 10.0,
        user_agent: str = "assetq",
    ) -> None:
        """`timeout_s` bounds reaching the server, and again sending and reading the whole answer.

        Proxies are taken from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) except for
        addresses of this machine; so is REQUESTS_CA_BUNDLE. Raises ValueError for a URL or key
        that cannot be used."""
        self._base_url = checked_base_url(base_url)
        self._timeout_s = timeout_s
        self._secret = checked_key(api_key).get_secret_value()
        self._session = _Session()
        self._session.trust_env = False  # a .netrc must not replace our header
        self._session.auth = _Bearer(api_key)
        self._session.headers.update(
            {"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "gzip"}
        )
        self._session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        if not _is_local(self._base_url):
            self._session.proxies.update(get_environ_proxies(self._base_url))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, GuardedAdapter(pool_connections=1, pool_maxsize=1))

    def get(self, path: str, params: Mapping[str, str], *, deadline: SendDeadline) -> JsonDict:
        """GET a path of the provider's API; the JSON object of a good answer, fractions as Decimal.

        Raises a MarketError in every other case; its `sent` and `answered` tell what the quota
        must assume. Nothing begins to be sent after `deadline`."""
        if deadline.remaining_s() <= 0:
            raise SendDeadlinePassed()
        attempt = Attempt(deadline, connect_s=self._timeout_s, read_s=self._timeout_s)
        trouble: MarketError
        try:
            with attempt.active(), contextlib.closing(self._open(path, params)) as response:
                return self._judge(response)
        except MarketError as exc:
            trouble = exc
        except _HTTP_TROUBLE as exc:
            trouble = _no_answer(exc, attempt)
        # Raised out here: the library's exceptions hold the request, and the request the key.
        raise self._clean(trouble)

    def _open(self, path: str, params: Mapping[str, str]) -> requests.Response:
        return self._session.get(
            self._base_url + path,
            params=dict(params),
            stream=True,
            allow_redirects=False,
            timeout=self._timeout_s,
        )

    def _judge(self, response: requests.Response) -> JsonDict:
        status = response.status_code
        if 300 <= status < 400:
            raise BadAnswer(_redirect(response.headers.get("Location", "")), status=status)
        try:
            body = _parse(_read(response), status)
        except (MarketError, *_HTTP_TROUBLE) as exc:
            if 200 <= status < 300:
                raise _broken_answer(exc, status) from None
            body = None  # the status alone tells enough
        error = refusal(status, body, response.headers)
        if error is not None:
            raise error
        if body is None:
            raise BadAnswer(status=status)
        return body

    def _clean(self, error: MarketError) -> MarketError:
        """Without key, control characters, endless pages, and exceptions that hold a request."""
        text = "".join(c if c.isprintable() else " " for c in error.message)
        error.message = text.replace(self._secret, "[key]")[:TEXT_LIMIT]
        error.args = (error.message,)
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)

    def close(self) -> None:
        """Close the connection; the client cannot be used afterwards."""
        self._session.close()

    def __enter__(self) -> MarketClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Session(requests.Session):
    """A session that never looks at redirects; the stock one reads their bodies without limit."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Bearer(AuthBase):
    """Writes the key into the request and shows it nowhere else."""

    def __init__(self, key: SecretStr) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        return request


def _redirect(location: str) -> str:
    try:
        host = urlsplit(location).hostname or "nowhere"
    except ValueError:
        host = "nowhere"
    return f"redirected to {host}; check the base URL"


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(65536):
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            raise BadAnswer("the answer is too large")
    return bytes(body)


def _parse(body: bytes, status: int) -> JsonDict:
    try:
        parsed = json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError, ArithmeticError) as exc:
        raise BadAnswer(f"not JSON: {exc}", status=status) from None
    if not isinstance(parsed, dict):
        raise BadAnswer("not a JSON object", status=status)
    return parsed


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _broken_answer(exc: BaseException, status: int) -> MarketError:
    """A good head with a bad body: the provider was reached, whatever came after."""
    if isinstance(exc, BadAnswer):
        return BadAnswer(exc.message, status=status)
    if isinstance(exc, requests.ConnectionError):
        return ProviderDown(f"the answer stopped: {_root(exc)}", status=status)
    return BadAnswer(f"the answer is broken: {_root(exc)}", status=status)


def _no_answer(exc: BaseException, attempt: Attempt) -> MarketError:
    if not attempt.sent and attempt.deadline.remaining_s() <= 0:
        return SendDeadlinePassed(f"nothing was sent before the send deadline: {_root(exc)}")
    root = _root(exc)
    kind = BadAnswer if attempt.answered or "BadStatusLine" in root else ProviderDown
    where = "no answer" if attempt.sent else "cannot be reached"
    return kind(f"{where}: {root}", answered=attempt.answered, sent=attempt.sent)


def _root(exc: BaseException) -> str:
    """The innermost cause in a few words; the outer layers repeat it with object addresses."""
    while (inner := exc.__cause__ or exc.__context__) is not None:
        exc = inner
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
