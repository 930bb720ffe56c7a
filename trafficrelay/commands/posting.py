"""Sending requests to a relay, one after the other over one connection. No redirect is followed, no proxy asked."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from ..errors import ConnectionFailed, RelayError
from ..verify.message import Outgoing
from .progress import Progress
from .sending import Planned

_SECONDS: Final = 30.0
"""For connecting, and for each part of an answer."""

_MOST: Final = 64 * 1024
"""Bytes of an answer's body that are read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a relay answered.

    Attributes:
        status: its status.
        reason: the words beside that.
        headers: its headers, in their order.
        body: its first 64 KB.
        seconds: how long it took.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    seconds: float

    @property
    def accepted(self) -> bool:
        """Whether the request was."""
        return 200 <= self.status < 300


def post(planned: Planned, count: int) -> list[Answer]:
    """Send a request, or several of it.

    Raises:
        DeclarationError: it cannot be signed.
        ConnectionFailed: one was not answered.
    """
    answers: list[Answer] = []
    connection = _connection(planned)
    try:
        with Progress() as progress:
            for number in range(1, count + 1):
                answers.append(_exchange(connection, planned.request(number, count)))
                progress.tell(f"{number:,} of {count:,} sent")
    except RelayError:
        raise  # some are ValueErrors
    except (OSError, http.client.HTTPException, ValueError) as error:
        before = f" {len(answers):,} of {count:,} had been answered." if answers else ""
        raise ConnectionFailed(f"{planned.base} {_why(error, planned)}.{before}", sent=True) from error
    finally:
        connection.close()
    return answers


def _connection(planned: Planned) -> http.client.HTTPConnection:
    base = planned.base
    if base.scheme == "http":
        return http.client.HTTPConnection(base.host, base.port, timeout=_SECONDS)
    return http.client.HTTPSConnection(base.host, base.port, timeout=_SECONDS, context=ssl.create_default_context())


def target_of(request: Outgoing) -> str:
    """Give the path and the query of a request, as they travel."""
    parts = urlsplit(request.url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def headers_of(request: Outgoing) -> dict[str, str]:
    """Give the headers of a request, with their names as its sender writes them."""
    return {request.written.get(name, name.title()): value for name, value in request.headers.items()}


def _exchange(connection: http.client.HTTPConnection, request: Outgoing) -> Answer:
    started = time.monotonic()
    # A relay that turns a body down stops listening, and has answered before it did.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request(request.method, target_of(request), body=request.body or None, headers=headers_of(request))
    response = connection.getresponse()
    try:
        body = response.read(_MOST)
    except (OSError, http.client.HTTPException, ValueError):
        body = b""  # its status has been said
    if not response.isclosed():
        connection.close()  # the rest of it is in the way of the next answer
    seconds = time.monotonic() - started
    return Answer(response.status, response.reason, tuple(response.getheaders()), body, seconds)


def _why(error: Exception, planned: Planned) -> str:
    """Say what went wrong in words that hold nothing of what was sent."""
    if isinstance(error, ConnectionRefusedError):
        return (
            f"takes no connection: nothing listens there. `trafficrelay run {planned.target}` starts the relay, and "
            "--url says where else it is"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that does not hold: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"does not speak TLS as it should: {error.reason or type(error).__name__}"
    if isinstance(error, TimeoutError):
        return f"took longer than {_SECONDS:g} s"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return "closed the connection before it answered"
    if isinstance(error, OSError) and not isinstance(error, http.client.HTTPException):
        return f"cannot be reached: {error.strerror or type(error).__name__}"
    return "answered with something that is no answer of HTTP/1.1"
