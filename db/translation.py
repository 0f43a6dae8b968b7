"""psycopg's errors become those of `db.errors`, by connection state and SQLSTATE.

The texts keep the server's first line and never the statement or its values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg

from db.errors import (
    DatabaseBusy,
    DatabaseConflict,
    DatabaseError,
    DatabaseUnavailable,
    MigrationMissing,
    PermissionMissing,
    RowRefused,
    WritesRefused,
)

# SQLSTATEs with which the server ends the session, or says that it does (08: class "connection").
_LOST = ("08", "57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04")
_BUSY = ("55P03", "57014")
_NO_RELATION = ("42P01", "42703", "3F000")
_PERMISSION = "42501"
# Data, constraint, check option, limit of a row, unsupported by this table, raised by a trigger.
_ROW = ("22", "23", "44", "54", "0A", "P0")
_NO_WRITES = {
    "25006": "Connect to the primary, or switch default_transaction_read_only off.",
    "53100": "Free space on the server's disk.",
    "53200": "Give the server more memory.",
    "53300": "Raise max_connections, or start fewer workers.",
    "53": "Look at the server's log.",
    "58": "Look at the server's disk and log.",
}

# What libpq and the server say (in English, or the general remedy is shown) → what to do.
_REMEDIES = (
    (r"password authentication failed", "Check user and password in DATABASE_URL or DB_*."),
    (r"no password supplied", "Put the password into DATABASE_URL or DB_PASSWORD."),
    (r'role ".*" does not exist', "Create this role, or correct the user in DATABASE_URL or DB_*."),
    (r'database ".*" does not exist', "Create it, or correct the name in DATABASE_URL or DB_NAME."),
    (r"pg_hba\.conf", "Allow this user and host in pg_hba.conf, or try sslmode=require."),
    (r"support ssl|certificate|sslmode", "Correct sslmode in DATABASE_URL."),
    (r"refused", "Start PostgreSQL, or correct host and port in DATABASE_URL or DB_*."),
    (r"timeout|timed out", "Check that the host is reachable and no firewall drops the port."),
    (r"host name|resolve", "Correct the host in DATABASE_URL or DB_HOST."),
    (r"too many clients|connection slots", "Raise max_connections, or start fewer workers."),
    (r"too many connections for", "Raise its CONNECTION LIMIT, or start fewer workers."),
    (r"not permitted to log in", "ALTER ROLE … LOGIN, or use another user."),
    (r"permission denied for database", "GRANT CONNECT ON DATABASE … to this user."),
    (r"accepting connections", "ALTER DATABASE … ALLOW_CONNECTIONS true, or use another one."),
    (r"statement pooling", "Put the pooler into transaction or session mode."),
    (r"starting up|shutting down|recovery", "Wait until it has started."),
)
_GENERAL_REMEDY = "Check DATABASE_URL or DB_*, and the server's log."


@dataclass(frozen=True)
class Target:
    """The place that a URL names, without the password."""

    host: str
    port: str
    dbname: str
    user: str


def translated(error: psycopg.Error, place: Target, *, lost: bool) -> DatabaseError:
    """The error of ours that says the same. `lost`: the connection cannot be used any more."""
    state, text = error.sqlstate or "", first_line(error)
    if lost or state.startswith(_LOST) or (not state and _is_operational(error)):
        return unavailable(text, place)
    if state == _PERMISSION and _is_of_the_table(error):
        return PermissionMissing(
            f"The database user may not do this: {text}.",
            remedy="Grant it (db/sql/grants.sql), or use the owner of the tables to migrate.",
            sqlstate=state,
        )
    if remedy := _NO_WRITES.get(state) or _NO_WRITES.get(state[:2]):
        return WritesRefused(f"PostgreSQL refuses writes: {text}.", remedy=remedy, sqlstate=state)
    if state.startswith("40"):
        return DatabaseConflict(f"PostgreSQL cancelled the transaction: {text}.", sqlstate=state)
    if state in _BUSY:
        return DatabaseBusy(f"PostgreSQL gave up waiting: {text}.", sqlstate=state)
    # Whatever a function raises, a trigger's say, it raises for the row at hand.
    if error.diag.context or state.startswith((*_ROW, _PERMISSION)) or _is_bad_value(error):
        return RowRefused(f"PostgreSQL refused a row: {text} ({state or 'value'}).", sqlstate=state)
    if state in _NO_RELATION:
        return MigrationMissing(f"The database is not prepared for assetq: {text}.")
    return DatabaseError(f"PostgreSQL refused: {text} ({state or None}).", sqlstate=state)


def unavailable(reason: str, place: Target) -> DatabaseUnavailable:
    """An error that names the place and the remedy."""
    known = (text for mark, text in _REMEDIES if re.search(mark, reason, re.IGNORECASE))
    return DatabaseUnavailable(
        reason,
        host=place.host,
        port=place.port,
        dbname=place.dbname,
        user=place.user,
        remedy=next(known, _GENERAL_REMEDY),
    )


def first_line(error: psycopg.Error) -> str:
    """The line that names the cause: libpq gives each address that it tried a line."""
    if error.diag.message_primary:
        return error.diag.message_primary.strip()
    lines = [line.strip(" \t-") for line in str(error).splitlines() if line.strip()]
    text = next((line for line in lines if "FATAL" in line), lines[0] if lines else "no answer")
    text = re.sub(r"^.*?FATAL:\s*", "", text)
    return text.removeprefix("connection failed: ").rstrip(".")


def _is_operational(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def _is_bad_value(error: psycopg.Error) -> bool:
    """Refused on this side, before anything was sent."""
    return not error.sqlstate and isinstance(error, psycopg.DataError)


def _is_of_the_table(error: psycopg.Error) -> bool:
    """Whether the server's check of grants raised it: row-level security and triggers use the same
    SQLSTATE for one row."""
    return (error.diag.source_function or "").startswith("aclcheck_error")
