"""Every way in which a request could arrive late, twice or uncounted, on real sockets."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from market import transport
from market.client import MarketClient
from market.deadline import SendDeadline, boottime_s
from market.errors import BadAnswer, MarketError, ProviderDown, SendDeadlinePassed
from tests.kit.market_server import Peer, RawServer
from tests.kit.waiting import eventually

KEY = "secret_key_0123456789"
OK = {"status": "OK"}


def client_for(url: str, timeout_s: float = 5.0) -> MarketClient:
    return MarketClient(url, SecretStr(KEY), timeout_s=timeout_s)


def ask(client: MarketClient, deadline_s: float = 5.0) -> dict[str, Any]:
    return client.get("/v1/x", {}, deadline=SendDeadline.after(deadline_s))


def serve_ok(peer: Peer) -> None:
    while peer.read_head():
        peer.answer(OK)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextmanager
def took(at_least: float, below: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert at_least <= time.monotonic() - start < below


def settled_arrivals(server: RawServer) -> int:
    """Arrivals after everything that might still be on its way on loopback has come."""
    with socket.create_connection(("127.0.0.1", server.port)) as probe:
        before = server.connections
        probe.sendall(b"GET /probe HTTP/1.1\r\n\r\n")
        eventually(lambda: any("/probe" in head for head in server.heads) or before == 0)
    return sum("/probe" not in head for head in server.heads)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate, and is not here")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1,DNS:api.test -keyout {} -out {}"
    )
    filled = [str(key), str(cert)]
    arguments = [filled.pop(0) if word == "{}" else word for word in command.split()]
    subprocess.run(arguments, check=True, capture_output=True)
    return cert, key


@pytest.fixture
def trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    return certificate


def test_deadline_counts_down_and_may_start_in_the_past() -> None:
    assert 4 < SendDeadline.after(5).remaining_s() <= 5
    assert SendDeadline.after(5, start_s=boottime_s() - 6).remaining_s() < -0.9


def test_a_passed_deadline_opens_no_connection() -> None:
    with RawServer(serve_ok) as server, client_for(server.url) as client:
        with pytest.raises(SendDeadlinePassed) as caught:
            ask(client, -0.001)
        assert (caught.value.sent, caught.value.answered) == (False, False)
        assert server.connections == 0


def test_the_head_arrives_in_one_piece_and_without_delay() -> None:
    pieces: list[bytes] = []

    def script(peer: Peer) -> None:
        assert peer.sock.recv(1, socket.MSG_PEEK)
        pieces.append(peer.sock.recv(65536))
        peer.answer(OK)

    with RawServer(script) as server, client_for(server.url) as client:
        assert ask(client) == OK
    assert pieces[0].startswith(b"GET /v1/x HTTP/1.1\r\n")
    assert pieces[0].endswith(b"\r\n\r\n")
    assert f"Authorization: Bearer {KEY}".encode() in pieces[0]


def test_slow_dns_is_not_waited_for_beyond_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def slow(*args: Any, **kwargs: Any) -> Any:
        server.stopping.wait(10)
        return real(*args, **kwargs)

    with (
        RawServer(serve_ok) as server,
        client_for(f"http://localhost:{server.port}") as client,
    ):
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        with took(0.25, 4.5), pytest.raises(SendDeadlinePassed):
            ask(client, 0.3)
        assert server.connections == 0


def test_dns_that_fails_is_the_provider_out_of_reach() -> None:
    with client_for("http://no-such-host.invalid") as client, pytest.raises(ProviderDown) as caught:
        ask(client)
    assert (caught.value.sent, caught.value.answered) == (False, False)


def test_slow_connect_ends_at_the_deadline() -> None:
    with RawServer(serve_ok, backlog=0, accepting=False) as server:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", server.port))
        with client_for(server.url) as client, took(0.25, 4.5), pytest.raises(SendDeadlinePassed):
            ask(client, 0.3)
        for filler in fillers:
            filler.close()


def test_connection_refused_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with client_for(f"http://127.0.0.1:{port}") as client, pytest.raises(ProviderDown) as caught:
        ask(client)
    assert (caught.value.sent, caught.value.answered) == (False, False)
    assert "refused" in caught.value.message


def test_tls_works_and_its_handshake_uses_up_the_deadline(trusted: tuple[Path, Path]) -> None:
    with RawServer(serve_ok, tls=trusted) as server, client_for(server.url) as client:
        assert ask(client) == OK
        assert ask(client) == OK
        assert server.connections == 1
    with RawServer(serve_ok, tls=trusted, tls_delay_s=10.0) as server:
        with (
            client_for(server.url) as client,
            took(0.25, 4.5),
            pytest.raises(SendDeadlinePassed) as caught,
        ):
            ask(client, 0.3)
        assert caught.value.sent is False
        assert server.arrivals == []


def test_an_untrusted_certificate_sends_nothing(certificate: tuple[Path, Path]) -> None:
    with RawServer(serve_ok, tls=certificate) as server, client_for(server.url) as client:
        with pytest.raises(ProviderDown, match="CERTIFICATE_VERIFY_FAILED") as caught:
            ask(client)
        assert caught.value.sent is False
        assert server.arrivals == []


def test_slow_proxy_tunnel_uses_up_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(peer: Peer) -> None:
        assert peer.read_head().startswith("CONNECT ")
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 100:
            peer.send(bytes([byte]))
            peer.server.stopping.wait(0.05)

    with RawServer(drip) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with (
            client_for("https://api.invalid") as client,
            took(0.25, 4.5),
            pytest.raises(SendDeadlinePassed),
        ):
            ask(client, 0.3)
        assert len(proxy.heads) == 1
        assert KEY not in proxy.heads[0]


def test_tls_through_a_proxy_tunnel_is_checked_after_its_handshake(
    trusted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tunnel(peer: Peer) -> None:
        assert peer.read_head().startswith("CONNECT api.test:443 ")
        with socket.create_connection(("127.0.0.1", server.port)) as onward:
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=pump, args=(onward, peer.sock), daemon=True).start()
            pump(peer.sock, onward)

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either side may hang up
            while data := source.recv(65536):
                target.sendall(data)

    for tls_delay_s, arrivals in ((0.0, 1), (10.0, 0)):
        with (
            RawServer(serve_ok, tls=trusted, tls_delay_s=tls_delay_s) as server,
            RawServer(tunnel) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            with client_for("https://api.test") as client:
                if arrivals:
                    assert ask(client) == OK
                else:
                    with took(0.25, 4.5), pytest.raises(SendDeadlinePassed):
                        ask(client, 0.3)
            assert len(server.arrivals) == arrivals
            assert len(proxy.heads) == 1
            assert KEY not in proxy.heads[0]


def test_socks_proxies_are_refused_for_they_skip_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5h://127.0.0.1:9")
    with client_for("https://api.invalid") as client, pytest.raises(ProviderDown, match="SOCKS"):
        ask(client)


def test_a_proxy_is_never_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with RawServer(serve_ok) as server, client_for(server.url) as client:
        assert ask(client) == OK


def test_a_process_stopped_right_before_the_send_sends_nothing() -> None:
    """The child stops itself (SIGSTOP) with its connection ready and goes on past its deadline."""
    child = textwrap.dedent("""
        import os, signal, sys
        from pydantic import SecretStr
        from market import transport
        from market.client import MarketClient
        from market.deadline import SendDeadline
        from market.errors import SendDeadlinePassed

        real = transport._GuardedConnection.connect
        def connect(self):
            real(self)
            os.kill(os.getpid(), signal.SIGSTOP)
        transport._GuardedConnection.connect = connect
        try:
            with MarketClient(sys.argv[1], SecretStr("k" * 20)) as client:
                client.get("/v1/x", {}, deadline=SendDeadline.after(float(sys.argv[2])))
        except SendDeadlinePassed as exc:
            sys.exit(42 if not exc.sent else 1)
    """)
    with RawServer(serve_ok) as server:
        outcomes = []
        for deadline_s, stopped_s in ((0.3, 0.5), (30.0, 0.0)):
            with subprocess.Popen(
                [sys.executable, "-c", child, server.url, str(deadline_s)],
                cwd=Path(transport.__file__).parents[1],
            ) as process:
                assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
                server.stopping.wait(stopped_s)
                os.kill(process.pid, signal.SIGCONT)
                outcomes.append(process.wait(60))
        assert outcomes == [42, 0]
        assert len(server.arrivals) == 1


def test_suspended_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline must be kept on a clock that goes on while the machine sleeps."""
    if sys.platform != "linux":
        pytest.skip("CLOCK_BOOTTIME is Linux's name for it")
    asked: list[int] = []
    real = time.clock_gettime

    def spy(clock: int) -> float:
        asked.append(clock)
        return real(clock)

    monkeypatch.setattr(time, "clock_gettime", spy)
    SendDeadline.after(1).remaining_s()
    assert set(asked) == {time.CLOCK_BOOTTIME}


def test_no_answer_is_one_arrival_and_an_unanswered_one() -> None:
    def silent(peer: Peer) -> None:
        peer.read_head()
        peer.server.stopping.wait(5)

    with RawServer(silent) as server, client_for(server.url, 0.3) as client:
        with took(0.25, 4.5), pytest.raises(ProviderDown) as caught:
            ask(client)
        assert (caught.value.sent, caught.value.answered) == (True, False)
        assert len(eventually(lambda: server.arrivals)) == 1


def test_a_connection_given_up_is_reset_so_that_nothing_arrives_later() -> None:
    seen: list[str] = []

    def silent(peer: Peer) -> None:
        peer.read_head()
        try:
            seen.append(repr(peer.sock.recv(1)))
        except ConnectionResetError:
            seen.append("reset")

    with RawServer(silent) as server, client_for(server.url, 0.2) as client:
        with pytest.raises(ProviderDown):
            ask(client)
        eventually(lambda: seen == ["reset"])


def test_unacknowledged_bytes_are_not_retransmitted_after_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("this system cannot be told")
    values: list[int] = []
    real = transport._GuardedConnection.getresponse

    def spy(self: Any) -> Any:
        values.append(self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        return real(self)

    monkeypatch.setattr(transport._GuardedConnection, "getresponse", spy)
    with RawServer(serve_ok) as server, client_for(server.url) as client:
        ask(client, 5.0)
        ask(client, 2.0)
    assert 4000 < values[0] <= 5000
    assert 1000 < values[1] <= 2000


def dripping_head(peer: Peer) -> None:
    peer.read_head()
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100:
        if not peer.send(bytes([byte])) or peer.server.stopping.wait(0.05):
            return


def dripping_body(peer: Peer) -> None:
    peer.read_head()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    for _ in range(999):
        if not peer.send(b" ") or peer.server.stopping.wait(0.05):
            return


@pytest.mark.parametrize(("script", "answered"), [(dripping_head, False), (dripping_body, True)])
def test_a_dripping_answer_ends_in_total(script: Callable[[Peer], None], answered: bool) -> None:
    with RawServer(script) as server, client_for(server.url, 0.5) as client:
        with took(0.4, 4.5), pytest.raises(ProviderDown) as caught:
            ask(client)
        assert (caught.value.sent, caught.value.answered) == (True, answered)
        assert len(eventually(lambda: server.arrivals)) == 1


def test_keep_alive_is_used() -> None:
    with RawServer(serve_ok) as server, client_for(server.url) as client:
        for _ in range(3):
            assert ask(client) == OK
        assert (server.connections, len(server.arrivals)) == (1, 3)


def one_answer_then_close(peer: Peer) -> None:
    peer.read_head()
    peer.answer(OK)


def test_a_connection_that_the_server_closed_is_noticed_before_sending() -> None:
    with RawServer(one_answer_then_close) as server, client_for(server.url) as client:
        for count in (1, 2, 3):
            assert ask(client) == OK
            eventually(lambda: _is_broken(client))
            assert (server.connections, len(server.arrivals)) == (count, count)


def close_instead_of_the_second_answer(peer: Peer) -> None:
    peer.read_head()
    peer.answer(OK)
    peer.read_head()
    linger = struct.pack("ii", 1, 0)
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def test_a_connection_that_dies_under_a_request_is_not_sent_again() -> None:
    with RawServer(close_instead_of_the_second_answer) as server:
        with client_for(server.url) as client:
            assert ask(client) == OK
            with pytest.raises(ProviderDown) as caught:
                ask(client)
        assert (caught.value.sent, caught.value.answered) == (True, False)
        assert (server.connections, len(server.arrivals)) == (1, 2)


def test_an_unasked_answer_is_not_taken_for_ours() -> None:
    first_is_read = threading.Event()

    def unasked_words(peer: Peer) -> None:
        peer.read_head()
        peer.answer(OK)
        first_is_read.wait(60)
        peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        peer.server.stopping.wait(5)

    with RawServer(unasked_words) as server, client_for(server.url) as client:
        assert ask(client) == OK
        first_is_read.set()
        eventually(lambda: _is_broken(client))
        assert ask(client) == OK
        assert (server.connections, len(server.arrivals)) == (2, 2)


def _is_broken(client: MarketClient) -> bool:
    adapter: Any = client._session.get_adapter("http://")
    (pool,) = [adapter.poolmanager.pools[key] for key in adapter.poolmanager.pools.keys()]  # noqa: SIM118
    return not pool.pool.queue[-1].is_connected


def test_an_old_idle_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(serve_ok) as server, client_for(server.url) as client:
        ask(client)
        monkeypatch.setattr(transport, "IDLE_LIMIT_S", -1.0)
        ask(client)
        assert (server.connections, len(server.arrivals)) == (2, 2)


def test_a_deadline_also_binds_a_reused_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(serve_ok) as server, client_for(server.url) as client:
        ask(client)
        real = transport._GuardedConnection.endheaders

        def stalled(self: Any, *args: Any, **kwargs: Any) -> None:
            server.stopping.wait(0.3)
            real(self, *args, **kwargs)

        monkeypatch.setattr(transport._GuardedConnection, "endheaders", stalled)
        with pytest.raises(SendDeadlinePassed):
            ask(client, 0.2)
        assert (server.connections, len(server.arrivals)) == (1, 1)
        assert settled_arrivals(server) == 1


@pytest.mark.parametrize(
    "script",
    [
        lambda peer: (peer.read_head(), peer.send(b"hello\r\n\r\n")),
        lambda peer: (peer.read_head(), peer.send(b"")),
        lambda peer: (peer.read_head(), peer.send(b"HTTP/1.1 200 OK\r\nX" + b"x" * 70000)),
    ],
)
def test_noise_instead_of_http_is_one_arrival(script: Callable[[Peer], Any]) -> None:
    with RawServer(script) as server, client_for(server.url) as client:
        with pytest.raises((BadAnswer, ProviderDown)) as caught:
            ask(client)
        error: MarketError = caught.value
        assert (error.sent, error.answered) == (True, False)
        assert len(server.arrivals) == 1
