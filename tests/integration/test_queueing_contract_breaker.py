"""The contract tests of queueing/ once more, on a real server.

The star imports bring the tests; the fixture `connection` below takes the place of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.unit.test_queueing_breaker import *  # noqa: F403


@pytest.fixture(params=[True, False], ids=["text", "bytes"])  # type: ignore[no-redef]
def connection(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, decode_responses=request.param) as client:
        yield client
