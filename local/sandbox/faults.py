"""Faults on demand: what goes wrong, for which requests, how often, with a seeded die."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from local.sandbox import answers
from local.sandbox.errors import SandboxError
from local.sandbox.wire import Manner, Reply

Kind = Literal[
    "delay",  # wait between min_s and max_s, then answer as usual
    "rate_limited",  # 429, with Retry-After if retry_after_s is given
    "empty_429",  # 429 without a body
    "server_error",  # `status` (500 unless told) with a page of HTML
    "html",  # 200 with a page of HTML
    "truncated",  # 200 with the first half of the JSON
    "cut",  # promises more bytes than it sends, then closes
    "nan",  # prices are NaN, which is not JSON
    "wrong_types",  # prices are words, lists of results are objects
    "zeros",  # prices are 0, as when the provider clears its snapshots
    "bad_request",  # 400, as for a parameter that makes no sense
    "refusal",  # 200 whose body says NOT_AUTHORIZED
    "empty",  # 200 without a body
    "redirect",  # 302 to another host
    "drip",  # the right answer, a byte every drip_s
    "hang",  # accepts and never answers
    "reset",  # resets the connection
]
_PAGE: Final = b"<html><head><title>%d</title></head><body><h1>nginx</h1></body></html>"
_PRICES: Final = frozenset(
    ("o", "h", "l", "c", "vw", "a", "b", "p", "price", "ask", "bid", "midpoint")
).union(("open", "high", "low", "close", "previous_close"))


class BadFault(SandboxError):
    """that is not a fault the sandbox knows"""


class Fault(BaseModel):
    """One rule. It strikes a request with `probability`, at most `count` times, only requests for
    one of `tickers` if any are named, and only paths that contain `path`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Kind
    probability: float = Field(default=1.0, ge=0, le=1)
    count: int | None = Field(default=None, ge=1)
    tickers: tuple[str, ...] = ()
    path: str = ""
    min_s: float = Field(default=0.0, ge=0)
    max_s: float = Field(default=0.0, ge=0)
    drip_s: float = Field(default=0.2, gt=0)
    status: int = Field(default=500, ge=500, le=599)
    retry_after_s: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _delays_have_a_length(self) -> Self:
        if self.kind == "delay" and not self.max_s:
            raise ValueError("a delay needs max_s, the most seconds it takes")
        if self.min_s > self.max_s and self.max_s:
            raise ValueError("min_s is more than max_s")
        return self

    @classmethod
    def parse(cls, text: str) -> Fault:
        """`kind,name=value,…` with tickers joined by +, as the command line gives it.

        Raises BadFault."""
        kind, *pairs = text.split(",")
        values: dict[str, Any] = {"kind": kind}
        for pair in pairs:
            name, _, value = pair.partition("=")
            values[name] = value.split("+") if name == "tickers" else value
        return cls.build(values)

    @classmethod
    def build(cls, values: object) -> Fault:
        """From a mapping of JSON values; raises BadFault with the first cause."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "fault"
            raise BadFault(f"{where}: {first['msg']}") from error


class FaultBook:
    """The rules in force; thread-safe. Delays add up, and the first other rule that strikes wins.

    The die is seeded, so the same requests in the same order meet the same faults."""

    def __init__(self, faults: Sequence[Fault] = (), seed: int = 0) -> None:
        self._lock = threading.Lock()
        self.set(faults, seed)

    def set(self, faults: Sequence[Fault], seed: int = 0) -> None:
        """Replace all rules and counts, and start the die anew."""
        with self._lock:
            self._faults = tuple(faults)
            self._left = [fault.count for fault in faults]
            self._die = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def as_json(self) -> list[dict[str, Any]]:
        """The rules with `left`, how often each will still strike (None: without end)."""
        with self._lock:
            pairs = zip(self._faults, self._left, strict=True)
            return [fault.model_dump(mode="json") | {"left": left} for fault, left in pairs]

    def strike(self, reply: Reply, path: str, tickers: Sequence[str]) -> Reply:
        """The reply as it becomes under the rules."""
        delay_s = 0.0
        chosen: Fault | None = None
        with self._lock:
            for index, fault in enumerate(self._faults):
                if chosen is not None and fault.kind != "delay":
                    continue
                if not self._strikes(index, fault, path, tickers):
                    continue
                if fault.kind == "delay":
                    delay_s += self._die.uniform(fault.min_s, fault.max_s)
                else:
                    chosen = fault
        struck = _TURNS[chosen.kind](reply, chosen) if chosen else reply
        return replace(struck, delay_s=struck.delay_s + delay_s)

    def _strikes(self, index: int, fault: Fault, path: str, tickers: Sequence[str]) -> bool:
        left = self._left[index]
        if left == 0 or fault.path not in path:
            return False
        if fault.tickers and not set(fault.tickers) & set(tickers):
            return False
        if self._die.random() >= fault.probability:
            return False
        self._left[index] = None if left is None else left - 1
        return True


def _page(status: int) -> Reply:
    return Reply(status, _PAGE % status, "text/html")


def _half(reply: Reply) -> Reply:
    return replace(reply, body=reply.body[: len(reply.body) // 2])


def _with_prices(reply: Reply, value: object) -> Reply:
    """The same JSON with every price replaced; an answer that is not JSON stays as it is."""
    if reply.content_type != "application/json" or not reply.body:
        return reply
    return replace(reply, body=json.dumps(_replaced(json.loads(reply.body), value)).encode())


def _replaced(part: Any, value: object) -> Any:
    if isinstance(part, dict):
        return {
            name: value
            if name in _PRICES and isinstance(inner, int | float)
            else _replaced(inner, value)
            for name, inner in part.items()
        }
    return [_replaced(inner, value) for inner in part] if isinstance(part, list) else part


_TURNS: Final[dict[str, Callable[[Reply, Fault], Reply]]] = {
    "rate_limited": lambda _, fault: answers.too_many_requests(fault.retry_after_s),
    "empty_429": lambda _, fault: Reply(429),
    "server_error": lambda _, fault: _page(fault.status),
    "html": lambda _, fault: _page(200),
    "truncated": lambda reply, _: _half(reply),
    "cut": lambda reply, _: replace(reply, manner=Manner.CUT),
    "nan": lambda reply, _: _with_prices(reply, float("nan")),
    "wrong_types": lambda reply, _: _with_prices(reply, ["not", "a", "price"]),
    "zeros": lambda reply, _: _with_prices(reply, 0),
    "bad_request": lambda _, fault: answers.bad_request("The parameters make no sense."),
    "refusal": lambda _, fault: replace(answers.not_entitled(), status=200),
    "empty": lambda _, fault: Reply(200),
    "redirect": lambda _, fault: Reply(
        302, b"", "text/html", {"Location": "http://elsewhere.invalid/moved?apiKey=leaked"}
    ),
    "drip": lambda reply, fault: replace(reply, manner=Manner.DRIP, drip_s=fault.drip_s),
    "hang": lambda reply, _: replace(reply, manner=Manner.HANG),
    "reset": lambda reply, _: replace(reply, manner=Manner.RESET),
}
