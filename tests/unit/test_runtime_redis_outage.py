"""Errors of Redis by kind: which are waited for, and what is said of them."""

from __future__ import annotations

import pytest
from redis import exceptions as r
from redis.sentinel import MasterNotFoundError

from runtime.redis_outage import diagnose, outage

HOST = "db.example"
PIPELINED = "Command # 1 (SET NOPERM OOM) of pipeline caused error: "
IN_SCRIPT = " script: on @user_script:1."
KINDS: dict[str, list[Exception]] = {
    "unreachable": [
        r.ConnectionError(f"Error 111 connecting to {HOST}:6379. Connection refused."),
        r.ConnectionError(f"Error -2 connecting to {HOST}:6379. Name or service not known."),
        r.ConnectionError("Connection closed by server."),
        r.TimeoutError(f"Timeout reading from {HOST}:6379"),
        r.InvalidResponse("Protocol Error: b'H'"),
        MasterNotFoundError(f"No master found for 'm' : Redis<{HOST}:26379> - TimeoutError"),
    ],
    "loading": [r.BusyLoadingError("Redis is loading the dataset in memory")],
    "memory": [
        r.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        r.ExecAbortError("Transaction discarded because of: OOM command not allowed"),
    ],
    "disk": [
        r.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        r.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    ],
    "replicas": [
        r.ResponseError(PIPELINED + "NOREPLICAS Not enough good replicas to write."),
    ],
    "script": [r.ResponseError("BUSY Redis is busy running a script.")],
    "read-only": [
        r.ReadOnlyError("You can't write against a read only replica."),
        r.ResponseError("UNBLOCKED force unblock from blocking operation"),
    ],
    "primary": [r.MasterDownError("Link with MASTER is down")],
    "cluster": [
        r.ClusterDownError("The cluster is down"),
        r.TryAgainError("Multiple keys request during rehashing of slot"),
        r.MovedError(f"1 {HOST}:6379"),
    ],
    "clients": [r.ConnectionError("max number of clients reached")],
    "protected": [
        r.ResponseError("DENIED Redis is running in protected mode because protected mode is"),
        r.ResponseError("DENIED Running in protected mode because protected mode is enabled"),
    ],
    "database": [r.ResponseError("DB index is out of range")],
    "command": [
        r.ResponseError("unknown command 'EVALSHA', with args beginning with: 'x'"),
        r.ResponseError("Unknown Redis command called from script script: on @user_script:1."),
        r.ResponseError("Unknown command called from script"),
    ],
    "refused": [
        r.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        r.ResponseError("SOMENEW refusal of a later version"),
    ],
    "login": [
        r.AuthenticationError("invalid username-password pair or user is disabled."),
        r.ResponseError("WRONGPASS invalid username-password pair or user is disabled."),
        r.AuthenticationError("HELLO must be called with the client already authenticated"),
    ],
    "rights": [
        r.NoPermissionError(f"User {HOST} has no permissions to run the 'set' command"),
        r.ResponseError(f"ACL failure in script: User {HOST} has no permissions{IN_SCRIPT}"),
        r.ResponseError(f"The user executing the script can't run this command{IN_SCRIPT}"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "error"), [(kind, error) for kind, errors in KINDS.items() for error in errors]
)
def test_kinds(kind: str, error: Exception) -> None:
    found = diagnose(error)
    assert found
    assert found.kind == kind
    waited_for = kind not in ("login", "rights")
    assert outage(error) == (found if waited_for else None)
    assert HOST not in str(found)
    assert found.remedy.endswith(".")
    assert not found.cause.endswith(".")


@pytest.mark.parametrize(
    "error", [None, ValueError("OOM"), r.DataError("x"), r.WatchError("x"), r.LockError("x")]
)
def test_what_the_server_did_not_say_is_no_outage(error: BaseException | None) -> None:
    assert diagnose(error) is None
    assert outage(error) is None


def test_details_where_the_kind_does_not_tell_enough() -> None:
    def cause(error: Exception) -> str:
        found = diagnose(error)
        assert found
        return found.cause

    refused = r.ConnectionError("Error 111 connecting to h:1. Connection refused.")
    assert cause(refused) == "Redis does not answer (Connection refused)"
    assert cause(r.TimeoutError("x")) == "Redis does not answer (no answer in time)"
    for user in ("User u", "this user"):  # Redis 7.2, 7.0
        missing = r.NoPermissionError(f"{user} has no permissions to run the 'set' command")
        assert cause(missing) == (
            "Redis does not let this user work (no permissions to run the 'set' command)"
        )
    unknown = r.ResponseError("unknown command 'X', with args beginning with: 'secret'")
    assert cause(unknown) == "Redis lacks a command (unknown command 'X')"
    tls = diagnose(r.ConnectionError("[SSL] certificate verify failed: self-signed (_ssl.c:1006)"))
    assert tls
    assert "REDIS_TLS_VERIFY" in tls.remedy
