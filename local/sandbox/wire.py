"""A request and its answer, apart from the sockets they travel on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


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
