"""What the measurements run on: servers of their own on loopback, and the peers' environment."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv-peers"
"""Made by `make peers`: what is compared, and no part of assetq."""


@contextmanager
def server(*options: str) -> Iterator[str]:
    """A Valkey without persistence; its URL."""
    from local.servers.valkey import ValkeyServer

    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        valkey = ValkeyServer(Path(folder), extra=("--appendonly", "no", *options))
        valkey.start()
        try:
            yield valkey.url
        finally:
            valkey.kill()
