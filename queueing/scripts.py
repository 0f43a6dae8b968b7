"""Loads the Lua scripts and calls them: named arguments in, JSON out."""

import json
import re
import secrets
from functools import cache
from importlib.resources import files
from typing import Any, cast

from redis import Redis
from redis.commands.core import Script

from queueing.keys import Keys
from queueing.policy import Policy

_INCLUDE = re.compile(r"\A-- include: (.+)\n")


@cache
def source(name: str) -> str:
    """The text of one script with what it includes: the same for every call, cached by its hash."""
    folder = files("queueing") / "lua"
    body = (folder / f"{name}.lua").read_text("utf-8")
    included = _INCLUDE.match(body)
    parts = ["prelude", *(included[1].split() if included else [])]
    libraries = [(folder / "lib" / f"{part}.lua").read_text("utf-8") for part in parts]
    return "\n".join([*libraries, body])


class Scripts:
    """The scripts of one provider on one connection. Each call is one atomic step in Redis.

    `now_ms`, where given, replaces Redis' clock (tests and simulation only).
    """

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._loaded: dict[str, Script] = {}

    def run(self, name: str, *, slot: str | None = None, **arguments: Any) -> Any:
        """Runs one script; `slot` names the batch whose record it may touch."""
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = self._redis.register_script(source(name))
        given = {key: value for key, value in arguments.items() if value is not None}
        if slot is not None:
            given["slot"] = slot
        keys = [*self._keys.scripted, self._keys.batch(slot or "none")]
        # UTF-8 as it is: cjson refuses the escapes of lone surrogates, which foreign texts contain.
        text = json.dumps(given, separators=(",", ":"), ensure_ascii=False)
        reply = script(keys=keys, args=[text.encode("utf-8", "replace")])
        if isinstance(reply, bytes | str):
            return json.loads(reply)
        return cast(int, reply)

    def mark(self, policy: Policy, now_ms: int | None) -> str:
        """Leaves a mark of a new name and returns it."""
        name = secrets.token_hex(8)
        self.run("mark", policy=policy.as_args(), now_ms=now_ms, mark=name)
        return name
