"""Calls the Lua scripts: named arguments in, JSON or a list out."""

import json
import secrets
from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

from queueing.keys import Keys
from queueing.lua_source import keys_of, source
from queueing.machine import uptime
from queueing.policy import Policy

__all__ = ["Scripts", "source"]

# UTF-8 as it is: cjson refuses the escapes of lone surrogates, which foreign texts contain.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@cache
def _policy_text(policy: Policy) -> str:
    return f'{{"policy":{_encode(policy.as_args())}'


class Scripts:
    """The scripts of one provider on one connection. Each call is one atomic step in Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._calls: dict[str, Sequence[Any]] = {}
        """Per script the words of its command, but for the arguments."""

    def run(
        self, name: str, policy: Policy | None = None, now_ms: int | None = None, **arguments: Any
    ) -> Any:
        """Runs one script. `now_ms` replaces Redis' clock: for tests and simulations only."""
        call = self._calls.get(name) or self._prepare(name)
        given = {key: value for key, value in arguments.items() if value is not None}
        given |= uptime(now_ms)
        if now_ms is not None:
            given["now_ms"] = now_ms
        text = _encode(given)
        if policy is not None:
            text = _policy_text(policy) + ("," + text[1:] if given else "}")
        argument = text.encode("utf-8", "replace")
        execute: Any = self._redis.execute_command
        try:
            reply = execute(*call, argument)
        except NoScriptError:
            self._redis.script_load(source(name))
            reply = execute(*call, argument)
        return json.loads(reply) if isinstance(reply, bytes | str) else reply

    def _prepare(self, name: str) -> Sequence[Any]:
        text = source(name)
        keys = [str(getattr(self._keys, key)).encode() for key in keys_of(text)]
        sha = sha1(text.encode(), usedforsecurity=False).hexdigest()
        call = self._calls[name] = ("EVALSHA", sha, len(keys), *keys)
        return call

    def mark(self, policy: Policy, now_ms: int | None) -> str:
        """Leaves a mark of a new name and returns it."""
        name = secrets.token_hex(8)
        self.run("mark", policy, now_ms, mark=name)
        return name
