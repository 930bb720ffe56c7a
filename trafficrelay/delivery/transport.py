"""Requests of deliveries: pooled connections through the guard, within bounds of time and size.

Redirects are not followed, nothing is sent twice, proxies and `.netrc` in the environment are not looked at, cookies
are not kept, and bodies are not decompressed.
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ..errors import ConnectionFailed, DeclarationError
from .guard import Guard, Place
from .link import Link
from .sockets import TLSSocket, TooLong

IDLE_SECONDS: Final = 30.0
"""How long a connection is kept that nobody uses."""

OLDEST_SECONDS: Final = 300.0
"""How old a connection may become: then the host is resolved again, so that a move in the DNS is followed."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # the same, 5.5
_OURS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"}
)
"""Headers that say where and how a request travels; said twice, two servers may read two requests in it."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent.

    Attributes:
        method: such as `"POST"`.
        url: where to.
        headers: beside Host, Content-Length and Accept-Encoding, which are made.
        body: as it goes on the wire.
        connect_timeout: seconds for resolving, connecting and TLS, together.
        read_timeout: seconds for sending the request, for the whole header of the answer, and for its body: each. So a
            request is over after `connect_timeout` and three times this, whatever the server does (a resolver that does
            not answer may take longer: see `Guard.resolve`).
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    connect_timeout: float
    read_timeout: float


@dataclass(frozen=True, slots=True)
class Response:
    """What was answered. It counts once its header is whole, even where its body breaks off.

    Attributes:
        status: 200 to 999.
        headers: names in lower case, without `set-cookie`.
        body: its first KB at most, not decoded.
        seconds: how long it took, from the call of `send`.
    """

    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    seconds: float


class Transport:
    """Sends requests, for many threads at once, and keeps connections open for the next. Not to be used across a fork.

    Args:
        guard: where it may connect to.
        max_connections: how many connections are kept while nobody uses them; in use is one for each thread that sends.
        ca_file: certificates in PEM that are trusted beside the system's.

    Raises:
        DeclarationError: `ca_file` cannot be read.
    """

    def __init__(self, guard: Guard, *, max_connections: int = 100, ca_file: str = "") -> None:
        self._guard = guard
        self._context = _context(ca_file)
        self._most = max_connections
        self._lock = threading.Lock()
        self._idle: list[tuple[Link, float]] = []  # with the time since; the longest idle first
        self._closed = False

    def send(self, request: Request) -> Response:
        """Send a request, and return the answer, whatever its status.

        A kept connection is used only if the server has not closed it; if it does so while the request is on its way,
        that is `sent=True`, and nothing is sent again here.

        Raises:
            AddressForbidden: the URL leads to where deliveries do not go. Nothing was sent.
            ConnectionFailed: there was no answer; `sent` says whether the request may have arrived.
            DeclarationError: the URL, the method or a header is none that can be sent. Nothing was sent.
        """
        started = time.monotonic()
        place = self._guard.place(request.url)
        headers = _checked(request)
        link = self._take(place) or self._open(place, request.connect_timeout)
        try:
            answer = link.exchange(request.method, place.target, headers, request.body, request.read_timeout)
        except (OSError, http.client.HTTPException, ValueError) as error:
            link.close()
            # An error of http.client's may quote what the server sent, which must not get into logs with it.
            cause = error if isinstance(error, OSError) and not isinstance(error, http.client.HTTPException) else None
            raise ConnectionFailed(f"{place} {_why(error, request.read_timeout)}.", sent=True) from cause
        except BaseException:  # a job's time-out, raised in the middle
            link.close()
            raise
        self._put(link, keep=answer.whole)
        return Response(answer.status, answer.headers, answer.body, time.monotonic() - started)

    def close(self) -> None:
        """Close the connections that are kept; those in use are closed by whoever uses them."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for link, _ in idle:
            link.close()

    def _open(self, place: Place, seconds: float) -> Link:
        try:
            return Link(place, self._guard, self._context, seconds)
        except OSError as error:
            raise ConnectionFailed(f"{place} {_why(error, seconds)}.", sent=False) from error

    def _take(self, place: Place) -> Link | None:
        """Return a kept connection to a place: the one last used, the least likely to be closed at the other end."""
        key = (place.scheme, place.host, place.port)
        while True:
            with self._lock:
                old = self._expired(time.monotonic())
                index = next((at for at in reversed(range(len(self._idle))) if self._idle[at][0].key == key), None)
                link = None if index is None else self._idle.pop(index)[0]
            for expired in old:
                expired.close()
            if link is None or link.idle:
                return link
            link.close()

    def _put(self, link: Link, *, keep: bool) -> None:
        now = time.monotonic()
        with self._lock:
            old = self._expired(now)
            if keep and not self._closed and now - link.opened < OLDEST_SECONDS:
                self._idle.append((link, now))
                old += [self._idle.pop(0)[0] for _ in range(len(self._idle) - self._most)]
            else:
                old.append(link)
        for expired in old:
            expired.close()

    def _expired(self, now: float) -> list[Link]:
        """Take out what has been idle for too long."""
        old = [link for link, since in self._idle if since <= now - IDLE_SECONDS]
        self._idle = self._idle[len(old) :]
        return old


def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = TLSSocket
    context.hostname_checks_common_name = False  # names stand in subjectAltName (RFC 9525, 1.4)
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise DeclarationError(f"The certificates in {ca_file} cannot be read: {error}.", option="ca_file") from error
    return context


def _checked(request: Request) -> dict[str, str]:
    """Check what http.client would check too, whose errors quote the values."""
    if not _TOKEN.fullmatch(request.method) or request.method == "CONNECT":
        raise DeclarationError("The method of a delivery is one such as 'POST'.", option="method")
    headers = {"User-Agent": "trafficrelay"}
    for name, value in request.headers.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise DeclarationError(f"{name!r} is no header that a delivery can set.", option="headers")
        if not _VALUE.fullmatch(value):
            raise DeclarationError(f"The header {name} has a value that cannot be sent in one line.", option="headers")
        if name.lower() == "user-agent":
            del headers["User-Agent"]
        headers[name] = value
    return headers


def _why(error: Exception, seconds: float) -> str:
    """Say what went wrong in words that hold nothing of what was sent or answered."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that does not hold: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"does not speak TLS as it should: {error.reason or type(error).__name__}"
    if isinstance(error, TimeoutError):
        return f"took longer than {seconds:g} s"
    if isinstance(error, TooLong | http.client.LineTooLong):
        return "answered with a header that is too long"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return "closed the connection before it answered"
    if isinstance(error, OSError):
        return f"cannot be reached: {error.strerror or type(error).__name__}"
    return "answered with something that is no answer of HTTP/1.1"
