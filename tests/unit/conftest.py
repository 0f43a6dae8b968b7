"""What the unit tests share: a Redis that needs no server."""

from __future__ import annotations

import fakeredis
import pytest
from redis import Redis


@pytest.fixture
def connection() -> Redis:
    """An empty fakeredis; tests/integration has a real server under the same name."""
    return fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
