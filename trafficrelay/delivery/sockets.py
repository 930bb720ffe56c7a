"""Sockets that end on time: each read and write is held to a deadline, and reading to a number of bytes.

A socket's own time-out starts anew with each byte that arrives, so a server that sends one byte a second holds a thread
for as long as it likes; and what reads a header line by line has no bound but its lines'.
"""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ConnectionFailed
from .guard import Guard

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class TooLong(OSError):
    """More was sent than is read."""


@dataclass(slots=True)
class Limits:
    """How long, and how much, a connection may still take. Shared by a socket and whoever sets them.

    Attributes:
        ends: when it is over, as `time.monotonic` counts.
        room: bytes that may still be read.
    """

    ends: float
    room: int = 0

    def begin(self, seconds: float, room: int = 0) -> None:
        """Start the next step of an exchange."""
        self.ends = time.monotonic() + seconds
        self.room = room

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            TimeoutError: there are none.
        """
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left

    def read(self, count: int) -> None:
        """Count bytes that were read.

        Raises:
            TooLong: they are more than there was room for.
        """
        self.room -= count
        if self.room < 0:
            raise TooLong("more was sent than is read")


class PlainSocket(socket.socket):
    """A socket of TCP. Until it has limits it is one like any other."""

    limits: Limits | None = None

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Read within the limits; it is what `makefile` reads with."""
        if self.limits is None:
            return super().recv_into(buffer, nbytes, flags)
        self.settimeout(self.limits.left())
        count = super().recv_into(buffer, nbytes, flags)
        self.limits.read(count)
        return count

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Write within the limits; a time-out counts for all of the data (Python's documentation, since 3.5)."""
        if self.limits is not None:
            self.settimeout(self.limits.left())
        super().sendall(data, flags)


class TLSSocket(ssl.SSLSocket):
    """A socket of TLS; `SSLContext.sslsocket_class` has it made."""

    limits: Limits | None = None

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """Read within the limits."""
        if self.limits is None:
            return super().recv_into(buffer, nbytes, flags)
        self.settimeout(self.limits.left())
        count = super().recv_into(buffer, nbytes, flags)
        self.limits.read(count)
        return count

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Write within the limits; `sendall` writes with it, a record at a time."""
        if self.limits is not None:
            self.settimeout(self.limits.left())
        return super().send(data, flags)


def dial(guard: Guard, host: str, port: int, limits: Limits) -> PlainSocket:
    """Connect to the first address of a host that answers, of those that the guard lets through.

    Each address has its share of the time that is left, so that one that is silent leaves some to the next, and to TLS.

    Raises:
        AddressForbidden: it leads to none that deliveries connect to.
        ConnectionFailed: it has no address.
        OSError: no address takes the connection; the last one's error.
    """
    addresses = guard.resolve(host, port)
    for index, (family, sockaddr) in enumerate(addresses):
        try:
            return _connect(family, sockaddr, limits, limits.left() / (len(addresses) - index))
        except OSError:
            if index == len(addresses) - 1:
                raise
    raise ConnectionFailed(f"{host} has no address.", sent=False)


def _connect(family: int, sockaddr: Any, limits: Limits, seconds: float) -> PlainSocket:
    made = PlainSocket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.settimeout(seconds)
        made.connect(sockaddr)
        made.settimeout(limits.left())  # for TLS' handshake, which takes it over and counts it as a whole
        made.limits = limits
    except BaseException:
        made.close()
        raise
    return made
