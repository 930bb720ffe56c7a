"""Signing a request as its sender does: with a verifier of ours, or with whatever of a user's own can sign.

Tests, deliveries and `trafficrelay send` do it. Why something cannot be signed is said in words that hold no secret.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from .errors import CannotSign, Refusal, Unverified
from .event import Event, Headers
from .verify.checking import Check
from .verify.handshakes import meet
from .verify.message import Outgoing

if TYPE_CHECKING:
    from .route import Route


def signer_for(verifier: Any, event: Event, brought: bytes | None = None, key: str = "") -> Any:
    """Give a verifier with the secret that counts for an event, where it looks that up for each.

    Args:
        verifier: the route's.
        event: the request, before it is signed.
        brought: the secret that a challenge brought, where that is the one.
        key: the name or number of the secret that signs, whether it counts or not; `""` for the first that counts.

    Raises:
        CannotSign: there is none.
        DeclarationError: what was looked up is none.
    """
    if not isinstance(verifier, Check):
        if key:
            raise CannotSign("it is one of your own, and has no keys to choose from")
        return verifier
    looks_up = callable(verifier.secrets.given)
    found = _looked_up(verifier, event, brought) if looks_up else verifier.secrets.given
    if not key:
        return verifier.with_secret(found) if looks_up else verifier
    try:
        return verifier.with_secret(verifier.secrets.named(key, found))
    except LookupError as error:
        raise CannotSign(str(error.args[0])) from error


def _looked_up(verifier: Check, event: Event, brought: bytes | None) -> Any:
    if verifier.brought:
        if brought is None:
            raise CannotSign("its secret is the one that the provider's challenge brings, and none is known here")
        return brought
    try:
        found = verifier.secrets.given(event)
    except LookupError:
        found = None
    if not found:
        params = ", ".join(f"{name}={value!r}" for name, value in event.params.items())
        raise CannotSign(
            f"the function that looks secrets up knows none for this request ({params or 'its rule has no wildcard'})"
        )
    return found


def sign(signer: Any, message: Outgoing, now: datetime, *, message_id: str = "", url: str | None = None) -> Outgoing:
    """Give a request as its sender would send it, which may have another body, and more in its query.

    Args:
        signer: a verifier of ours, or an object with `sign(body, now)` that gives headers. Of that, `message_id`, `url`
            and `method` are given too if it takes them.
        message: the request, with the URL that it is sent to.
        now: when it is sent.
        message_id: the message's id, for those who sign one, unless a header of the request says it.
        url: the URL that is signed; left out, the verifier's public URL, or else that of the request.

    Raises:
        CannotSign: it cannot be signed.
    """
    if isinstance(signer, Check):
        return _signed(signer, message, now, message_id, url_of(signer, message) if url is None else url)
    method = getattr(signer, "sign", None)
    if not callable(method):
        raise CannotSign("it has no method sign(body, now)")
    given = {"message_id": message_id, "url": message.url if url is None else url, "method": message.method}
    taken = parameters(method)
    headers = method(message.body, now, **{name: value for name, value in given.items() if name in taken})
    return message.adding({str(name): str(value) for name, value in headers.items()})


def _signed(check: Check, message: Outgoing, now: datetime, message_id: str, url: str) -> Outgoing:
    # What an earlier signature left would be looked at beside the new one, where several are.
    left = {name: value for name, value in message.headers.items() if name not in check.scheme.secret_headers}
    try:
        signed = check.signed(replace(message, url=url, headers=Headers(left)), now, message_id=message_id)
    except LookupError as error:
        raise CannotSign(str(error.args[0])) from error
    except Unverified as refusal:
        # Of what stands in the body, or in a header, some is not there.
        raise CannotSign(refusal.detail[:1].lower() + refusal.detail[1:].rstrip(".")) from refusal
    added = signed.url.removeprefix(url).lstrip("?&")
    mark = "&" if "?" in message.url else "?"
    return replace(signed, url=f"{message.url}{mark}{added}" if added else message.url)


def url_of(signer: Any, message: Outgoing | Event) -> str:
    """Give the URL that is signed: the public one that the verifier was given, or that of the request."""
    # Of a request only the URL counts, unless the public one is a function of the event.
    return signer.url_of(cast("Event", message)) if isinstance(signer, Check) else message.url


def added(before: Headers, signed: Outgoing) -> dict[str, str]:
    """Give the headers that signing has added or changed, with their names as they are written."""
    return {
        signed.written.get(name, name): value for name, value in signed.headers.items() if before.get(name) != value
    }


def parameters(method: Any) -> frozenset[str]:
    """Give the names that a method takes; none of one in C that does not say."""
    try:
        return frozenset(inspect.signature(method).parameters)
    except ValueError:
        return frozenset()


def comes_unsigned(route: Route, event: Event) -> bool:
    """Tell whether a request is a challenge of the route's provider that is not signed."""
    check: Any = route.verify  # what has handshakes is one
    try:
        return meet(route.handshakes, event, check, signed=False) is not None
    except Refusal:
        return True
