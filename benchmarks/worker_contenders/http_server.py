"""The server that the jobs ask: it answers each GET after 50 ms, and /answered at once with how many it answered.

    python -m worker_contenders.http_server

It prints its port and runs until it is ended. One process, a protocol without streams: some ten thousand requests a
second, on as many connections as are made, so that it is not what is measured.
"""

from __future__ import annotations

import asyncio

DELAY = 0.05
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Counter:
    """How many requests were answered."""

    def __init__(self) -> None:
        self.answered = 0


class Answering(asyncio.Protocol):
    """One connection."""

    def __init__(self, counter: Counter, loop: asyncio.AbstractEventLoop) -> None:
        self._counter = counter
        self._loop = loop
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            request, self._received = self._received[:end], self._received[end + 4 :]
            if request.startswith(b"GET /answered "):
                body = b"%d" % self._counter.answered
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            else:
                self._loop.call_later(DELAY, self._answer)

    def _answer(self) -> None:
        self._counter.answered += 1
        self._transport.write(_OK)


async def serve() -> None:
    """Listen on loopback and print the port."""
    loop = asyncio.get_running_loop()
    counter = Counter()
    server = await loop.create_server(lambda: Answering(counter, loop), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
