"""`assetq acl`: the Redis user with the least rights."""

from __future__ import annotations

import hashlib

import click

from cli.session import load_settings
from queueing.keys import NAMESPACE

USER = "assetq"
CHANNELS = ("asset:update:*", "rq:pubsub:*")
"""Events of ours, and what RQ's workers listen to."""

COMMANDS = (
    # Connections. AUTH and HELLO are always allowed.
    *("ping", "select", "client|setname", "client|info"),
    # The quota sees a restart by the run_id of INFO; everything is timed by TIME.
    *("info", "time"),
    *("evalsha", "script|load", "multi", "exec", "discard", "watch", "unwatch"),
    *(
        "exists",
        "del",
        "unlink",
        "expire",
        "pexpire",
        "persist",
        "pttl",
        "ttl",
        "type",
        "scan",
        "rename",
    ),
    *("get", "set"),
    *("hget", "hset", "hsetnx", "hmget", "hgetall", "hdel", "hexists", "hlen"),
    *("hincrby", "hincrbyfloat"),
    *(
        "lpush",
        "rpush",
        "lpop",
        "blpop",
        "lmove",
        "blmove",
        "lrange",
        "llen",
        "lindex",
        "lrem",
        "ltrim",
    ),
    *("lpos", "sadd", "srem", "sismember", "smismember", "smembers", "sscan", "scard"),
    *("zadd", "zrem", "zscore", "zcard", "zcount", "zrange", "zrevrange", "zrangebyscore"),
    *("zremrangebyscore", "zremrangebyrank"),
    *("xadd", "xrange", "xread", "xrevrange"),
    *("publish", "subscribe", "unsubscribe", "psubscribe", "punsubscribe"),
)
"""What workers, scheduler, web and the commands use, their Lua scripts included."""


def key_patterns(provider: str) -> tuple[str, ...]:
    """The keys of one provider (one queue, one quota), and RQ's."""
    return f"{NAMESPACE}:{{{provider}}}:*", "rq:*"


def acl_line(provider: str, *, user: str = USER, password: str | None = None) -> str:
    """One ACL SETUSER for Redis 7 and Valkey; the password goes in as its SHA-256 only."""
    login = (
        "#" + hashlib.sha256(password.encode()).hexdigest() if password else ">CHOOSE-A-PASSWORD"
    )
    rules = [
        *("reset", "on", login, "resetchannels"),
        *(f"~{pattern}" for pattern in key_patterns(provider)),
        *(f"&{pattern}" for pattern in CHANNELS),
        *(f"+{command}" for command in COMMANDS),
    ]
    return f"ACL SETUSER {user} {' '.join(rules)}"


@click.command()
@click.option("--user", default=USER, show_default=True, metavar="NAME", help="The user's name.")
@click.option("--ask-password", is_flag=True, help="Ask for its password, and print its hash.")
def acl(user: str, ask_password: bool) -> None:
    """Print the ACL SETUSER line for a Redis user that can do assetq's work and nothing else.

    Send it to Redis as an administrator (redis-cli reads it from a pipe), keep it with `ACL SAVE`
    or `CONFIG REWRITE`, and put user and password into REDIS_URL: redis://NAME:PASSWORD@host:6379.
    """
    if any(c.isspace() or not c.isprintable() for c in user) or not user:
        raise click.UsageError("--user: a name without spaces.")
    provider = load_settings().provider
    password = None
    if ask_password:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    click.echo(acl_line(provider, user=user, password=password))
