"""The text of a script: what stands in its file, behind what it uses of `lua/lib` and no more.

Redis builds every function of a script anew at each call, and each local that functions share costs
as well. So a script contains what it needs alone, a function that one other uses stands inside that
one, and keys and numbers stand where they are named.
A library is a row of definitions (`local …` at the start of a line); a script, or another
definition, uses one by naming it. A key is named in capitals, as `Keys` calls it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from queueing.keys import SCRIPT_KEYS
from queueing.models import Priority
from queueing.timings import BOUNDS_MS

_LUA = files("queueing") / "lua"
_COMMENT = re.compile(r"[ \t]*--[^\n]*")
_BLANK = re.compile(r"\n{2,}")
_DEFINITION = re.compile(r"^(?=local )", re.MULTILINE)
_DEFINED = re.compile(r"local (?:function )?(\w+(?:, \w+)*)")
_FUNCTION = re.compile(r"local function (\w+)")
_NUMBERS = re.compile(r"local ([A-Z_]+(?:, [A-Z_]+)*) = (\d\w*(?:, \d\w*)*)\n$")
_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_READ_ONLY = "-- Read only:"
_HEADER_KEYS = re.compile(r"^-- KEYS: (.*)")


@dataclass(frozen=True)
class _Definition:
    """One definition of a library, and the names that it uses."""

    text: str
    uses: tuple[str, ...]


@dataclass(frozen=True)
class _Library:
    """What the libraries define."""

    definitions: Mapping[str, _Definition]
    constants: Mapping[str, str]
    """What stands in the place of their names: numbers, and the bounds of the histograms."""

    @classmethod
    def read(cls) -> "_Library":
        """Reads the files of `lua/lib`; LookupError for a name that is defined twice."""
        definitions: dict[str, _Definition] = {}
        constants = {"CRITICAL": f"{min(Priority)}", "LOWEST": f"{max(Priority)}"}
        for name, bounds in BOUNDS_MS.items():
            constants[f"{name.upper()}_BOUNDS"] = f"{{ {', '.join(map(str, bounds))} }}"
        defined: list[str] = []
        for file in sorted((_LUA / "lib").iterdir(), key=lambda file: file.name):
            for text in _DEFINITION.split(_code(file.read_text("utf-8"))):
                if found := _DEFINED.match(text):
                    names = found[1].split(", ")
                    defined += names
                    if values := _NUMBERS.match(text):
                        constants |= zip(names, values[2].split(", "), strict=True)
                    else:
                        definitions |= dict.fromkeys(names, _Definition(text, _names(text)))
        if twice := [name for name, times in Counter(defined).items() if times > 1]:
            raise LookupError(f"{', '.join(twice)} defined twice in queueing/lua/lib")
        return cls(definitions, constants)

    def needed(
        self, names: Iterable[str], sofar: dict[str, None], outer: frozenset[str] = frozenset()
    ) -> None:
        """Adds the definitions of these names to `sofar`, each behind those that it uses."""
        for name in names:
            found = self.definitions.get(name)
            if found and found.text not in sofar and found.text not in outer:
                self.needed(found.uses, sofar, outer | {found.text})
                sofar[found.text] = None


_library = cache(_Library.read)


def _code(text: str) -> str:
    """The text without comments; none of our strings contains two dashes."""
    return _BLANK.sub("\n", _COMMENT.sub("", text)).strip() + "\n"


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_NAME.findall(text)))


@cache
def source(name: str) -> str:
    """The whole text of the script `name`. Its first line lists its keys in their order."""
    whole, library = (_LUA / f"{name}.lua").read_text("utf-8"), _library()
    body, texts = _code(whole), dict[str, None]()
    library.needed(_names(body), texts)
    if _READ_ONLY not in whole and any("wall, ahead" in text for text in texts):
        library.needed(["remember_clock"], texts)
        body = f"remember_clock()\n{body}"
    code = "".join(_nested([*texts, body]))
    keys = [key for key in SCRIPT_KEYS if key.upper() in _names(code)]
    values = dict(library.constants)
    values |= {key.upper(): f"KEYS[{at}]" for at, key in enumerate(keys, 1)}
    return f"-- KEYS: {' '.join(keys)}\n{_NAME.sub(lambda m: values.get(m[0], m[0]), code)}"


def _nested(texts: list[str]) -> list[str]:
    """The texts, but for each function that only one other function names: it stands inside that
    one, and so is built only where that one is called. The last text is the script."""
    kept, uses = dict(enumerate(texts)), [set(_names(text)) for text in texts]
    for at in range(len(texts) - 1):
        found = _FUNCTION.match(kept[at])
        users = [other for other in kept if other != at and found and found[1] in uses[other]]
        if len(users) == 1 and users[0] < len(texts) - 1 and _FUNCTION.match(kept[users[0]]):
            head, bracket, tail = kept[users[0]].partition(")")
            kept[users[0]] = f"{head}{bracket}\n{kept.pop(at)}{tail}"
            uses[users[0]] |= uses[at]
    return list(kept.values())


def keys_of(text: str) -> list[str]:
    """The names of the keys that a script is given, as `Keys` calls them."""
    declared = _HEADER_KEYS.match(text)
    return declared[1].split() if declared else []
