"""Asking a provider for its keys: one short request over TLS, to a host that is pinned, within bounds as a whole.

Not by the transport of deliveries, whose time is counted for each step and which keeps the first KB of an answer; but
with its guard and its sockets: nothing but public addresses is connected to, and nothing outlasts its deadline. No
redirect is followed, no proxy or `.netrc` of the environment is looked at, and nothing is decompressed.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ..delivery.guard import Guard
from ..delivery.sockets import Limits, TLSSocket, TooLong, dial
from ..errors import RelayError
from .keys import NotHad

SECONDS: Final = 5.0
"""For all of a request: connecting, TLS, the answer. The resolver alone keeps its own time (see `Guard.resolve`)."""

MOST: Final = 64 * 1024
"""Bytes that an answer may have. A certificate with its chain has six thousand."""

_MOST_HEADER: Final = 32 * 1024
"""Bytes of an answer's header, and of what is read ahead."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said.

    Attributes:
        status: as sent.
        body: all of it.
    """

    status: int
    body: bytes = field(repr=False)


def trusted() -> ssl.SSLContext:
    """Give the system's idea of who is to be trusted. Made for each request, which are few: so changes are followed."""
    return ssl.create_default_context()


@dataclass(frozen=True, slots=True)
class Https:
    """Asks over TLS.

    Attributes:
        pin: what the whole of a URL has to look like.
        guard: which addresses may be connected to; public ones.
        context: makes the settings of TLS.
        seconds: for all of a request.
        most: bytes that an answer may have.
    """

    pin: re.Pattern[str]
    guard: Guard = field(default_factory=Guard)
    context: Callable[[], ssl.SSLContext] = trusted
    seconds: float = SECONDS
    most: int = MOST

    def ask(self, url: str, body: bytes = b"") -> Answer:
        """Send a GET, or a POST of JSON where there is a body.

        Raises:
            NotHad: there is no whole answer, or the URL is not pinned.
        """
        if not self.pin.fullmatch(url):
            raise NotHad("its URL is on no host that keys are fetched from")
        try:
            place = self.guard.place(url)
            limits = Limits(time.monotonic() + self.seconds, self.most + _MOST_HEADER)
            # Where the connection is closed in each case: http.client does not open it again without a socket.
            connection = http.client.HTTPSConnection(place.host, place.port)
            connection.auto_open = 0
            try:
                connection.sock = self._connected(place.host, place.port, limits)
                return self._exchange(connection, place.target, body)
            finally:
                connection.close()
        except RelayError as error:
            raise NotHad(str(error)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Not its words: an error of http.client's may quote what was answered.
            raise NotHad(_why(error, self.seconds)) from error

    def _connected(self, host: str, port: int, limits: Limits) -> TLSSocket:
        context = self.context()
        context.sslsocket_class = TLSSocket
        context.hostname_checks_common_name = False  # names stand in subjectAltName (RFC 9525, 1.4)
        plain = dial(self.guard, host, port, limits)
        try:
            secure = context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        assert isinstance(secure, TLSSocket)  # noqa: S101 - it was said above
        secure.limits = limits
        return secure

    def _exchange(self, connection: http.client.HTTPSConnection, target: str, body: bytes) -> Answer:
        headers = {"User-Agent": "trafficrelay", "Connection": "close"}
        if body:
            headers["Content-Type"] = "application/json"
        connection.request("POST" if body else "GET", target, body=body or None, headers=headers)
        response = connection.getresponse()
        try:
            content = response.read(self.most + 1)
            if len(content) > self.most:
                raise TooLong("the answer is too long")
            if response.length:
                raise http.client.IncompleteRead(b"")
        finally:
            response.close()
        return Answer(response.status, content)


def _why(error: Exception, seconds: float) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the host has a certificate that does not hold: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"it took longer than {seconds:g} s"
    if isinstance(error, TooLong | http.client.LineTooLong):
        return "the answer is too long"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the host closed the connection before it answered"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer broke off"
    if isinstance(error, OSError) and not isinstance(error, http.client.HTTPException):
        return f"the host cannot be reached: {error.strerror or type(error).__name__}"
    return "the host answered with something that is no HTTP/1.1"
