"""What is tried: a request and how it is verified, as they may have been meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from ..event import Event, Headers
from ..verify.message import Outgoing
from ..verify.signature import Scheme

Axis: TypeAlias = Literal["sender", "header", "signature", "time", "body", "url", "secret"]
"""What a mistake is one of. Two of the same kind are not tried together."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something that may have gone wrong. Its texts hold neither a secret nor a signature.

    Attributes:
        name: its name, for machines.
        text: what happened.
        fix: what to do about it.
    """

    name: str
    text: str
    fix: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A request, and how it is verified.

    Attributes:
        scheme: how it is signed.
        event: the request.
        url: the URL that it is taken to have been sent to.
        tolerance: seconds by which its time may be off.
    """

    scheme: Scheme
    event: Event
    url: str = field(repr=False)
    tolerance: int | None = None

    def with_body(self, body: bytes) -> Trial:
        """Give the same with another body."""
        return replace(self, event=replace(self.event, body=body))

    def with_headers(self, headers: Mapping[str, str]) -> Trial:
        """Give the same with more headers, or others in their place."""
        return replace(self, event=replace(self.event, headers=Headers({**self.event.headers, **headers})))

    def as_outgoing(self) -> Outgoing:
        """Give the request as what a signature is put into."""
        event = self.event
        return Outgoing(event.body, self.url, event.method, event.headers)

    def with_message(self, message: Outgoing) -> Trial:
        """Give the same with what was put into it."""
        return replace(self, event=replace(self.event, headers=message.headers, body=message.body))


@dataclass(frozen=True, slots=True)
class Variation:
    """A trial, and what it supposes.

    Attributes:
        axis: what it changes.
        mistake: what would have happened.
        trial: the request, or how it is verified, without the mistake.
        common: whether it happens so often that it is tried together with others.
    """

    axis: Axis
    mistake: Mistake
    trial: Trial
    common: bool = False
