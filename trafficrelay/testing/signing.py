"""Signing a request as its sender would, or not quite."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from ..errors import CannotSign, ClientError
from ..event import Event, Headers
from ..route import Route
from ..signing import added, comes_unsigned, sign, signer_for, url_of
from ..verify.checking import Check
from ..verify.message import Outgoing
from .spoiling import spoilt, spoilt_body, tampered_body

__tracebackhide__ = True  # pytest shows the line of the test, and not those here

Signed: TypeAlias = bool | Literal["wrong", "tampered"]
"""How a request is signed: rightly, not at all, with a signature that is none, or with one of another body."""

HOW: Final = (True, False, "wrong", "tampered")

_ID: Final = "webhook-id"


@dataclass(frozen=True, slots=True)
class Changes:
    """What signing makes of a request.

    Attributes:
        headers: those that it adds, or changes.
        body: the body.
        query: what it adds to the URL, with the mark before it.
        dropped: the names of headers that it takes out: an earlier signature's.
    """

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    query: str = ""
    dropped: frozenset[str] = frozenset()


def signature(
    route: Route, event: Event, how: Signed, moment: datetime, brought: bytes | None = None, key: str = ""
) -> Changes:
    """Sign a request as its sender does.

    Args:
        route: the route that it is sent to.
        event: the request, with its URL where the route's verifier asks for that.
        how: how it is signed; `"tampered"` is signed rightly, and its body changed afterwards.
        moment: when it is sent.
        brought: the secret that a challenge brought, for routes that have it from there.
        key: the name or number of the secret that signs; `""` for the first that counts.

    Raises:
        ClientError: the route's verifier cannot sign.
    """
    if key and route.verify is None:
        raise ClientError(f"The route {route.rule} is open to everybody: it has no key {key!r}.")
    unsigned = Changes({}, event.body)
    if not how or route.verify is None or comes_unsigned(route, event):
        return unsigned
    message = Outgoing(event.body, event.url, event.method, event.headers)
    # Each request is a message of its own, unless its test says which it is.
    message_id = event.headers.get(_ID) or f"msg_{os.urandom(12).hex()}"
    try:
        signer = signer_for(route.verify, event, brought, key)
        done = sign(signer, message, moment, message_id=message_id, url=url_of(signer, event))
    except CannotSign as error:
        raise ClientError(_why(route, error)) from error
    dropped = frozenset(event.headers) - frozenset(done.headers)
    changes = Changes(added(event.headers, done), done.body, done.url.removeprefix(event.url), dropped)
    if how == "wrong":
        return _wrong(signer, event, changes)
    if how == "tampered":
        return replace(changes, body=_tampered(signer, event, changes))
    return changes


def _why(route: Route, error: CannotSign) -> str:
    if isinstance(route.verify, Check):
        return f"A request for {route.rule} cannot be signed: {error}. Leave signed= out to see it refused."
    return (
        f"The verifier of {route.rule} cannot sign: {error}. Send the headers that it "
        'looks for yourself (headers={"X-Token": "…"}), and leave signed= out.'
    )


def _wrong(signer: Any, event: Event, changes: Changes) -> Changes:
    """Spoil what proves who sent it, wherever that stands."""
    secret: Collection[str] = getattr(signer, "secret_headers", None) or (
        () if isinstance(signer, Check) else {name.lower() for name in changes.headers}
    )
    names = [name for name in changes.headers if name.lower() in secret]
    if names:
        spoilt_headers = {name: spoilt(changes.headers[name]) for name in names}
        return replace(changes, headers={**changes.headers, **spoilt_headers})
    if isinstance(signer, Check):
        return replace(changes, body=spoilt_body(signer, arriving(event, changes), event.body))
    return changes


def _tampered(signer: Any, event: Event, changes: Changes) -> bytes:
    if isinstance(signer, Check):
        return tampered_body(signer, arriving(event, changes), event.body)
    return changes.body + b" "


def arriving(event: Event, changes: Changes) -> Event:
    """Give a request as it arrives after it was signed."""
    kept = {name: value for name, value in event.headers.items() if name not in changes.dropped}
    headers = Headers({**kept, **changes.headers})
    return replace(event, headers=headers, body=changes.body, url=event.url + changes.query)
