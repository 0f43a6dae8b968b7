"""What the integration tests share: a real server under the contract of queueing/."""

from __future__ import annotations

import pytest
from redis import Redis


@pytest.fixture
def connection(r: Redis) -> Redis:
    """An empty Valkey, where tests/unit has fakeredis under the same name."""
    return r
