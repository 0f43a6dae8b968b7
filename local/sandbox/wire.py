"""HTTP/1.1 on a socket, just enough of it, with the arrival stamped at the first byte."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from local.sandbox.errors import SandboxError
from local.sandbox.stamps import Moment, receive

_MAX_HEAD: Final = 65_536
_MAX_BODY: Final = 1_048_576


class Malformed(SandboxError):
    """that is not an HTTP request"""


@dataclass(frozen=True, slots=True)
class Request:
    """A request; header names are lower case, `query` holds the last of repeated names."""

    seq: int
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def key(self) -> str:
        """The API key it carries: Bearer first, else the query's apiKey; empty when none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        return self.query.get("apiKey", "")

    @property
    def keeps_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


class Manner(StrEnum):
    """How a reply is put on the wire."""

    WHOLE = "whole"
    CUT = "cut"  # promises more bytes than it sends, then closes
    DRIP = "drip"  # a byte at a time
    HANG = "hang"  # nothing, ever
    RESET = "reset"  # connection reset instead of an answer


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `delay_s` passes before its first byte."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: Manner = Manner.WHOLE
    delay_s: float = 0.0
    drip_s: float = 0.2

    def head(self, keeps_alive: bool) -> bytes:
        """Status line and headers, as they go out."""
        lines = [
            f"HTTP/1.1 {self.status} {_phrase(self.status)}",
            "Server: nginx",
            f"Date: {formatdate(usegmt=True)}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            f"Connection: {'keep-alive' if keeps_alive else 'close'}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class RequestReader:
    """Reads requests off one connection, one after the other, pipelined ones too.

    `began(mono_ns, wall_s)` is called when the first byte of a request has come and returns the
    number of the arrival; for a pipelined request that is when the bytes it came with came."""

    def __init__(self, connection: socket.socket, began: Callable[[int, float], int]) -> None:
        self._connection, self._began = connection, began
        self._buffer = b""
        self._came = Moment(0, 0.0)
        self.seq: int | None = None  # of the request being read or answered

    def next(self) -> Request | None:
        """The next request, or None when the client closed first. Raises Malformed, OSError."""
        self.seq = None
        if not self._buffer and not self._more():
            return None
        self.seq = self._began(*self._came)
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_HEAD:
                raise Malformed("the head of the request is too long")
            if not self._more():
                return None
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        return self._parse(self.seq, head.decode("latin-1"))

    def _parse(self, seq: int, head: str) -> Request | None:
        first, *lines = head.split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise Malformed
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = self._body(headers.get("content-length", "0"))
        if body is None:
            return None
        target = urlsplit(words[1])
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        return Request(seq, words[0], unquote(target.path), query, headers, body)

    def _body(self, length: str) -> bytes | None:
        if not length.isascii() or not length.isdigit() or int(length) > _MAX_BODY:
            raise Malformed("the length of the body is not acceptable")
        while len(self._buffer) < int(length):
            if not self._more():
                return None
        body, self._buffer = self._buffer[: int(length)], self._buffer[int(length) :]
        return body

    def _more(self) -> bool:
        data, self._came = receive(self._connection, 65_536 if self._buffer else 1)
        self._buffer += data
        return bool(data)
