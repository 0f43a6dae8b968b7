"""Damaged answers: JSON whose tree, text and bytes are changed at random, and HTTP around it.

Everything comes from one `random.Random`, so a seed and a number name a case for ever."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final


@dataclass
class Obj:
    """A JSON object that may hold a key twice."""

    pairs: list[list[Any]]


@dataclass(frozen=True)
class Raw:
    """Text that is written as it is: NaN, a number of a thousand digits."""

    text: str


def parse(text: bytes | str) -> Any:
    """The tree of an answer; fractions keep their spelling."""
    return json.loads(
        text, object_pairs_hook=lambda pairs: Obj([list(p) for p in pairs]), parse_float=Raw
    )


def dump(node: Any) -> str:
    """The text of a tree."""
    match node:
        case Obj(pairs):
            return "{" + ",".join(f"{json.dumps(k)}:{dump(v)}" for k, v in pairs) + "}"
        case list():
            return "[" + ",".join(map(dump, node)) + "]"
        case Raw(text):
            return text
        case _:
            return json.dumps(node)


_SPELLINGS: Final = (
    "0 -0 -1 -0.0 0.00001 1e-9 1e-31 1e24 1e25 1e308 1e999 -1e999 1E400000 1e-400000 "
    "NaN Infinity -Infinity 01 +1 .5 5. 0x10 1_000 1.130245 99999999999999999999999999 "
    "0.1234567890123456789012345678901234567890123456789012 2147483648 1795491980 "
    "9007199254740993 18446744073709551616 1e9 1e12 1e18 4102444800000 1.0e0"
)
NUMBERS: Final = tuple(map(Raw, [*_SPELLINGS.split(), "9" * 5000, "0." + "3" * 5000]))
TEXTS: Final = (
    "", " ", "1.13", "-1", "1e5", "1e400", "NaN", "nan", "Infinity", "0x1A", "1,130", "١٢٣", "1 ",
    "null", "true", "\0", "a\0b", "\ud800", "\u202e", "é" * 300, "OK", "ERROR", "NOT_FOUND",
    "NOT_AUTHORIZED", "NOT_ENTITLED", "DELAYED", "C:EURUSD", "X:BTCUSD", "c:eurusd", "C:EURUSD ",
    "'; DROP TABLE x; --", "%s%n", "{}", "http://[::1", "http://evil.example/?cursor=x&apiKey=y",
    "2026-11-24T00:00:00Z", "A" * 70_000,
)  # fmt: skip
KEYS: Final = (
    "a", "b", "c", "h", "l", "n", "o", "p", "t", "v", "vw", "ask", "bid", "close", "open", "high",
    "low", "price", "last_updated", "updated", "session", "last_quote", "last_trade", "lastQuote",
    "lastTrade", "day", "min", "last_minute", "ticker", "results", "status", "error", "message",
    "next_url", "timeframe", "participant_timestamp", "Ticker", "", "\0", "__proto__", "x y",
)  # fmt: skip
WEIGHTY: Final = frozenset(KEYS[:37])


def _slots(node: Any, key: str = "") -> Iterator[tuple[Any, int, str]]:
    """Every place in a tree: its container, the index there and the key that leads to it."""
    if isinstance(node, Obj):
        for at, (name, value) in enumerate(node.pairs):
            yield node, at, name
            yield from _slots(value, name)
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield node, at, key
            yield from _slots(value, key)


def _get(where: Any, at: int) -> Any:
    return where.pairs[at][1] if isinstance(where, Obj) else where[at]


def _put(where: Any, at: int, value: Any) -> None:
    if isinstance(where, Obj):
        where.pairs[at][1] = value
    else:
        where[at] = value


def _rows(where: Any) -> list[Any]:
    rows: list[Any] = where.pairs if isinstance(where, Obj) else where
    return rows


def _delete(random: Random, tree: Any, where: Any, at: int) -> None:
    del _rows(where)[at]


def _twice(random: Random, tree: Any, where: Any, at: int) -> None:
    copy = parse_or_raw(dump(_get(where, at))) if random.random() < 0.5 else random.choice(NUMBERS)
    row = [where.pairs[at][0], copy] if isinstance(where, Obj) else copy
    _rows(where).insert(random.randint(0, len(_rows(where))), row)


def _rename(random: Random, tree: Any, where: Any, at: int) -> None:
    if isinstance(where, Obj):
        where.pairs[at][0] = random.choice(KEYS)


def _number(random: Random, tree: Any, where: Any, at: int) -> None:
    _put(where, at, random.choice(NUMBERS))


def _text(random: Random, tree: Any, where: Any, at: int) -> None:
    _put(where, at, random.choice(TEXTS))


def _quoted(random: Random, tree: Any, where: Any, at: int) -> None:
    """A number as a string, which some providers do."""
    value = _get(where, at)
    if isinstance(value, int | Raw) and not isinstance(value, bool):
        _put(where, at, dump(value))


def _type(random: Random, tree: Any, where: Any, at: int) -> None:
    others: tuple[Any, ...] = (
        None,
        True,
        False,
        [],
        Obj([]),
        [[]],
        Obj([["t", 1]]),
        [1, 2, 3],
        "x",
    )
    _put(where, at, random.choice(others))


def _scaled(random: Random, tree: Any, where: Any, at: int) -> None:
    """The same digits, another size or sign; a time in another unit."""
    value = _get(where, at)
    if isinstance(value, int | Raw) and not isinstance(value, bool):
        _put(
            where,
            at,
            Raw(random.choice(("{}0", "{}000", "-{}", "{}e3", "{}e-3")).format(dump(value))),
        )


def _swap(random: Random, tree: Any, where: Any, at: int) -> None:
    other, there, _ = random.choice(list(_slots(tree)))
    mine, its = dump(_get(where, at)), dump(_get(other, there))
    if len(mine) + len(its) < 10_000:  # else trees would double without end
        _put(where, at, parse_or_raw(its))
        if there < len(_rows(other)):
            _put(other, there, parse_or_raw(mine))


def _deep(random: Random, tree: Any, where: Any, at: int) -> None:
    depth = random.choice((3, 50, 900, 1100, 20_000))
    left, right = random.choice((("[", "]"), ('{"a":', "}")))
    _put(where, at, Raw(left * depth + dump(_get(where, at)) + right * depth))


def _added(random: Random, tree: Any, where: Any, at: int) -> None:
    """A field that a newer version of the provider may add."""
    value = random.choice((Raw("1.5"), None, "new", [1], Obj([["deep", [Obj([["x", 1]])]]])))
    if isinstance(where, Obj):
        where.pairs.insert(at, [f"new_field_{random.randint(0, 99)}", value])
    else:
        where.insert(at, value)


def parse_or_raw(text: str) -> Any:
    """A tree, or the text where it is no JSON any more, or too deep to walk."""
    try:
        return Raw(text) if text.count("[") + text.count("{") > 300 else parse(text)
    except ValueError:
        return Raw(text)


Change = Callable[[Random, Any, Any, int], None]
CHANGES: Final[tuple[Change, ...]] = (
    _delete, _twice, _rename, _number, _number, _text, _quoted, _quoted, _type, _scaled, _swap,
    _deep, _added, _added,
)  # fmt: skip


def damage_tree(random: Random, tree: Any) -> list[str]:
    """Changes a tree in place; the names of the changes."""
    told = []
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 6))):
        slots = list(_slots(tree))
        if not slots:
            break
        weighty = [slot for slot in slots if slot[2] in WEIGHTY]
        where, at, key = random.choice(weighty if weighty and random.random() < 0.7 else slots)
        change = random.choice(CHANGES)
        change(random, tree, where, at)
        told.append(f"{change.__name__[1:]} {key[:20]!a}")
    return told


def damage_bytes(random: Random, body: bytes) -> tuple[bytes, str]:
    """Changes the bytes of a body; and the name of the change."""
    at = random.randint(0, len(body))
    text = body.decode(errors="replace")
    junk = bytes(random.randrange(256) for _ in range(random.randint(1, 8)))
    kinds: dict[str, Callable[[], bytes]] = {
        "truncated": lambda: body[:at],
        "flipped": lambda: body[:at] + bytes([random.randrange(256)]) + body[at + 1 :],
        "inserted": lambda: body[:at] + junk + body[at:],
        "bom": lambda: b"\xef\xbb\xbf" + body,
        "utf-16": lambda: text.encode("utf-16"),
        "utf-16-le": lambda: text.encode("utf-16-le"),
        "utf-32": lambda: text.encode("utf-32"),
        "latin-1": lambda: text.replace("Euro", "Éuro").encode("latin-1", "replace"),
        "empty": lambda: b"",
        "html": lambda: b"<!doctype html><title>502</title>" + body[:40],
        "prefixed": lambda: b")]}',\n" + body,
        "trailing": lambda: body + random.choice((b"x", b"\0", body, b"]", b"\n\n")),
        "single quotes": lambda: body.replace(b'"', b"'"),
        "comma": lambda: body.replace(b"}", b",}", 1),
        "another value": lambda: random.choice((b"null", b"[]", b"1", b'"OK"', b"{}", b"true")),
        "repeated": lambda: body[:at] + body[:at] + body[at:],
    }
    name = random.choice(list(kinds))
    return kinds[name](), name


@dataclass
class Reply:
    """An answer on the wire. `closes`: the connection ends after it."""

    body: bytes
    status: str = "200 OK"
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """Sent instead of all this."""
    closes: bool = False
    length: int | None = None
    """What Content-Length says, if not the truth."""
    chunked: bool = False
    told: list[str] = field(default_factory=list)

    @property
    def code(self) -> int:
        return int(self.status[:3])

    def wire(self) -> bytes:
        """The bytes to send."""
        if self.raw is not None:
            return self.raw
        headers = {"Content-Type": "application/json", **self.headers}
        if self.chunked:
            headers["Transfer-Encoding"] = "chunked"
            half = len(self.body) // 2
            parts = [part for part in (self.body[:half], self.body[half:]) if part]
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        else:
            length = len(self.body) if self.length is None else self.length
            headers["Content-Length"] = str(length)
            body = self.body
        lines = [f"HTTP/1.1 {self.status}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1", "replace") + body


STATUSES: Final = (
    "200 OK", "201 Created", "203 Whatever", "206 Partial Content", "299 Odd", "300 Choices",
    "301 Moved", "302 Found", "307 Again", "400 Bad Request", "401 Unauthorized", "402 Pay",
    "403 Forbidden", "404 Not Found", "405 No", "408 Timeout", "409 Conflict", "410 Gone",
    "418 Teapot", "422 No", "425 Early", "429 Too Many Requests", "451 Law", "499 Odd",
    "500 Internal", "501 No", "502 Bad Gateway", "503 Away", "504 Late", "520 Odd", "599 Odd",
    "600 Odd", "999 Odd",
)  # fmt: skip
REFUSALS: Final = (
    {"status": "ERROR", "error": "You've exceeded the maximum requests per minute"},
    {"status": "ERROR", "error": "Unknown API Key"},
    {"status": "NOT_AUTHORIZED", "message": "You are not entitled to this data."},
    {"status": "NOT_AUTHORIZED", "message": "Attempted to request today's data before end of day"},
    {"status": "NOT_AUTHORIZED", "message": "Your plan doesn't include this data timeframe."},
    {"status": "NOT_FOUND", "message": "Ticker not found."},
    {"status": "ERROR", "error": "The parameter 'limit' cannot be more than 250."},
    {"status": "OK", "error": None}, {"error": ["x"]}, {"status": 200},
)  # fmt: skip


def _gzipped(random: Random, reply: Reply) -> None:
    reply.body, reply.headers["Content-Encoding"] = gzip.compress(reply.body), "gzip"
    if random.random() < 0.4:
        reply.body, _ = damage_bytes(random, reply.body)


def _false_encoding(random: Random, reply: Reply) -> None:
    name = random.choice(("gzip", "deflate", "br", "zstd", "identity", "x-odd"))
    reply.headers["Content-Encoding"] = name
    if name == "deflate" and random.random() < 0.5:
        reply.body = zlib.compress(reply.body)


def _content_type(random: Random, reply: Reply) -> None:
    reply.headers["Content-Type"] = random.choice(
        ("text/html", "text/plain; charset=utf-16", "application/json; charset=latin-1",
         "", "application/octet-stream", "\xff\xfe", "multipart/form-data; boundary=x")
    )  # fmt: skip


def _status(random: Random, reply: Reply) -> None:
    reply.status = random.choice(STATUSES)
    if random.random() < 0.5:
        reply.body = json.dumps(random.choice(REFUSALS)).encode()
    reply.headers["Location"] = random.choice(("/x", "http://[", "http://evil.example/?k=v", ""))
    if reply.code in (429, 503) or random.random() < 0.3:
        reply.headers["Retry-After"] = random.choice(
            ("1", "0", "-5", "nan", "1e999", "soon", "", "Wed, 21 Oct 2099 07:28:00 GMT", "3.5")
        )
        reply.headers["Date"] = random.choice(("Wed, 21 Oct 2099 07:28:00 GMT", "now", ""))


def _length(random: Random, reply: Reply) -> None:
    reply.length = max(0, len(reply.body) + random.choice((-50, -1, 1, 5000, 10**15)))
    reply.closes = True


def _no_http(random: Random, reply: Reply) -> None:
    reply.closes = True
    whole = reply.wire()
    reply.raw = random.choice(
        (b"", b"\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 000 Zero\r\n\r\n",
         b"HTTP/9.9 200 OK\r\n\r\n",
         b"SSH-2.0-OpenSSH_9\r\n", reply.body, b"\x16\x03\x01\x02\x00", whole[: len(whole) // 3],
         b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + reply.body,
         b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + reply.body,
         b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
         b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
         b"HTTP/1.1 103 Early\r\n\r\n" + whole, b"HTTP/1.1 204 None\r\n\r\n")
    )  # fmt: skip


def _chunks(random: Random, reply: Reply) -> None:
    reply.chunked = True


HTTP_CHANGES: Final[tuple[Callable[[Random, Reply], None], ...]] = (
    _gzipped, _false_encoding, _content_type, _status, _status, _status, _length, _no_http, _chunks,
)  # fmt: skip


def damaged(random: Random, body: bytes) -> Reply:
    """One answer, damaged in its tree (mostly), its bytes, its HTTP, or several of these."""
    reply = Reply(body)
    part = random.random()
    if part < 0.75:
        tree = parse(body)
        reply.told += damage_tree(random, tree)
        # A lone surrogate may stand in JSON as an escape only, which is how `dump` writes it.
        reply.body = dump(tree).encode("utf-8", "surrogatepass")
    if part > 0.72 and part < 0.88:
        reply.body, name = damage_bytes(random, reply.body)
        reply.told.append(name)
    if part > 0.85:
        change = random.choice(HTTP_CHANGES)
        change(random, reply)
        reply.told.append(f"{change.__name__[1:]} {reply.status}")
    return reply
