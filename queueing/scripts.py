"""Loads the Lua scripts and calls them: named arguments in, JSON out."""

import json
import re
import secrets
from functools import cache
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.commands.core import Script

from queueing.keys import Keys
from queueing.machine import uptime
from queueing.models import Priority
from queueing.policy import Policy

_NEEDS = re.compile(r"^-- needs: (.+)$", re.MULTILINE)
_BANDS = [int(min(Priority)), int(max(Priority))]


@cache
def source(name: str) -> str:
    """The text of one script behind the libraries that it needs, each once, in an order that works.

    A script and a library name what they use themselves, in a line `-- needs: …`.
    """
    folder = files("queueing") / "lua"
    texts: dict[str, str] = {"prelude": (folder / "lib" / "prelude.lua").read_text("utf-8")}

    def add(text: str) -> None:
        if needs := _NEEDS.search(text):
            for library in needs[1].split():
                if library not in texts:
                    wanted = (folder / "lib" / f"{library}.lua").read_text("utf-8")
                    add(wanted)
                    texts[library] = wanted

    body = (folder / f"{name}.lua").read_text("utf-8")
    if "\n-- Read only:" not in f"\n{body}":
        texts["remember"] = (folder / "lib" / "remember.lua").read_text("utf-8")
    add(body)
    return "\n".join([*texts.values(), body])


class Scripts:
    """The scripts of one provider on one connection. Each call is one atomic step in Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._loaded: dict[str, Script] = {}

    def run(
        self, name: str, policy: Policy | None = None, now_ms: int | None = None, **arguments: Any
    ) -> Any:
        """Runs one script. `now_ms` replaces Redis' clock: for tests and simulations only."""
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = self._redis.register_script(source(name))
        arguments |= {"policy": policy and policy.as_args(), "bands": _BANDS, "now_ms": now_ms}
        arguments |= uptime(now_ms)
        given = {key: value for key, value in arguments.items() if value is not None}
        # UTF-8 as it is: cjson refuses the escapes of lone surrogates, which foreign texts contain.
        text = json.dumps(given, separators=(",", ":"), ensure_ascii=False)
        reply = script(keys=self._keys.scripted, args=[text.encode("utf-8", "replace")])
        return json.loads(reply) if isinstance(reply, bytes | str) else reply

    def mark(self, policy: Policy, now_ms: int | None) -> str:
        """Leaves a mark of a new name and returns it."""
        name = secrets.token_hex(8)
        self.run("mark", policy, now_ms, mark=name)
        return name
