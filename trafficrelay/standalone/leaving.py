"""How a server process ends: when the run does, when another process has taken over, or when its parent has gone.

granian's own way to replace a server process loses requests (measured with 2.8): it stops the old one after a pause,
whether the new one is ready or not, and closes connections on which the next request is just coming. So a process that
is replaced leaves in steps: it accepts no more connections, asks the senders on those it has to come again on others,
and ends when all of them have gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from granian.rsgi import Scope

    from .rsgi import Exchange

logger = logging.getLogger("trafficrelay.standalone")

LEAVE: Final = b"leave"
"""What the parent says when another process has taken over."""

LEFT: Final = "left"
"""What a process answers to that when it takes no more connections."""

STOP: Final = b"stop"
"""What the parent says when the run ends; it sends SIGTERM too."""

_POLL: Final = 0.5
_TICK: Final = 0.1

# What is left for saying so, and for the parent to see it, before the kernel ends what does not end.
_EXTRA: Final = 2

# /proc/self/fd on Linux; macOS has this one too.
_OPEN_FILES: Final = Path("/dev/fd")


class Service(Protocol):
    """What answers requests, as granian calls it."""

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None: ...

    async def __rsgi__(self, scope: Scope, proto: Any) -> None: ...

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None: ...


class Leaving:
    """Watches over the end of this server process, from a thread of its own that no transform holds up.

    Args:
        line: the line to the parent.
        parent: the parent's process id.
        listener: the descriptor of the socket that this process accepts connections from.
        port: the port that it listens on.
        patience: seconds that senders have, when the process is replaced, to be done with the connections they have.
        grace: seconds that requests in flight have to be answered in at the end.
    """

    def __init__(
        self, line: Connection, *, parent: int, listener: int, port: int, patience: float, grace: float
    ) -> None:
        self._line = line
        self._parent = parent
        self._listener = listener
        self._port = port
        self._patience = patience
        self._grace = grace
        self._closes = False
        self._in_flight = 0
        threading.Thread(target=self._watch, name="trafficrelay-leaving", daemon=True).start()

    def around(self, service: Service, facts: Mapping[str, Any]) -> Service:
        """Put this around a service, and tell the parent when the process is ready.

        Args:
            service: what answers the requests.
            facts: what the parent is told then; anything that JSON can say.
        """
        return _Around(self, service, facts)

    def say(self, word: object) -> None:
        """Tell the parent something that JSON can say; it may have gone."""
        with contextlib.suppress(OSError):
            self._line.send_bytes(json.dumps(word).encode())

    async def answer(self, service: Service, scope: Scope, proto: Exchange) -> None:
        """Have the service answer a request."""
        self._in_flight += 1
        try:
            await service.__rsgi__(scope, _LastAnswer(proto) if self._closes else proto)
        finally:
            self._in_flight -= 1

    def _watch(self) -> None:
        while not self._line.poll(_POLL) and self._has_parent():
            pass
        word = self._hear()
        if word == LEAVE:
            self._leave()
            word = self._hear()
        self._end(told=word == STOP)

    def _leave(self) -> None:
        with contextlib.suppress(OSError):  # no descriptor is free; then its last connections are closed while idle
            stop_accepting(self._listener)
        self._closes = True
        self.say(LEFT)
        deadline = time.monotonic() + self._patience
        # The pause comes first: a connection may have been accepted a moment ago.
        while not self._line.poll(_TICK) and self._has_parent() and time.monotonic() < deadline:
            if not self._in_flight and not has_connections(self._port):
                return

    def _end(self, *, told: bool) -> None:
        # The kernel's own clock, for a process in which Python does not get its turn any more.
        signal.alarm(int(self._grace) + _EXTRA)
        if not told:
            # Not beside the parent's: granian hears two of them, and hangs on the third (measured with 2.8).
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._grace)
        try:
            if self._in_flight:
                logger.warning("Cut off after %g s, unanswered requests: %d.", self._grace, self._in_flight)
        finally:
            # Whatever the user's own logging makes of it.
            os._exit(1)

    def _hear(self) -> bytes:
        """Read a word of the parent; `b""` if it has said none or has gone."""
        with contextlib.suppress(EOFError, OSError):
            if self._line.poll():
                return self._line.recv_bytes()
        return b""

    def _has_parent(self) -> bool:
        # The line's end says the same, unless a fork of the parent's has inherited it.
        return os.getppid() == self._parent


class _Around:
    """The service, seen from granian."""

    def __init__(self, leaving: Leaving, service: Service, facts: Mapping[str, Any]) -> None:
        self._leaving = leaving
        self._service = service
        self._facts = facts

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._service.__rsgi_init__(loop)
        # granian calls this before it accepts, and runs the loop after.
        loop.call_soon(self._leaving.say, self._facts)

    def __rsgi__(self, scope: Scope, proto: Any) -> Coroutine[Any, Any, None]:
        return self._leaving.answer(self._service, scope, proto)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._service.__rsgi_del__(loop)


class _LastAnswer:
    """Answers, and says that the connection takes no more requests."""

    def __init__(self, proto: Exchange) -> None:
        self._proto = proto

    def __getattr__(self, name: str) -> Any:
        return getattr(self._proto, name)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._proto.__aiter__()

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self._proto.response_empty(status, _closing(headers))

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._proto.response_bytes(status, _closing(headers), body)


def _closing(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [*(one for one in headers if one[0].lower() != "connection"), ("Connection", "close")]


def stop_accepting(listener: int) -> None:
    """Take no more connections from a socket on which other processes go on listening.

    granian can only be told to end, which closes idle connections too; and whoever is last to close the socket resets
    the connections that wait in it. So its descriptor is made to mean another socket, which nobody connects to.
    """
    with socket.socket(socket.AF_UNIX) as quiet:
        # It listens and does not block: on any error granian 2.8 tries again without a pause, and hears no signal.
        quiet.setblocking(False)
        if sys.platform == "linux":
            # Linux goes on telling granian of connections to the first socket. Elsewhere it is told of nothing.
            quiet.bind("")  # a name that the kernel makes up
            quiet.listen(0)
        os.dup2(quiet.fileno(), listener, inheritable=False)


def has_connections(port: int) -> bool:
    """Say whether this process has connections that were made to a port of its own; where nobody can tell, it has."""
    try:
        return any(_is_connection(int(entry.name), port) for entry in _OPEN_FILES.iterdir())
    except OSError:
        return True


def _is_connection(descriptor: int, port: int) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        with socket.socket(fileno=os.dup(descriptor)) as found:
            if found.family not in (socket.AF_INET, socket.AF_INET6) or found.getsockname()[1] != port:
                return False
            found.getpeername()
            return True
    except OSError:
        # Closed meanwhile, or by the other end, or not connected.
        return False
