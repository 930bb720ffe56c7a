"""A TCP proxy in front of Redis: counts what clients send, loses replies, refuses connections."""

from __future__ import annotations

import contextlib
import queue
import selectors
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

Loss = Literal["close", "swallow"]


class RedisProxy:
    """Stands between clients and one Redis; a context manager.

        with RedisProxy(redis_url) as proxy:
            outbox = RQOutbox(proxy.url)

    All sockets belong to one thread, which is told what to do through `_tell`.

    Attributes:
        url: as the server's, with the proxy's address.
        commands: the names of the commands that clients sent, in order, in capitals.
        trips: how often a client sent something and waited for what came back.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._listener = _listen(("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self.url = urlunsplit(parts._replace(netloc=f"127.0.0.1:{self._address[1]}"))
        self.commands: list[str] = []
        self.trips = 0
        self._lose: list[tuple[str, Loss]] = []
        self._pairs: set[_Pair] = set()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringing = socket.socketpair()
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="redis-proxy")

    def __enter__(self) -> Self:
        self._selector.register(self._ringing, selectors.EVENT_READ, self._answer_bell)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell(self._end)
        self._thread.join()

    def lose_replies(self, count: int, how: Loss = "close", command: str = "EVALSHA") -> None:
        """Lose the replies to the next `count` of these commands; Redis carries the commands out.

        Args:
            count: how many.
            how: `close` closes the connection instead, `swallow` leaves the client waiting.
            command: the command's name, in capitals.
        """
        self._tell(lambda: self._lose.extend([(command, how)] * count))

    def refuse(self) -> None:
        """Close all connections and refuse new ones."""
        self._tell(self._refuse)

    def admit(self) -> None:
        """Take connections again."""
        self._tell(self._admit)

    def _tell(self, order: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.put((order, done))
        self._bell.send(b"!")
        if not done.wait(10):
            raise AssertionError("the proxy's thread does not answer")

    # From here on everything runs in the thread. What was ready at the beginning of a turn may have been closed in it.

    def _run(self) -> None:
        while self._running:
            for key, _ in self._selector.select():
                key.data()

    def _answer_bell(self) -> None:
        self._ringing.recv(1)
        order, done = self._orders.get()
        order()
        done.set()

    def _end(self) -> None:
        self._refuse()
        self._selector.close()
        self._ringing.close()
        self._bell.close()
        self._running = False

    def _refuse(self) -> None:
        if self._listener.fileno() >= 0:
            self._selector.unregister(self._listener)
            self._listener.close()
        for pair in list(self._pairs):
            self._close(pair)

    def _admit(self) -> None:
        self._listener = _listen(self._address)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        if self._listener.fileno() < 0:
            return
        client, _ = self._listener.accept()
        pair = _Pair(client, socket.create_connection(self._server))
        self._pairs.add(pair)
        self._selector.register(pair.client, selectors.EVENT_READ, lambda: self._from_client(pair))
        self._selector.register(pair.server, selectors.EVENT_READ, lambda: self._from_server(pair))

    def _close(self, pair: _Pair) -> None:
        self._pairs.remove(pair)
        for end in (pair.client, pair.server):
            self._selector.unregister(end)
            end.close()

    def _from_client(self, pair: _Pair) -> None:
        if pair not in self._pairs:
            return
        data = _received(pair.client)
        if not data:
            self._close(pair)
            return
        self.trips += not pair.waiting
        pair.waiting = True
        for name in pair.read.feed(data):
            self.commands.append(name)
            if self._lose and self._lose[0][0] == name:
                pair.lost = self._lose.pop(0)[1]
        pair.server.sendall(data)

    def _from_server(self, pair: _Pair) -> None:
        if pair not in self._pairs:
            return
        data = _received(pair.server)
        pair.waiting = False
        if not data or pair.lost == "close":
            self._close(pair)
        elif pair.lost is None:
            with contextlib.suppress(ConnectionError):
                pair.client.sendall(data)


class _Pair:
    """A client's connection and the one that was made for it.

    Attributes:
        lost: how the reply to come is lost, `None` for not at all.
        waiting: whether the client has sent something and got nothing back yet.
    """

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.read = _Reader()
        self.lost: Loss | None = None
        self.waiting = False


class _Reader:
    """Finds the commands in what a client sends: arrays of bulk strings (RESP)."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[str]:
        """Give the names of the commands that are complete now."""
        self._data += data
        names = []
        while found := self._first():
            name, end = found
            names.append(name)
            self._data = self._data[end:]
        return names

    def _first(self) -> tuple[str, int] | None:
        head, mark, _ = self._data.partition(b"\r\n")
        if not mark:
            return None
        if not head.startswith(b"*"):
            raise AssertionError(f"no command begins with {head[:20]!r}")
        at, name = len(head) + 2, b""
        for number in range(int(head[1:])):
            end = self._data.find(b"\r\n", at)
            if end < 0:
                return None
            size, start = int(self._data[at + 1 : end]), end + 2
            at = start + size + 2
            if at > len(self._data):
                return None
            if number == 0:
                name = self._data[start : start + size]
        return name.decode("ascii").upper(), at


def _listen(address: tuple[str, int]) -> socket.socket:
    return socket.create_server(address)


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(64 * 1024)
    except ConnectionError:
        return b""
