"""The sandbox over real sockets and as a process: arrivals, limit, faults on the wire, signals."""

from __future__ import annotations

import itertools
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from massive import RESTClient  # type: ignore[import-untyped]

from local.sandbox import Arrival, SandboxError, SandboxServer, worst_window
from local.sandbox.wire import Request
from tests.kit.waiting import eventually

STATUS: Final = "/v1/marketstatus/now"
BITCOIN: Final = "/v2/snapshot/locale/global/markets/crypto/tickers/X:BTCUSD"
KEY: Final = {"Authorization": "Bearer some-key"}


@pytest.fixture
def paid() -> Iterator[SandboxServer]:
    with SandboxServer("starter") as server:
        yield server


def get(server: SandboxServer, path: str = STATUS, **more: Any) -> requests.Response:
    more.setdefault("headers", KEY)
    more.setdefault("timeout", 5)
    return requests.get(server.url + path, **more)


def connect(server: SandboxServer) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


REQUEST: Final = f"GET {STATUS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n\r\n".encode()


def test_a_slow_request_counts_from_its_first_byte() -> None:
    with SandboxServer("spec", limit=1) as server, connect(server) as slow:
        first_ns = time.monotonic_ns()
        slow.sendall(REQUEST[:1])
        # While its key is not known it may be anybody's; it may take a moment until it is seen.
        strangers = ({"Authorization": f"Bearer other-{n}"} for n in itertools.count())
        eventually(lambda: get(server, headers=next(strangers)).status_code == 429)
        rest_ns = time.monotonic_ns()
        slow.sendall(REQUEST[1:])
        assert slow.recv(12) == b"HTTP/1.1 200"
        arrival = server.arrivals()[0]
        assert first_ns - 5_000_000 < arrival.mono_ns < rest_ns, "stamped when the byte came"
        assert (arrival.path, arrival.status) == (STATUS, 200)
        assert get(server, headers={"Authorization": "Bearer k"}).status_code == 429


def test_a_connection_is_kept_and_each_request_on_it_arrives(paid: SandboxServer) -> None:
    with requests.Session() as session:
        session.headers.update(KEY)
        for _ in range(3):
            assert session.get(paid.url + STATUS, timeout=30).status_code == 200
    assert [a.status for a in paid.arrivals()] == [200] * 3
    with connect(paid) as client:
        client.sendall(REQUEST * 2)
        answers = b""
        while answers.count(b"serverTime") < 2:
            answers += client.recv(65_536)
    assert len(paid.arrivals()) == 5


def test_a_connection_without_a_byte_is_no_arrival_but_half_a_request_is(
    paid: SandboxServer,
) -> None:
    connect(paid).close()
    with connect(paid) as client:
        client.sendall(REQUEST[:20])
    eventually(lambda: len(paid.arrivals()) == 1)
    assert paid.arrivals()[0].status is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01 hello?\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1 extra\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(paid: SandboxServer, data: bytes) -> None:
    with connect(paid) as client:
        client.sendall(data)
        assert client.recv(10) == b"HTTP/1.1 4"


def test_a_request_with_everything() -> None:
    seen: list[Request] = []
    with SandboxServer("starter", on_request=lambda request, _: seen.append(request)) as server:
        requests.post(
            f"{server.url}/a%20b/C%3AEURUSD?x=1&y=&x=2",
            data=b"body",
            headers={"Authorization": "bearer  k "},
            timeout=30,
        )
    (request,) = seen
    assert (request.method, request.path, request.body) == ("POST", "/a b/C:EURUSD", b"body")
    assert (request.query, request.key) == ({"x": "2", "y": ""}, "k")


def test_a_client_that_wants_no_further_answer_sees_the_end(paid: SandboxServer) -> None:
    with connect(paid) as client:
        client.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: Close\r\n\r\n"))
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer


def test_the_window_slides() -> None:
    window_s = 0.5
    with SandboxServer("spec", limit=3, window_s=window_s, count_refused=False) as server:
        until = time.monotonic() + 3 * window_s
        with requests.Session() as session:
            session.headers.update(KEY)
            while time.monotonic() < until:
                session.get(server.url + STATUS, timeout=30)
        passed: list[float] = []
        for one in server.arrivals():
            free = len(passed) < 3 or one.mono_s - passed[-3] >= window_s
            assert one.status == (200 if free else 429)
            passed += [one.mono_s] if free else []
        assert worst_window(passed, window_s) == 3
        assert len(passed) < len(server.arrivals())
        assert passed[-1] - passed[0] > window_s


def test_refused_requests_use_up_the_window_unless_told_otherwise() -> None:
    with SandboxServer("spec", limit=1, window_s=0.3) as server:
        assert get(server).status_code == 200
        until = time.monotonic() + 0.8
        while time.monotonic() < until:
            get(server)
        arrivals = server.arrivals()
    for before, one in itertools.pairwise(arrivals):
        # On a busy machine a window may pass in between.
        assert one.status == (200 if one.mono_ns - before.mono_ns >= 300_000_000 else 429)
    assert len(arrivals) > 3


def test_many_at_once_are_all_counted_and_only_five_pass() -> None:
    with SandboxServer("spec") as server:
        barrier = threading.Barrier(40)

        def ask(_: int) -> int:
            barrier.wait()
            return get(server, BITCOIN).status_code

        with ThreadPoolExecutor(40) as pool:
            statuses = list(pool.map(ask, range(40)))
        assert sorted(statuses) == [200] * 5 + [429] * 35
        arrivals: list[Arrival] = server.arrivals()
        assert len(arrivals) == 40
        assert [a.mono_ns for a in arrivals] == sorted(a.mono_ns for a in arrivals)
        assert {a.tickers for a in arrivals} == {("X:BTCUSD",)}


def test_arrivals_and_summary_over_http(paid: SandboxServer) -> None:
    get(paid)
    since = time.time()
    get(paid, BITCOIN, headers={}, params={"apiKey": "some-key"})
    get(paid, STATUS, headers={})
    (second, third) = get(paid, "/_sandbox/arrivals", params={"since": since}, headers={}).json()
    assert (second["path"], second["tickers"], second["status"]) == (BITCOIN, ["X:BTCUSD"], 200)
    assert (third["status"], third["key"]) == (401, "")
    assert since - 0.01 <= second["wall_s"] <= time.time()
    everything = get(paid, "/_sandbox/arrivals", headers={})
    assert "some-key" not in everything.text
    assert len({row["key"] for row in everything.json()}) == 2
    summary = get(paid, "/_sandbox/summary", headers={}).json()
    assert (summary["total"], summary["worst_window"]) == (3, 3)
    assert summary["by_status"] == {"200": 2, "401": 1}


# --- faults on the wire -----------------------------------------------------------------------


def test_faults_are_set_and_cleared_over_http(paid: SandboxServer) -> None:
    url = paid.url + "/_sandbox/faults"
    set_ = requests.post(url, json={"faults": [{"kind": "server_error", "count": 1}]}, timeout=30)
    assert set_.status_code == 200
    assert get(paid).status_code == 500
    assert requests.get(url, timeout=30).json()["faults"][0]["left"] == 0
    assert get(paid).status_code == 200
    assert requests.post(url, json={"faults": []}, timeout=30).json() == {"faults": []}
    for bad in ('{"faults": [{"kind": "nope"}]}', "[]", "{", '{"faults": 3}', '{"seed": "x"}'):
        reply = requests.post(url, data=bad, timeout=30)
        assert (reply.status_code, reply.json()["status"]) == (400, "ERROR")


def test_hanging_ends_when_the_client_gives_up(paid: SandboxServer) -> None:
    paid.configure({"kind": "hang"})
    with pytest.raises(requests.ReadTimeout):
        get(paid, timeout=0.3)
    assert eventually(paid.arrivals)[0].status is None
    paid.configure()
    assert get(paid).status_code == 200


def test_a_reset_is_seen_as_one(paid: SandboxServer) -> None:
    paid.configure({"kind": "reset"})
    with connect(paid) as client:
        client.sendall(REQUEST)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(requests.ConnectionError):
        get(paid)


def test_a_cut_answer_is_shorter_than_promised(paid: SandboxServer) -> None:
    paid.configure({"kind": "cut"})
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        get(paid)


def test_a_dripping_answer_comes_byte_by_byte(paid: SandboxServer) -> None:
    paid.configure({"kind": "drip", "drip_s": 0.002})
    began = time.monotonic()
    body = get(paid).json()
    assert body["currencies"]["crypto"] == "open"
    assert time.monotonic() - began > 0.1


def test_a_delay_passes_before_the_first_byte(paid: SandboxServer) -> None:
    paid.configure({"kind": "delay", "min_s": 0.3, "max_s": 0.4})
    assert get(paid).elapsed.total_seconds() > 0.3
    controls = (get(paid, "/_sandbox/summary") for _ in range(9))
    assert any(one.elapsed.total_seconds() < 0.3 for one in controls), "not this machine's delays"


def test_faults_spare_what_is_over_the_limit() -> None:
    with SandboxServer("spec", limit=1) as server:
        server.configure({"kind": "html"})
        assert get(server).headers["Content-Type"] == "text/html"
        assert get(server).status_code == 429


def test_stopping_frees_whoever_waits(paid: SandboxServer) -> None:
    paid.configure({"kind": "hang"})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(get, paid)
        eventually(paid.arrivals)
        paid.stop()
        with pytest.raises(requests.ConnectionError):
            waiting.result(timeout=30)
    with pytest.raises(OSError, match=r"."):
        connect(paid)


def test_what_it_cannot_start_with() -> None:
    with pytest.raises(SandboxError, match="spec, free, starter"):
        SandboxServer("gold")
    with pytest.raises(SandboxError, match="window"):
        SandboxServer(window_s=0)
    with SandboxServer() as server:
        port = int(server.url.rsplit(":", 1)[1])
        with pytest.raises(SandboxError, match=f"cannot listen on 127.0.0.1:{port}"):
            SandboxServer(port=port).start()


def test_the_official_client_reads_it(paid: SandboxServer) -> None:
    client = RESTClient("k", base=paid.url, retries=0)
    bars = list(client.list_aggs("X:BTCUSD", 5, "minute", "2026-11-16", "2026-11-17", limit=500))
    assert len(bars) == 576
    universal = client.list_universal_snapshots(ticker_any_of=["C:EURUSD", "X:BTCUSD"])
    assert [row.ticker for row in universal] == ["C:EURUSD", "X:BTCUSD"]
    assert client.get_snapshot_ticker("forex", "C:EURUSD").prev_day.close > 0


# --- the process ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_one_line_and_ends_at_a_signal(number: int) -> None:
    command = [sys.executable, "-m", "local.sandbox", "--limit", "1", "--key", "right"]
    with subprocess.Popen(
        [*command, "--fault", "hang,path=/v3/"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        url = next(word for word in line.split() if word.startswith("http://"))
        assert "plan spec, 1 calls per 60 s" in line
        assert requests.get(url + STATUS, headers=KEY, timeout=30).status_code == 401
        right = {"Authorization": "Bearer right"}
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(requests.get, url + "/v3/x", headers=right, timeout=20)
            summary = f"{url}/_sandbox/summary"
            eventually(lambda: requests.get(summary, timeout=30).json()["total"] == 2)
            process.send_signal(number)
            assert process.wait(timeout=60) == 0
            with pytest.raises(requests.ConnectionError):
                hanging.result(timeout=30)
        assert process.communicate() == (b"", b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fault", "explode"],
        ["--tickers", "/nowhere.csv"],
        ["--limit", "-1"],
        ["--port", "99999"],
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "local.sandbox", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("sandbox: ")


def test_a_client_that_resets_does_no_harm(paid: SandboxServer, capfd: Any) -> None:
    for data in (b"", REQUEST[:9], REQUEST):
        client = connect(paid)
        client.sendall(data)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert get(paid).status_code == 200
    assert capfd.readouterr() == ("", "")


def test_tickers_of_ones_own(tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text("X:WAGMIUSD\n", "utf-8")
    with SandboxServer("starter", tickers=[more]) as server:
        snapshot = get(server, BITCOIN.replace("BTC", "WAGMI")).json()["ticker"]
        assert snapshot["lastTrade"]["p"] > 0
