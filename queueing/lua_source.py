"""The text of a script: what stands in its file, behind what it uses of `lua/lib` and no more.

Redis builds every function of a script anew at each call, so a script pays for all that its text
contains. A library is a row of definitions (`local …` at the start of a line); a script, or another
definition, uses one by naming it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from queueing.keys import SCRIPT_KEYS
from queueing.models import Priority

_LUA = files("queueing") / "lua"
_COMMENT = re.compile(r"[ \t]*--[^\n]*")
_BLANK = re.compile(r"\n{2,}")
_DEFINITION = re.compile(r"^(?=local )", re.MULTILINE)
_DEFINED = re.compile(r"local (?:function )?(\w+(?:, \w+)*)")
_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_READ_ONLY = "-- Read only:"
_HEADER_KEYS = re.compile(r"^local ([A-Z_, ]+) = KEYS\[1\]", re.MULTILINE)


def _code(text: str) -> str:
    """The text without comments; none of our strings contains two dashes."""
    return _BLANK.sub("\n", _COMMENT.sub("", text)).strip() + "\n"


@dataclass(frozen=True)
class _Definition:
    """One definition of a library, and the names that it uses."""

    text: str
    uses: tuple[str, ...]


@cache
def _library() -> dict[str, _Definition]:
    """Name → its definition, of all libraries."""
    found: dict[str, _Definition] = {}
    for file in sorted((_LUA / "lib").iterdir(), key=lambda file: file.name):
        for text in _DEFINITION.split(_code(file.read_text("utf-8"))):
            if defined := _DEFINED.match(text):
                definition = _Definition(text, tuple(_names(text)))
                for name in defined[1].split(", "):
                    if name in found:
                        raise LookupError(f"{name} is defined twice in queueing/lua/lib")
                    found[name] = definition
    return found


def _names(text: str) -> Iterator[str]:
    return iter(dict.fromkeys(_NAME.findall(text)))


def _needed(names: Iterator[str], sofar: dict[str, None], open_: frozenset[str]) -> None:
    """Adds the definitions of these names to `sofar`, each behind those that it uses."""
    library = _library()
    for name in names:
        definition = library.get(name)
        if definition and definition.text not in sofar and definition.text not in open_:
            _needed(iter(definition.uses), sofar, open_ | {definition.text})
            sofar[definition.text] = None


@cache
def source(name: str) -> str:
    """The whole text of the script `name`."""
    whole = (_LUA / f"{name}.lua").read_text("utf-8")
    body = _code(whole)
    texts: dict[str, None] = {}
    _needed(_names(body), texts, frozenset())
    if _READ_ONLY not in whole and any("wall, ahead" in text for text in texts):
        _needed(iter(["remember_clock"]), texts, frozenset())
        body = f"remember_clock()\n{body}"
    code = "".join(texts) + body
    used = [key.upper() for key in SCRIPT_KEYS if key.upper() in set(_NAME.findall(code))]
    declared = ", ".join(f"KEYS[{number}]" for number in range(1, len(used) + 1))
    bands = f"local CRITICAL, LOWEST = {min(Priority)}, {max(Priority)}\n"
    return (f"local {', '.join(used)} = {declared}\n" if used else "") + bands + code


def keys_of(text: str) -> list[str]:
    """The names of the keys that a script declares, as `Keys` calls them."""
    declared = _HEADER_KEYS.search(text)
    return declared[1].lower().split(", ") if declared else []
