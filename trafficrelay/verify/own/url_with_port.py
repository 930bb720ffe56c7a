"""Twilio's signature: of a URL that has its port in it or not, with the hash that a header names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from ...errors import Unverified
from ...event import Event
from ..algorithms import Hmac
from ..body_fields import is_form
from ..message import Message, Outgoing
from ..secrets import Held
from ..signature import Signature
from ..signed_bodies import BODY_HASH
from ..verified import malformed, mismatch

SETTINGS: Final = "X-Twilio-Webhooks-Signature-Settings"
"""Says by `algorithm=…` how a webhook is signed that has a key of its own ("SharedKey")."""

_HASHES: Final[Mapping[str, str]] = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_PORTS: Final[Mapping[str, str]] = {"https": "443", "http": "80"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OfUrlWithPort(Signature):
    """A signature of a URL, with its port or without: which one Twilio signs is not the same for all of its products.

    Its own libraries try both ("since sig generation on back end is inconsistent": twilio 9.13, request_validator.py).
    """

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`."""
        scheme = self._as_said(event)
        for spelling in spellings(url):
            try:
                # By the class: super() does not work in a dataclass with slots.
                return Signature.check(scheme, event, keys, tolerance, spelling)
            except Unverified as error:
                if error.cause != "mismatch":
                    raise
        raise mismatch(bool(keys))

    def sign(self, message: Outgoing, key: Any, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`; gives another URL where the body is no form: with its hash in it."""
        query = urlsplit(message.url).query
        if message.body and not is_form(message) and BODY_HASH not in parse_qs(query):
            hashed = f"{BODY_HASH}={hashlib.sha256(message.body).hexdigest()}"
            message = replace(message, url=f"{message.url}{'&' if query else '?'}{hashed}")
        return Signature.sign(self._as_said(message), message, key, now, message_id)

    def _as_said(self, message: Message) -> Signature:
        settings = message.headers.get(SETTINGS, "")
        pairs = [pair.partition("=") for pair in settings.split(",")]
        named = [value.strip().upper() for name, _, value in pairs if name.strip() == "algorithm" and value.strip()]
        if not named:
            return self
        if len(named) > 1 or named[0] not in _HASHES:
            raise malformed(f"The header {SETTINGS} names no algorithm that is known here.")
        return replace(self, algorithm=Hmac(_HASHES[named[0]]))


def spellings(url: str) -> Iterator[str]:
    """Give a URL as it is, and with its port where it has none, or without where it has one."""
    yield url
    scheme, mark, rest = url.partition("://")
    authority = rest[: min(rest.find(end) if end in rest else len(rest) for end in "/?#")]
    _, _, host = authority.rpartition("@")
    # A colon before a bracket is one of an IPv6 address.
    port = host.rfind(":") if host.rfind(":") > host.rfind("]") else -1
    after = rest[len(authority) :]
    if not mark:
        return
    if port >= 0:
        yield f"{scheme}://{authority[: len(authority) - len(host) + port]}{after}"
    elif scheme in _PORTS:
        yield f"{scheme}://{authority}:{_PORTS[scheme]}{after}"
