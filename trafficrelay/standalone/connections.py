"""What bounds the connections to the standalone server: their number, their time, the size of a header.

granian (measured with 2.8) takes in as many connections as it has places for, and leaves the others to the kernel. It
has one clock for a header, which runs from the first moment of a connection and from every answer on: it ends those
that send nothing, those that send slowly, and those that are kept open unused. Nothing in it ends those that do not
read what they are answered; the kernel does that where it is told to.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from typing import Final

CONNECTIONS: Final = 12_000
"""How many connections each server process holds at once; 10 KB each (measured). With granian's own 1,024 so many idle
ones kept everybody else out."""

BACKLOG: Final = 4_096
"""How many more wait in the kernel until one has ended; Linux' own default (net.core.somaxconn)."""

_OTHER_FILES: Final = 256
"""Descriptors that are left for all else: Redis, the spool, what the user's code opens."""

_LONGEST_IDLE: Final = 30.0

_HEADER_MARGIN: Final = 16 * 1024


def connections() -> int:
    """Give how many connections a server process may hold, and let this process and its children open so many files.

    There are fewer than `CONNECTIONS` where the hard limit of open files is lower: a server that accepts what it has no
    descriptor for tries again without a pause (granian 2.8), and hears no signal meanwhile.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        # macOS says that there is no limit, and has one.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    files = wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)
    return max(files - _OTHER_FILES, files // 2)


def idle_seconds(body_timeout: float) -> float:
    """Give how long a header may take to arrive, and a connection stay open unused."""
    return min(body_timeout, _LONGEST_IDLE)


def header_buffer(max_header: int) -> int:
    """Give the bytes that granian reads of a header before it refuses it with a bare 431.

    It is above what the relay itself takes, whose refusal says more; not far, for every connection may hold so much.
    """
    return max_header + _HEADER_MARGIN


def end_those_who_do_not_read(listener: int, seconds: float) -> None:
    """Have the kernel end connections whose other end takes no more answers.

    A sender of many requests who reads no answer would hold its connection for ever, and megabytes in the kernel
    (measured). The option is Linux' own; elsewhere this does nothing.

    Args:
        listener: the descriptor of the socket that accepts the connections; they have the option from it.
        seconds: how long they may take nothing.
    """
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        with socket.socket(fileno=os.dup(listener)) as shared:
            shared.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
