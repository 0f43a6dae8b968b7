"""TCP proxies that make roads bad: slow ones to the provider, cut and slow ones to the servers."""

import asyncio
import random
import ssl
import threading
from collections.abc import Callable
from typing import Self


class Road:
    """Forwards loopback connections to `target_port`, and can be cut and slowed down while it runs.

    `delay_s` is asked for each chunk from the client (and back, if `both_ways`); chunks keep their
    order. With `tls` it ends TLS in front of a server that has none. It runs in one thread of its
    own: OpenSSL's connections must not be read in one thread and written in another.
    """

    def __init__(
        self,
        target_port: int,
        *,
        delay_s: Callable[[], float] = lambda: 0.0,
        both_ways: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._target_port = target_port
        self._tls = tls
        self._both_ways = both_ways
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._transports: set[asyncio.WriteTransport] = set()
        self._closed = False
        self.delay_s = delay_s
        self.port = 0
        self.accepted = 0
        """Connections, after the handshake where there is one."""
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the proxy did not start within 10 s")
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def cut(self, *, close: bool = False) -> None:
        """Resets every connection; with `close` new ones too, until `open` is called."""

        async def now() -> None:
            self._closed = close
            for transport in list(self._transports):
                transport.abort()
            await asyncio.sleep(0)  # an abort takes effect in the loop's next round

        asyncio.run_coroutine_threadsafe(now(), self._loop).result(10)

    def open(self) -> None:
        """New connections pass again."""
        self._closed = False

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=512, ssl=self._tls)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._end_all())
        self._loop.close()

    async def _end_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._closed:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        ends: set[asyncio.WriteTransport] = {writer.transport, back.transport}
        self._transports |= ends
        try:
            await asyncio.gather(
                self._pipe(reader, back, delayed=True),
                self._pipe(there, writer, delayed=self._both_ways),
            )
        finally:
            self._transports -= ends

    async def _pipe(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, delayed: bool
    ) -> None:
        try:
            while chunk := await source.read(65536):
                if delayed and (delay_s := self.delay_s()):
                    await asyncio.sleep(delay_s)
                sink.write(chunk)
                await sink.drain()
        except (ConnectionError, TimeoutError):
            sink.transport.abort()  # one side is gone, so the other goes
        finally:
            sink.close()


class SlowRoad(Road):
    """To the provider: each chunk from the client waits 0 to 300 ms, one in twenty a second.
    Answers are left alone."""

    def __init__(self, target_port: int, *, seed: int = 0) -> None:
        die = random.Random(seed)

        def delay_s() -> float:
            return 1.0 if die.random() < 0.05 else die.uniform(0, 0.3)

        super().__init__(target_port, delay_s=delay_s, both_ways=False)
