"""Variables by which another program's RQ settings would redirect assetq's processes."""

import os

VARIABLES = (
    *("RQ_REDIS_URL", "RQ_CONFIG", "RQ_KEY_PREFIX"),
    *("RQ_WORKER_CLASS", "RQ_JOB_CLASS", "RQ_QUEUE_CLASS", "RQ_CONNECTION_CLASS"),
)
"""RQ reads them, and prefers some to what its command line says."""

_dropped: list[str] = []


def given() -> list[str]:
    """Those of the variables that are set in this process."""
    return [name for name in VARIABLES if os.environ.get(name)]


def drop() -> None:
    """Remove them from this process and its children, before RQ is imported.

    assetq's settings alone say which Redis, keys and classes RQ uses.
    """
    _dropped[:] = given()
    for name in _dropped:
        del os.environ[name]


def dropped() -> list[str]:
    """Those that this process removed and does not read."""
    return list(_dropped)
