"""The stream of events from the real gunicorn: its limits, its ends, and that nothing is missed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from local.servers.valkey import ValkeyServer
from queueing import Keys
from tests.acceptance.test_web_serving import PASSWORD, Web, started
from tests.kit.waiting import eventually
from web.live import MOST_STREAMS

UPDATES = Keys().updates


@pytest.fixture(scope="module")
def web(
    project_root: Path, tmp_path_factory: pytest.TempPathFactory, valkey_server: ValkeyServer
) -> Iterator[Web]:
    """One process for all tests of this module; the last one ends it."""
    tmp = tmp_path_factory.mktemp("web")
    path = tmp / "web.log"
    with (
        path.open("wb") as log,
        started(project_root, tmp, log.fileno(), REDIS_URL=valkey_server.url) as found,
    ):
        yield found
    assert "Traceback" not in path.read_text()


@contextmanager
def streaming(web: Web, **headers: str) -> Iterator[requests.Response]:
    with requests.Session() as session:
        session.trust_env = False
        url, auth = f"http://127.0.0.1:{web.port}/live", ("admin", PASSWORD)
        with session.get(url, auth=auth, headers=headers, stream=True, timeout=30) as answer:
            yield answer


def open_streams(web: Web, count: int, stack: ExitStack) -> list[Iterator[bytes]]:
    """The lines of that many streams, each of which has begun."""

    def one() -> Iterator[bytes]:
        answer = stack.enter_context(streaming(web))
        assert answer.status_code == 200, "those of the test before may still end"
        return answer.iter_lines(1)

    found = [eventually(one) for _ in range(count)]
    assert all(next(lines) == b"retry: 1000" for lines in found)
    return found


def publish(r: Redis, number: int) -> str:
    return str(r.xadd(UPDATES, {"event": json.dumps({"symbol": "EURUSD", "number": number})}))


def refreshes(lines: Iterator[Any], count: int) -> list[tuple[str, int]]:
    """The next refreshes of a stream: id, number."""
    found: list[tuple[str, int]] = []
    id_ = ""
    deadline = time.monotonic() + 30  # a heartbeat comes every second
    while len(found) < count and time.monotonic() < deadline:
        name, _, value = next(lines).partition(": ")
        id_ = value if name == "id" else id_
        if name == "data" and value != "{}":
            found.append((id_, json.loads(value)["number"]))
    return found


def test_a_page_that_was_cut_off_misses_nothing_and_sees_nothing_twice(web: Web, r: Redis) -> None:
    with streaming(web) as answer:
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines(1, decode_unicode=True)
        assert next(lines) == "retry: 1000"
        eventually(lambda: any(c["cmd"] == "xread" for c in r.client_list()))
        publish(r, 0)
        ((last_seen, _),) = refreshes(lines, 1)
    ids = [publish(r, number) for number in range(1, 1400)]
    with streaming(web, **{"Last-Event-ID": last_seen}) as answer:
        lines = answer.iter_lines(1, decode_unicode=True)
        first = refreshes(lines, 1)
        ids += [publish(r, number) for number in range(1400, 1450)]
        seen = first + refreshes(lines, 1448)
    assert seen == list(zip(ids, range(1, 1450), strict=True))


def test_what_is_no_id_counts_as_none(web: Web) -> None:
    for odd in ("x", "1-1; DROP", "9" * 30, "-"):
        with streaming(web, **{"Last-Event-ID": odd}) as answer:
            assert next(answer.iter_lines(1)) == b"retry: 1000"


def test_a_silent_stream_says_that_it_is_alive(web: Web) -> None:
    with streaming(web) as answer:
        began = time.monotonic()
        lines = answer.iter_lines(1)
        while next(lines) != b": alive":
            assert time.monotonic() - began < 30


def test_beyond_the_limit_a_page_is_told_to_poll_and_others_are_answered(web: Web) -> None:
    with ExitStack() as streams:
        lines = open_streams(web, MOST_STREAMS, streams)
        with streaming(web) as answer:
            assert answer.status_code == 204
        for _ in range(20):
            web.connect()
        assert any(web.healthz_s() < 0.5 for _ in range(10))
        assert next(lines[0]) == b"", "and the first of them goes on"

    def one_is_free() -> bool:
        with streaming(web) as answer:
            return answer.status_code == 200

    eventually(one_is_free, what="a page that left makes room")


def test_sigterm_ends_open_streams(web: Web) -> None:
    with ExitStack() as streams:
        lines = open_streams(web, 5, streams)
        began = time.monotonic()
        web.process.terminate()
        for each in lines:
            list(each)  # fails for one that is cut in the middle
        assert web.process.wait(60) == 0
        assert time.monotonic() - began < 15, "its patience with clients is 20 s"
