"""The standalone server: granian's processes, each with the relay in it."""

from __future__ import annotations

import errno
import functools
import logging
import multiprocessing
import os
import socket
import sys
import time
from multiprocessing.connection import Connection
from typing import Any, Final

from ..door import MAX_HEADER
from ..errors import ServerError
from .connections import BACKLOG, connections, end_those_who_do_not_read, header_buffer, idle_seconds
from .leaving import Leaving
from .reload import LOAD_SECONDS, Reloads, facts

# What a restart waits for a predecessor that was killed: its processes see it and close the port.
PORT_PATIENCE: Final = 3.0

# What a server process may take beyond --stop-timeout, to say what is left, before it is killed.
_KILL_EXTRA: Final = 1

# granian logs to stdout, where only what the user asked for belongs.
_LOG_HANDLERS: Final = {
    name: {"class": "logging.StreamHandler", "formatter": formatter, "stream": "ext://sys.stderr"}
    for name, formatter in (("console", "generic"), ("access", "access"))
}


def serve(
    target: str,
    *,
    url: str | None,
    host: str,
    port: int,
    processes: int,
    threads: int,
    body_timeout: float,
    stop_timeout: int,
    max_header: int = MAX_HEADER,
    load_timeout: float = LOAD_SECONDS,
) -> None:
    """Serve a relay until SIGTERM or SIGINT; SIGHUP takes new code. Call it in the main thread of a process of its own.

    Args:
        target: `module:relay`; every server process loads it for itself.
        url: the Redis URL that the relay is bound to; `None` leaves it with what it is declared with.
        host: the address to listen on.
        port: the port to listen on, not 0.
        processes: how many server processes share the port.
        threads: in how many threads of each process the app runs; 0 runs it in the event loop.
        body_timeout: seconds within which a request's body must have arrived, and before it its header.
        stop_timeout: seconds that requests in flight have to be answered in when the server ends.
        max_header: the largest header that the relay takes, in bytes.
        load_timeout: seconds within which new code must load.

    Raises:
        ServerError: granian is not installed, or a server process ended again and again.
    """
    try:
        # An extra, which most users of the package do without.
        from granian.constants import HTTPModes, Interfaces, Loops
        from granian.http import HTTP1Settings
        from granian.log import LogLevels

        from .supervisor import Supervisor
    except ImportError:
        raise missing_extra("granian", "or mount relay.app in a server of your own") from None

    # spawn: granian starts processes while threads of its own run, so a fork could copy a held lock; and it is what
    # granian falls back to on Python 3.14.
    multiprocessing.set_start_method("spawn", force=True)
    # Twice as long as a connection may stay unused: whoever is still there then is at work.
    patience = 2 * idle_seconds(body_timeout)
    server = Supervisor(
        target,
        load_timeout=load_timeout,
        patience=patience,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=processes,
        loop=Loops.asyncio,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=connections(),
        http1_settings=HTTP1Settings(
            header_read_timeout=int(idle_seconds(body_timeout) * 1000), max_buffer_size=header_buffer(max_header)
        ),
        log_level=LogLevels.warning,
        log_dictconfig={"handlers": _LOG_HANDLERS},
        respawn_failed_workers=True,
        workers_kill_timeout=stop_timeout + _KILL_EXTRA,
    )
    reloads = Reloads(server, target, url=url, load_timeout=load_timeout)
    server.on_startup(reloads.start)
    loader = functools.partial(
        _load,
        target,
        url=url,
        threads=threads,
        port=port,
        body_timeout=body_timeout,
        stop_timeout=stop_timeout,
        patience=patience,
        parent=os.getpid(),
    )
    try:
        server.serve(target_loader=loader, wrap_loader=False)
    except SystemExit:
        # granian's way to say that a worker failed again within 5.5 seconds.
        raise ServerError("The server processes end as soon as they start; the reason is above.") from None
    finally:
        reloads.stop()


def free_port(host: str, port: int) -> int:
    """Find out whether a port can be listened on; for port 0 choose a free one.

    granian listens with SO_REUSEPORT, so a second server on the same port would silently take half of the traffic.

    Raises:
        ServerError: the port is in use, or the address cannot be used at all.
    """
    deadline = time.monotonic() + PORT_PATIENCE
    while True:
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                # Connections that are just ending do not block the port, a listener does.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return int(probe.getsockname()[1])
        except UnicodeError:
            raise ServerError(f"{host} is no address and no name of a host.") from None
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            if in_use and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            if in_use:
                raise ServerError(f"Port {port} on {host} is in use; choose another one with --port.") from None
            raise ServerError(f"Cannot listen on {host} port {port}: {error.strerror}.") from None


def missing_extra(module: str, otherwise: str) -> ServerError:
    """Make the error that says what to install, or what to do without it."""
    return ServerError(f"{module} is not installed: pip install 'trafficrelay[standalone]', {otherwise}.")


def _load(
    target: str,
    *,
    url: str | None,
    threads: int,
    port: int,
    body_timeout: float,
    stop_timeout: int,
    patience: float,
    parent: int,
    line: Connection,
    listener: int,
) -> Any:
    """Make what granian serves; it calls this in each of its processes."""
    # Ctrl-C reaches every process of the terminal. Only the parent shall act on it and end the others in order, or
    # granian takes a server process that was quicker than the parent for one that crashed.
    os.setpgid(0, 0)
    leaving = Leaving(line, parent=parent, listener=listener, port=port, patience=patience, grace=stop_timeout)

    # Where the user's own module sets logging up, that counts: it is loaded below and finds these handlers in place
    # only if it leaves them.
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("trafficrelay").setLevel(logging.INFO)

    # Here and not above: the parent needs none of it.
    from .rsgi import RelayService
    from .target import load_bound

    relay = load_bound(target, url)

    # What an earlier run has left in the spool does not wait for the first event.
    start = getattr(relay.outbox, "start", None)
    if start is not None:
        start()

    def leave() -> None:
        relay.close(timeout=stop_timeout / 2)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # Every request has been answered. Python's own way out would let granian's threads panic where a connection is
        # still open (granian 2.8, with a message on the terminal), and wait for a transform that never returns.
        os._exit(0)

    service = RelayService(
        relay.app,
        relay.outbox,
        door=relay.door,
        threads=threads,
        body_timeout=body_timeout,
        on_start=functools.partial(end_those_who_do_not_read, listener, idle_seconds(body_timeout)),
        on_stop=leave,
    )
    return leaving.around(service, facts(relay))
