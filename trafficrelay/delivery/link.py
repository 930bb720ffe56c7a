"""One connection to one place, and the exchanges over it.

Of urllib3, its connections are used, which ask `_new_conn` for a socket and do the rest (TLS with SNI and the check of
the certificate, the Host header, the framing of the request), and not its pools: they keep an idle connection for ever,
do not say whether a request had been sent when it failed, and log whole URLs. Its connections do not look at proxies in
the environment, nor at `.netrc`; that is done by what stands on them.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from urllib3.connection import HTTPConnection, HTTPSConnection

from .guard import Guard, Place
from .sockets import Limits, PlainSocket, TLSSocket, dial

KEPT: Final = 1024
"""Bytes of an answer's body that are kept."""

_MOST_HEADER: Final = 65_536
"""Bytes that an answer's header may have; http.client alone would take a hundred lines of as many."""

_MOST_UNREAD: Final = 65_536
"""Bytes of a body beyond those kept that are read so that the connection can be kept; for more it is dropped."""

_READ_AHEAD: Final = 8192
"""Bytes that http.client's buffer may read beyond what it was asked for (io.DEFAULT_BUFFER_SIZE)."""

Dial = Callable[[], PlainSocket]


class _Plain(HTTPConnection):
    auto_open = 0  # a connection that was closed is not opened again behind our back

    def __init__(self, place: Place, dial: Dial) -> None:
        super().__init__(place.host, place.port, timeout=None)
        self._dial = dial

    def _new_conn(self) -> socket.socket:
        return self._dial()


class _Secure(HTTPSConnection):
    auto_open = 0

    def __init__(self, place: Place, dial: Dial, context: ssl.SSLContext) -> None:
        super().__init__(place.host, place.port, timeout=None, ssl_context=context)
        self._dial = dial

    def _new_conn(self) -> socket.socket:
        return self._dial()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: as sent.
        headers: names in lower case; lines of the same name joined by commas.
        body: its beginning, `KEPT` bytes at most, in the coding that it was sent in.
        whole: whether all of the body was read, and the connection can take another request.
    """

    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    whole: bool


class Link:
    """A connection that is open. Not for two threads at once.

    Args:
        place: where to.
        guard: what is asked for its addresses.
        context: for TLS.
        seconds: for all of it: resolving, connecting, TLS.

    Raises:
        AddressForbidden, ConnectionFailed: as `Guard.resolve` does.
        OSError: it cannot be opened (also `ssl.SSLError`).
    """

    def __init__(self, place: Place, guard: Guard, context: ssl.SSLContext, seconds: float) -> None:
        self.key = (place.scheme, place.host, place.port)
        self.opened = time.monotonic()
        self._limits = Limits(self.opened + seconds)
        made = partial(dial, guard, place.host, place.port, self._limits)
        self._connection = _Secure(place, made, context) if place.scheme == "https" else _Plain(place, made)
        try:
            self._connection.connect()
        except BaseException:
            self._connection.close()
            raise
        if isinstance(self._connection.sock, TLSSocket):
            self._connection.sock.limits = self._limits

    @property
    def idle(self) -> bool:
        """Whether it is open and nothing came in: a server that closed it has sent its end."""
        return self._connection.is_connected

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Answer:
        """Send a request and read the answer.

        Args:
            method: of the request.
            target: its path and query.
            headers: its own, checked.
            body: as it goes on the wire.
            seconds: for sending it, for the whole header of the answer, and for its body: each.

        Raises:
            OSError, http.client.HTTPException, ValueError: there is no answer whose header is whole.
        """
        cut = not self._send(method, target, headers, body, seconds)
        self._limits.begin(seconds, _MOST_HEADER + _READ_AHEAD)
        # Not urllib3's own `getresponse`: where an answer's header is malformed it logs the whole URL.
        response = http.client.HTTPConnection.getresponse(self._connection)
        try:
            if response.status < 200:
                # http.client passes over 100 only, and would take the real answer for that of the next request.
                raise http.client.HTTPException(f"status {response.status} is no final answer")
            self._limits.begin(seconds, KEPT + _MOST_UNREAD + _READ_AHEAD)
            kept, whole = _body(response)
        finally:
            response.close()
        return Answer(response.status, _headers(response), kept, whole and not cut and not response.will_close)

    def _send(self, method: str, target: str, headers: Mapping[str, str], body: bytes, seconds: float) -> bool:
        """Send a request; `False` where the server stopped listening: it may have answered before it did."""
        self._limits.begin(seconds)
        try:
            self._connection.request(method, target, body=body or None, headers=headers)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return False
        return True


def _body(response: http.client.HTTPResponse) -> tuple[bytes, bool]:
    """Read a body: its beginning, and whether it was read to its end.

    Raises nothing of the connection's: the status has been said, so an answer whose body breaks off, drips or does not
    end counts as it is. Taken for a failure, what the receiver took would be sent again.
    """
    kept = b""
    try:
        while len(kept) < KEPT and (piece := response.read1(KEPT - len(kept))):
            kept += piece
        response.read(_MOST_UNREAD)
    except (OSError, http.client.HTTPException, ValueError):  # ValueError: a chunk of a negative size
        return kept, False
    return kept, response.isclosed() and not response.length


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in response.headers.items():
        key, line = name.lower(), " ".join(value.split())  # a value may go over several lines (obs-fold)
        # A session of the receiver's, which nobody here uses, and which would be stored with the answer.
        if key != "set-cookie":
            found[key] = f"{found[key]}, {line}" if key in found else line
    return found
