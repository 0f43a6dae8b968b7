"""A TCP proxy that delays every request on its way to the provider, and leaves answers alone."""

import asyncio
import random
import threading


class SlowRoad:
    """Listens on loopback; each chunk from the client waits 0 to 300 ms, one in twenty a second."""

    def __init__(self, target_port: int, *, seed: int = 0) -> None:
        self._target_port = target_port
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> "SlowRoad":
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the proxy did not start within 10 s")
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=512)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    def _delay_s(self) -> float:
        return 1.0 if self._random.random() < 0.05 else self._random.uniform(0, 0.3)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self._pipe(reader, back, delayed=True), self._pipe(there, writer, delayed=False)
        )

    async def _pipe(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, delayed: bool
    ) -> None:
        try:
            while chunk := await source.read(65536):
                if delayed:
                    await asyncio.sleep(self._delay_s())
                sink.write(chunk)
                await sink.drain()
        except (ConnectionError, TimeoutError):
            sink.transport.abort()  # one side is gone, so the other goes
        finally:
            sink.close()
