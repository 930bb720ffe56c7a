"""A request as it is signed: one that came in, or one that goes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from ..event import Headers


class Message(Protocol):
    """A request as it is signed: an `Event`, or an `Outgoing`."""

    @property
    def method(self) -> str:
        """Its method, in capitals."""

    @property
    def url(self) -> str:
        """The URL that it is sent to."""

    @property
    def headers(self) -> Headers:
        """Its headers."""

    @property
    def body(self) -> bytes:
        """Its body."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request that is to be signed.

    Attributes:
        body: its body.
        url: its URL, as whoever receives it was given it; needed by those who sign it.
        method: its method.
        headers: its headers.
        written: the names of those that were added, by their names in lower case: as their sender writes them.
    """

    body: bytes
    url: str = ""
    method: str = "POST"
    headers: Headers = field(default_factory=lambda: Headers({}))
    written: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def adding(self, headers: Mapping[str, str]) -> Outgoing:
        """Give the same request with more headers."""
        written = {**self.written, **{name.lower(): name for name in headers}}
        return replace(self, headers=Headers({**self.headers, **headers}), written=written)


class Parts(NamedTuple):
    """What may be signed.

    Attributes:
        message: the request.
        url: the URL that it is sent to.
        timestamp: when, as written.
    """

    message: Message
    url: str
    timestamp: str


def as_sent(value: str) -> bytes:
    """Give a header's bytes: it arrives as latin-1 (PEP 3333)."""
    return value.encode("latin-1", "replace")
