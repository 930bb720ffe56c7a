"""The process between the relay and Valkey that loses replies.

    python -m tests.chaos.wire --port N --server N

It takes orders on stdin, a line each, and answers each with a line of JSON on stdout:

    lose NAME N HOW   lose the reply to the N-th command of this name from now on, whoever sends it; ANY is any name.
                      HOW is `close` (the connection is closed in its place), `swallow` (nothing comes any more on this
                      connection) or `cut` (its first bytes come, and then the connection is closed)
    forget            lose no more, and say how many of the ordered losses had not come about
    status            say what has been lost: `{"waiting": 0, "lost": {"EVALSHA close": 3}, "commands": 1234}`

Replies are told apart, also of a pipeline: those before the lost one arrive.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, Literal, get_args

Loss = Literal["close", "swallow", "cut"]

LOSSES: Final[tuple[Loss, ...]] = get_args(Loss)

ANY: Final = "ANY"

_CHUNK: Final = 256 * 1024


class Commands:
    """Finds the commands in what a client sends: arrays of bulk strings (RESP)."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """Give the names of the commands that are complete now."""
        self._data += data
        names: list[str] = []
        at = 0
        while found := self._command(at):
            name, at = found
            names.append(name)
        del self._data[:at]
        return names

    def _command(self, at: int) -> tuple[str, int] | None:
        end = self._data.find(b"\r\n", at)
        if end < 0:
            return None
        count, at, name = int(self._data[at + 1 : end]), end + 2, b""
        for number in range(count):
            end = self._data.find(b"\r\n", at)
            if end < 0:
                return None
            start = end + 2
            stop = start + int(self._data[at + 1 : end])
            at = stop + 2
            if at > len(self._data):
                return None
            if number == 0:
                name = bytes(self._data[start:stop])
        return name.decode("ascii", "replace").upper(), at


class Replies:
    """Finds the replies in what Valkey sends (RESP 2 and 3)."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Give the replies that are complete now."""
        self._data += data
        replies: list[bytes] = []
        at = 0
        while (end := self._end(at)) is not None:
            replies.append(bytes(self._data[at:end]))
            at = end
        del self._data[:at]
        return replies

    def _end(self, at: int) -> int | None:
        left = 1
        while left:
            line = self._data.find(b"\r\n", at)
            if line < 0:
                return None
            kind, rest = self._data[at : at + 1], self._data[at + 1 : line]
            at = line + 2
            left -= 1
            if kind in b"$=!":
                size = int(rest)
                at += size + 2 if size >= 0 else 0
            elif kind in b"*~>":
                left += max(0, int(rest))
            elif kind in b"%|":
                # An attribute (|) goes before the reply that it is about.
                left += 2 * int(rest) + (kind == b"|")
        return at if at <= len(self._data) else None


class Pair:
    """A client's connection and the one that was made for it.

    Attributes:
        client: towards the relay.
        server: towards Valkey.
        expected: for each command that has no reply yet its name and how the reply is to be lost.
        silent: whether nothing is passed on to the client any more.
    """

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.commands = Commands()
        self.replies = Replies()
        self.expected: deque[tuple[str, Loss | None]] = deque()
        self.silent = False


class Wire:
    """The proxy; it has one thread."""

    def __init__(self, port: int, server: int) -> None:
        self._server = server
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", port))
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._order)
        self._orders = b""
        self._pairs: set[Pair] = set()
        self._seen: Counter[str] = Counter()
        self._armed: dict[tuple[str, int], Loss] = {}
        self._lost: Counter[str] = Counter()
        self._running = True

    def run(self) -> None:
        """Pass on until stdin ends."""
        while self._running:
            for key, _ in self._selector.select():
                act: Callable[[], None] = key.data
                act()

    def _order(self) -> None:
        data = os.read(sys.stdin.fileno(), 65536)
        self._running = bool(data)
        self._orders += data
        while b"\n" in self._orders:
            line, _, self._orders = self._orders.partition(b"\n")
            forgotten = False
            match line.decode().split():
                case ["lose", name, number, how]:
                    loss = next(loss for loss in LOSSES if loss == how)
                    self._armed[name, self._seen[name] + int(number)] = loss
                case ["forget"]:
                    forgotten = True
            status = {"waiting": len(self._armed), "lost": dict(self._lost), "commands": self._seen[ANY]}
            sys.stdout.write(json.dumps(status) + "\n")
            sys.stdout.flush()
            if forgotten:
                self._armed.clear()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._server), timeout=5)
        except OSError:
            client.close()
            return
        for end in (client, server):
            # A frozen Valkey must not block this thread for ever; what does not fit within this time breaks off.
            end.settimeout(20)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = Pair(client, server)
        self._pairs.add(pair)
        self._selector.register(client, selectors.EVENT_READ, lambda: self._guarded(pair, self._from_client))
        self._selector.register(server, selectors.EVENT_READ, lambda: self._guarded(pair, self._from_server))

    def _guarded(self, pair: Pair, act: Callable[[Pair], bool]) -> None:
        if pair not in self._pairs:
            return  # closed in this turn of the loop
        going = False
        with contextlib.suppress(OSError):
            going = act(pair)
        if not going:
            self._close(pair)

    def _close(self, pair: Pair) -> None:
        self._pairs.discard(pair)
        for end in (pair.client, pair.server):
            self._selector.unregister(end)
            end.close()

    def _from_client(self, pair: Pair) -> bool:
        data = pair.client.recv(_CHUNK)
        for name in pair.commands.feed(data):
            pair.expected.append((name, self._count(name)))
        if data:
            pair.server.sendall(data)
        return bool(data)

    def _count(self, name: str) -> Loss | None:
        """Count a command, and say how its reply is to be lost."""
        losses = []
        for kind in (name, ANY):
            self._seen[kind] += 1
            losses.append(self._armed.pop((kind, self._seen[kind]), None))
        return losses[0] or losses[1]

    def _from_server(self, pair: Pair) -> bool:
        data = pair.server.recv(_CHUNK)
        passed = bytearray()
        going = bool(data)
        for reply in pair.replies.feed(data):
            name, loss = pair.expected.popleft() if pair.expected else ("?", None)
            if loss is not None:
                self._lost[f"{name} {loss}"] += 1
                if loss == "cut":
                    passed += reply[: max(1, len(reply) // 2)]
                going = loss == "swallow"
                pair.silent = pair.silent or loss == "swallow"
                break
            if not pair.silent:
                passed += reply
        if passed:
            pair.client.sendall(passed)
        return going


def main() -> None:
    """Run the proxy until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.wire", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", type=int, required=True)
    options = parser.parse_args()
    Wire(options.port, options.server).run()


if __name__ == "__main__":
    main()
