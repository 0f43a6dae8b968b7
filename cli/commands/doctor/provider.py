"""The provider: reachable without a call that counts; what quota and capabilities hold."""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import certifi
from requests.utils import get_environ_proxies, select_proxy

from cli.commands.doctor.finding import Finding, fail, ok
from runtime.context import Context
from settings import Settings
from worker.capabilities import Capabilities

_TIMEOUT_S = 5.0


def plan_memory(context: Context) -> Iterator[Finding]:
    """What the provider refused to this key within a day."""
    capabilities = Capabilities(context)
    refused = capabilities.refused()
    words = "; ".join(f"{feed}: {text}" for feed, text in refused.items())
    yield ok(
        "plan",
        f"uses {capabilities.price_feed().name}" + (f"; refused are {words}" if words else ""),
    )


def reachable(settings: Settings) -> Iterator[Finding]:
    """Connects, through a proxy if one is set, and sends no request."""
    url = urlsplit(settings.base_url)
    host, tls = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if tls else 80)
    proxies = {} if _is_loopback(host) else get_environ_proxies(settings.base_url)
    proxy = select_proxy(settings.base_url, proxies)
    through = f" through the proxy {urlsplit(proxy).hostname}" if proxy else ""
    try:
        _connect(host, port, tls, proxy)
    except (OSError, http.client.HTTPException, ValueError) as error:
        yield fail("provider", f"{host}:{port}{through}: {_told(error)}", _remedy(error, proxy))
    else:
        what = "the proxy answers" if proxy and not tls else "connects"
        yield ok("provider", f"{host}:{port}{through}: {what} (no call was made)")


def _connect(host: str, port: int, tls: bool, proxy: str | None) -> None:
    """TCP, the proxy's CONNECT, TLS. Raises OSError, HTTPException."""
    place = (
        urlsplit(proxy if proxy is None or "://" in proxy else f"http://{proxy}") if proxy else None
    )
    near = (place.hostname or "", place.port or 80) if place else (host, port)
    if not tls:
        socket.create_connection(near, timeout=_TIMEOUT_S).close()
        return
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where()
    context = ssl.create_default_context(cafile=bundle)
    connection = http.client.HTTPSConnection(*near, timeout=_TIMEOUT_S, context=context)
    if place:
        connection.set_tunnel(host, port, headers=_login(place.username, place.password))
    try:
        connection.connect()
    finally:
        connection.close()


def _login(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(pair).decode()}"}


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT_S:g} s"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def _remedy(error: Exception, proxy: str | None) -> str:
    if isinstance(error, ssl.SSLError):
        return "Check POLYGON_BASE_URL, this host's clock, and REQUESTS_CA_BUNDLE."
    if isinstance(error, socket.gaierror):
        return "Correct the host in POLYGON_BASE_URL, or this host's DNS."
    if proxy:
        return "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and that the proxy allows this host."
    return "Correct POLYGON_BASE_URL, or let the firewall pass; set HTTPS_PROXY if there is one."


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
