"""The relay's application in a thread of any program."""

from __future__ import annotations

import logging
import os
import socket
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from .errors import ServerError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from .waitress_loop import WaitressLoop

logger: Final = logging.getLogger("trafficrelay.server")

# As many connections wait in the kernel while the loop is busy; waitress' own default.
_BACKLOG: Final = 1024

# Addresses to listen on, as none of them is an address to connect to.
_LOOPBACK_OF: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - only looked up


class Server:
    """A WSGI application, served by threads of this process until it is stopped.

        with Server(app, max_body=1 << 20) as server:
            print(server.url)

    It takes no signal handler, and a program that forgets to stop it can end. After a fork it runs in the parent alone.

    Args:
        app: the WSGI application; several threads call it at once.
        host: the address to listen on, or a name that has one.
        port: the port to listen on; 0 takes a free one, another at each start.
        threads: how many requests the application works on at once.
        max_body: the largest body that the application takes, in bytes. The application has to keep to it; what the
            server holds of a body before it calls the application follows from it.
        stop_timeout: seconds that `stop()` waits for requests that are in flight.
        on_stop: called by `stop()` after the last request.

    Raises:
        ServerError: waitress is not installed.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        threads: int = 8,
        max_body: int,
        stop_timeout: float = 10.0,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self._loop_class = _waitress_loop()
        self._app = app
        self._host = host
        self._wanted_port = port
        self._threads = threads
        self._max_body = max_body
        self._stop_timeout = stop_timeout
        self._on_stop = on_stop
        self._lock = threading.Lock()
        self._loop: WaitressLoop | None = None
        self._port = 0
        _servers.add(self)

    @property
    def port(self) -> int:
        """The port that it listens on.

        Raises:
            ServerError: it is not running.
        """
        if self._loop is None:
            raise ServerError("The server is not running; call start() or use it in a with statement.")
        return self._port

    @property
    def url(self) -> str:
        """Where it can be reached from this machine: `"http://127.0.0.1:54321"`, without a slash at the end.

        Raises:
            ServerError: it is not running.
        """
        return base_url(self._host, self.port)

    def start(self) -> Self:
        """Listen, and serve in threads. Does nothing when it is running already.

        Raises:
            ServerError: the address cannot be listened on.
        """
        with self._lock:
            if self._loop is None:
                sock = self._bind()
                self._port = sock.getsockname()[1]
                self._loop = self._loop_class(
                    self._app,
                    sock,
                    threads=self._threads,
                    max_body=self._max_body,
                    name=f"trafficrelay-{self._port}",
                )
        return self

    def stop(self) -> None:
        """Stop listening, answer what is in flight, close all connections and end the threads.

        Returns within `stop_timeout` and about a second; what was not done by then is logged. Does nothing when it is
        not running. Not to be called by the application itself, whose request it would wait for.
        """
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is None:
                return
            left = loop.stop(self._stop_timeout)
        if left:
            logger.warning(
                "The server on port %d was stopped after %g s with %s.", self._port, self._stop_timeout, ", ".join(left)
            )
        if self._on_stop is not None:
            self._on_stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _bind(self) -> socket.socket:
        try:
            if not 0 <= self._wanted_port <= 65535:  # getaddrinfo() would make 4464 of 70000
                raise ValueError("a port is a number from 0 to 65535")
            family, _, _, _, address = socket.getaddrinfo(
                self._host or None, self._wanted_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            return socket.create_server(address, family=family, backlog=_BACKLOG)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ServerError(
                f"The server cannot listen on {self._host}, port {self._wanted_port}: {reason}. "
                "Give it a free port (0 takes any) and an address of this machine."
            ) from error

    def _forget(self) -> None:
        """In a forked child: be a server that was never started."""
        self._lock = threading.Lock()  # the old one may have been held at the time of the fork
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.abandon()


def base_url(host: str, port: int) -> str:
    """Give the address at which clients on this machine reach what listens on `host`."""
    host = _LOOPBACK_OF.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _waitress_loop() -> type[WaitressLoop]:
    # Not at the top: whoever only mounts the relay does not need waitress.
    try:
        from .waitress_loop import WaitressLoop
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "waitress":
            raise
        raise ServerError(
            "Serving in a thread needs waitress, which is not installed: pip install 'trafficrelay[serve]'"
        ) from error
    return WaitressLoop


# The one thing that is known process-wide: a fork happens to the process, and its hooks cannot be taken back.
_servers: Final[weakref.WeakSet[Server]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for server in list(_servers):
        server._forget()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
