"""Signing a request as its sender would, or not quite."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from ..errors import ClientError
from ..event import Event
from ..route import Route
from ..verify.schemes import Secrets

__tracebackhide__ = True  # pytest shows the line of the test, and not those here

Signed: TypeAlias = bool | Literal["wrong", "tampered"]
"""How a request is signed: rightly, not at all, with a signature that is none, or with one of another body."""

HOW: Final = (True, False, "wrong", "tampered")

_ID: Final = "webhook-id"


def signature(route: Route, event: Event, how: Signed, moment: datetime) -> dict[str, str]:
    """Give the headers with which a sender signs a request.

    Args:
        route: the route that it is sent to.
        event: the request.
        how: how it is signed; `"tampered"` is signed rightly, and its body changed afterwards.
        moment: when it is sent.

    Raises:
        ClientError: the route's verifier cannot sign.
    """
    if not how or route.verify is None:
        return {}
    verifier: Any = _with_secret(route, route.verify, event)
    sign = getattr(verifier, "sign", None)
    if not callable(sign):
        raise ClientError(
            f"The verifier of {route.rule} cannot sign: it has no method sign(body, now). Send the headers that it "
            'looks for yourself (headers={"X-Token": "…"}), and leave signed= out.'
        )
    options = {}
    if "message_id" in inspect.signature(sign).parameters:
        # Each request is a message of its own, unless its test says which it is.
        options["message_id"] = event.headers.get(_ID) or f"msg_{os.urandom(12).hex()}"
    headers = {str(name): str(value) for name, value in sign(event.body, moment, **options).items()}
    if how == "wrong":
        secret: Collection[str] = getattr(verifier, "secret_headers", None) or {name.lower() for name in headers}
        return {name: _spoilt(value) if name.lower() in secret else value for name, value in headers.items()}
    return headers


def _with_secret(route: Route, verifier: Any, event: Event) -> Any:
    """Give a verifier whose secret is looked up for each event with the one that counts for this event."""
    secrets = getattr(verifier, "secrets", None)
    if not isinstance(secrets, Secrets) or not callable(secrets.given):
        return verifier
    try:
        found = secrets.given(event)
    except LookupError:
        found = None
    if not found:
        raise ClientError(
            f"The function that looks secrets up for {route.rule} knows none for this request "
            f"({_shown(event.params)}), so it cannot be signed. Leave signed= out to see it refused."
        )
    return replace(verifier, secrets=replace(secrets, given=found))


def _shown(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items()) or "its rule has no wildcard"


def _spoilt(value: str) -> str:
    """Change one character, to one that is good in hexadecimal and in base64.

    Within the signature, which stands at the end, and not at its very end, where base64 has bits that mean nothing.
    """
    place = len(value) * 3 // 4
    while place < len(value) - 1 and not value[place].isalnum():
        place += 1
    return value[:place] + ("1" if value[place : place + 1] == "0" else "0") + value[place + 1 :]
