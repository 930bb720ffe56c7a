"""What the sender is answered."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from .errors import DeclarationError, Refusal

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"

# Statuses whose answers have no body (RFC 9110, 15.3.5 and 15.4.5).
BODILESS: Final = frozenset({204, 304})

# RFC 9110, 5.6.2 and 5.5: the characters of a header's name and value; WSGI wants values in latin-1.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

# What the server says of a connection and of a body's length; PEP 3333 forbids the former to applications.
_SERVERS_OWN: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade", "te"})


@dataclass(frozen=True, slots=True, init=False)
class Reply:
    """An answer: `Reply(204)`, `Reply(200, body={"ok": True})`, `Reply(200, {"Content-Type": "text/plain"}, "thanks")`.

    Attributes:
        status: the HTTP status.
        headers: pairs of a name and a value, Content-Type among them where there is a body.
        body: the bytes that are sent.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __init__(
        self,
        status: int = 200,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: Any = None,
    ) -> None:
        """Make an answer.

        Args:
            status: the HTTP status, 200 to 599.
            headers: more headers.
            body: bytes or a string as they are (`text/plain` unless a header says otherwise), `None` for none,
                anything else as JSON.

        Raises:
            DeclarationError: it could not be sent: its status, a header or its body is none.
        """
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise DeclarationError(f"A reply's status is a number from 200 to 599, not {status!r}.", option="reply")
        pairs = _pairs(headers)
        content, kind = _content(body)
        if content and status in BODILESS:
            raise DeclarationError(f"A reply with status {status} has no body.", option="reply")
        if content and not any(name.lower() == "content-type" for name, _ in pairs):
            pairs += (("Content-Type", kind),)
        object.__setattr__(self, "status", status)
        object.__setattr__(self, "headers", pairs)
        object.__setattr__(self, "body", content)

    def adding(self, headers: Sequence[tuple[str, str]]) -> Reply:
        """Give the same answer with more headers; what it says already stays."""
        # Vary is a list, and what it says already is not all that it says then.
        said = {name.lower() for name, _ in self.headers} - {"vary"}
        return replace(self, headers=(*self.headers, *(pair for pair in headers if pair[0].lower() not in said)))

    @classmethod
    def problem(cls, refusal: Refusal) -> Reply:
        """Turn a refusal into a problem document (RFC 9457). It holds the refusal's words and nothing else."""
        document = {"type": "about:blank", "title": refusal.title, "status": refusal.status}
        if refusal.detail:
            document["detail"] = refusal.detail
        return cls(refusal.status, {"Content-Type": PROBLEM, **refusal.headers}, document)


def _pairs(headers: Any) -> tuple[tuple[str, str], ...]:
    try:
        pairs = tuple((name, value) for name, value in (headers.items() if isinstance(headers, Mapping) else headers))
    except (TypeError, ValueError):
        raise DeclarationError("A reply's headers are a dict or pairs of a name and a value.", option="reply") from None
    for name, value in pairs:
        if not isinstance(name, str) or not _TOKEN.fullmatch(name) or name.lower() in _SERVERS_OWN:
            raise DeclarationError(f"A reply cannot set a header {name!r}.", option="reply")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise DeclarationError(f"The reply's header {name} has a value that cannot be sent.", option="reply")
    return pairs


def _content(body: Any) -> tuple[bytes, str]:
    if body is None:
        return b"", ""
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    try:
        if isinstance(body, str):
            return body.encode(), "text/plain; charset=utf-8"
        return msgspec.json.encode(body), JSON
    except (TypeError, ValueError, RecursionError) as error:
        raise DeclarationError(f"A reply's body cannot be sent: {error}.", option="reply") from error


EMPTY: Final = Reply(204)
"""Nothing but the status: for senders that want no body."""

PIXEL: Final = Reply(
    200,
    # Not to be kept by the browser: the next page view is the next event.
    {"Content-Type": "image/gif", "Cache-Control": "no-store"},
    base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"),
)
"""A transparent GIF of one pixel, for beacons in an `<img>`."""
