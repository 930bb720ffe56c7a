"""Schemes in which the secret itself is sent: in a header, in the body, as Bearer, as a name and a password."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from ..errors import DeclarationError, Unverified
from ..event import Event
from .encodings import CODECS, as_written
from .message import Message, Outgoing, as_sent
from .places import Place
from .secrets import Held


class Sent:
    """What the schemes of this module have in common: nothing is signed, neither a body nor a time."""

    __slots__ = ()
    reveals_secret: ClassVar[bool] = True
    signs_body: ClassVar[bool] = False
    signs_url: ClassVar[bool] = False
    tolerance: ClassVar[int | None] = None

    def key(self, secret: bytes) -> bytes:
        """See `Scheme`."""
        return as_written(secret)


@dataclass(frozen=True, slots=True)
class Token(Sent):
    """The secret stands somewhere: `X-Gitlab-Token: …`.

    Attributes:
        place: where.
    """

    place: Place

    @property
    def title(self) -> str:
        """See `Scheme`."""
        return "token"

    @property
    def secret_headers(self) -> frozenset[str]:
        """See `Scheme`."""
        return frozenset(name.lower() for name in self.place.headers)

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`."""
        # One signature alone: with several tokens in a request one could try many at once.
        tokens = self.place.find(event).signatures
        held = among(keys, tokens[0]) if len(set(tokens)) == 1 else None
        if held is None:
            raise Unverified("The token is not known here.", cause="mismatch" if keys else "unknown")
        return held

    def sign(self, message: Outgoing, key: bytes, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`."""
        return self.place.put(message, key.decode("latin-1"), "")


@dataclass(frozen=True, slots=True)
class BearerToken(Sent):
    """A token in the Authorization header (RFC 6750, 2.1)."""

    title: ClassVar[str] = "Authorization: Bearer"
    secret_headers: ClassVar[frozenset[str]] = frozenset({"authorization"})

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`."""
        held = among(keys, _credentials(event, "bearer", "Bearer"))
        if held is None:
            challenge = 'Bearer error="invalid_token"'
            raise Unverified(
                "The token is not known here.", challenge=challenge, cause="mismatch" if keys else "unknown"
            )
        return held

    def sign(self, message: Outgoing, key: bytes, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`."""
        # latin-1, as headers are read: the token's bytes arrive as they are.
        return message.adding({"Authorization": f"Bearer {key.decode('latin-1')}"})


@dataclass(frozen=True, slots=True)
class NameAndPassword(Sent):
    """A name and a password in the Authorization header (RFC 7617).

    Attributes:
        username: the name.
    """

    title: ClassVar[str] = "Authorization: Basic"
    secret_headers: ClassVar[frozenset[str]] = frozenset({"authorization"})
    username: str = field(repr=False)

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`."""
        challenge = 'Basic realm="relay", charset="UTF-8"'
        try:
            given = CODECS["base64"].decode(_credentials(event, "basic", challenge))
        except ValueError as error:
            raise Unverified(
                "The header Authorization holds no base64.", challenge=challenge, cause="malformed"
            ) from error
        pairs = tuple(Held(self._pair(held.key), held.name) for held in keys)
        found = among(pairs, given)
        if found is None:
            raise Unverified("Name or password is wrong.", challenge=challenge, cause="mismatch" if keys else "unknown")
        return found

    def _pair(self, password: bytes) -> bytes:
        return self.username.encode() + b":" + password

    def sign(self, message: Outgoing, key: bytes, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`."""
        return message.adding({"Authorization": "Basic " + base64.b64encode(self._pair(key)).decode("ascii")})


def named(owner: str, username: str) -> NameAndPassword:
    """Give the scheme of a name and a password.

    Raises:
        DeclarationError: the name holds a colon.
    """
    if not isinstance(username, str) or not username or ":" in username:
        raise DeclarationError(f"{owner}: the name is a string without a colon.", option="verify")
    return NameAndPassword(username)


def among(keys: tuple[Held, ...], given: bytes) -> Held | None:
    """Give the key that equals what was sent; `None` for none. Takes the same time whichever it is."""
    found: Held | None = None
    digest = _digest(given)
    for held in keys:
        matches = hmac.compare_digest(_digest(held.key), digest)
        found = held if matches and found is None else found
    return found


def _digest(value: bytes) -> bytes:
    """Hash what is compared, so that not even its length shows in the time that it takes."""
    return hashlib.sha256(value).digest()


def _credentials(message: Message, scheme: str, challenge: str) -> bytes:
    """Give what the Authorization header says after the scheme's name (RFC 9110, 11.4: in any case)."""
    name, _, value = message.headers.get("authorization", "").partition(" ")
    if name.lower() != scheme or not value.strip():
        raise Unverified(
            f"The header Authorization with {scheme.capitalize()} is missing.", challenge=challenge, cause="missing"
        )
    return as_sent(value.strip())
