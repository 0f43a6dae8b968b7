"""What the security tests share: the least rights in Redis and PostgreSQL, and who used which."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from cli.commands.acl import USER, acl_line
from db.errors import DatabaseUnavailable
from db.queries import sql
from tests.kit.db_data import run
from tests.kit.roads import Road

REDIS_PASSWORD = "MarkRedisAcl83"
ROLE, ROLE_PASSWORD = "assetq_least", "MarkRole84"
ALWAYS = {"hello", "auth", "quit", "reset"}
"""No user can be denied these."""
SILENT = "client|setinfo"
"""redis-py tells the server its name and lives without; Redis 7.0 does not know this command."""


@contextmanager
def acl_user(admin: redis.Redis, provider: str = "massive") -> Iterator[str]:
    """The user that `assetq acl` makes; yields its URL."""
    admin.execute_command(acl_line(provider, password=REDIS_PASSWORD))
    admin.acl_log_reset()
    port = admin.connection_pool.connection_kwargs["port"]
    try:
        yield f"redis://{USER}:{REDIS_PASSWORD}@127.0.0.1:{port}/0"
    finally:
        admin.acl_deluser(USER)


@contextmanager
def least_role(owner_url: str) -> Iterator[str]:
    """A login in the role of db/sql/grants.sql; yields its URL."""
    run(owner_url, sql("grants"))
    run(owner_url, f"CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE_PASSWORD}' IN ROLE assetq_worker")
    parts = urlsplit(owner_url)
    try:
        yield f"postgresql://{ROLE}:{ROLE_PASSWORD}@{parts.hostname}:{parts.port}{parts.path}"
    finally:
        with suppress(DatabaseUnavailable):  # the server has gone, and why is told by what ended
            _drop_role(owner_url)


def _drop_role(owner_url: str) -> None:
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"
    run(owner_url, kill)
    run(owner_url, f"DROP ROLE {ROLE}")
    run(owner_url, "DROP OWNED BY assetq_worker; DROP ROLE assetq_worker")


class Recorder:
    """Every command that reaches a server, by name, as `ACL` spells it."""

    _CONTAINERS = frozenset({"client", "script", "acl", "config", "object", "memory", "xgroup"})

    def __init__(self, url: str) -> None:
        self.seen: dict[str, str] = {}
        self._client = redis.Redis.from_url(url, decode_responses=True)
        self._monitor = self._client.monitor()
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for line in self._monitor.listen():
                words = str(line["command"]).split(" ")
                name = words[0].lower()
                if name in self._CONTAINERS:
                    name += f"|{words[1].lower()}"
                self.seen.setdefault(name, " ".join(words)[:120])
        except (redis.RedisError, OSError, ValueError, AttributeError):
            return  # closed

    def close(self) -> None:
        connection = self._monitor.connection
        sock = connection._sock if connection else None
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._client.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command to make a certificate")
    crt, key = folder / "self.crt", folder / "self.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=redis.invalid", "-keyout", str(key), "-out", str(crt)]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    return crt, key


class TlsFront(Road):
    """Ends TLS in front of a server that has none, with a self-signed certificate."""

    def __init__(self, folder: Path, behind_port: int) -> None:
        self.certificate, key = certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        super().__init__(behind_port, tls=context)
