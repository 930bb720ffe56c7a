"""Braintree: a form with a payload and its signature, and a challenge that is answered with such a signature."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, Final
from urllib.parse import parse_qsl, urlencode

from ...errors import DeclarationError
from ...event import Event
from ..algorithms import Hmac
from ..body_fields import check_plain
from ..checking import Check
from ..encodings import CODECS
from ..handshake_kinds import said
from ..handshakes import Answered
from ..message import Message, Outgoing
from ..places import MOST
from ..provider import Provider
from ..secrets import Held, Secret
from ..verified import malformed, mismatch

_FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 100
_PAYLOAD: Final = re.compile(r"[A-Za-z0-9+/=\n]*")
_PUBLIC_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_CHALLENGE: Final = re.compile(r"[a-f0-9]{20,32}")


def key_of(secret: bytes) -> bytes:
    """Make the key of an API private key: its SHA-1."""
    return hashlib.sha1(secret).digest() if secret else b""  # noqa: S324


_HMAC: Final = Hmac("sha1", secret=key_of)
_CODEC: Final = CODECS["hex"]


@dataclass(frozen=True, slots=True)
class BraintreeForm:
    """HMAC-SHA1 of a form's `bt_payload`, which stands in its `bt_signature` after the public key.

    Attributes:
        public_key: the API public key, whose signature counts.
    """

    title: ClassVar[str] = "HMAC-SHA1 of the form's `bt_payload`, hex"
    secret_headers: ClassVar[frozenset[str]] = frozenset()
    reveals_secret: ClassVar[bool] = False
    signs_body: ClassVar[bool] = False
    signs_url: ClassVar[bool] = False
    tolerance: ClassVar[int | None] = None
    public_key: str = field(default="", repr=False)

    def key(self, secret: bytes) -> bytes:
        """See `Scheme`."""
        return _HMAC.key(secret)

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`."""
        payload, signatures = self._read(event)
        matched: Held | None = None
        for held in keys:
            for given in signatures:
                # Braintree's own libraries try a line feed after it as well: forms are trimmed on their way.
                matches = [_HMAC.matches(held.key, one, given, _CODEC) for one in (payload, payload + b"\n")]
                matched = held if any(matches) and matched is None else matched
        if matched is None:
            raise mismatch(bool(keys))
        return matched

    def _read(self, message: Message) -> tuple[bytes, tuple[bytes, ...]]:
        fields = _read_form(message)
        found = {name: [value for field, value in fields if field == name] for name in ("bt_payload", "bt_signature")}
        if any(len(values) != 1 for values in found.values()):
            # Of two, this would look at one, and a transform perhaps at the other.
            raise malformed("The form has not one bt_payload and one bt_signature.")
        payload = found["bt_payload"][0]
        if not _PAYLOAD.fullmatch(payload):
            raise malformed("bt_payload is no base64.")
        if _CHALLENGE.fullmatch(payload.removesuffix("\n")):
            # Whoever asks can have a challenge signed: see BraintreeChallenge.
            raise malformed("bt_payload is no notification.")
        pairs = [pair.partition("|") for pair in found["bt_signature"][0].split("&")]
        signatures = [value.encode("utf-8", "surrogatepass") for name, _, value in pairs if name == self.public_key]
        if not signatures or len(signatures) > MOST:
            raise malformed("bt_signature has none for this public key.")
        return payload.encode("ascii"), tuple(signatures)

    def sign(self, message: Outgoing, key: bytes, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`; a body that is no form with a payload becomes the payload."""
        fields = dict(_read_form(message)) if _is_form(message) else {}
        payload = fields.get("bt_payload")
        if payload is None:
            payload = base64.encodebytes(message.body).decode("ascii")
        signature = _HMAC.sign(key, payload.encode("utf-8", "surrogatepass"), _CODEC).decode("ascii")
        body = urlencode({**fields, "bt_signature": f"{self.public_key}|{signature}", "bt_payload": payload})
        return replace(message.adding({"Content-Type": _FORM}), body=body.encode("ascii"))


def with_public_key(owner: str, public_key: str) -> BraintreeForm:
    """Give the scheme of a public key.

    Raises:
        DeclarationError: it is none.
    """
    if not isinstance(public_key, str) or not _PUBLIC_KEY.fullmatch(public_key):
        raise DeclarationError(
            f"{owner}: public_key is the API's public key, letters and digits, as it stands beside the private one.",
            option="verify",
        )
    return BraintreeForm(public_key)


@dataclass(frozen=True, slots=True)
class BraintreeChallenge:
    """The challenge that comes when a webhook is made: `GET …?bt_challenge=…`.

    It is signed by the same key as payloads are, for whoever asks: that is why no payload may look like one.
    """

    title: ClassVar[str] = "bt_challenge"
    method: ClassVar[str] = "GET"
    signed: ClassVar[bool] = False

    def answer(self, event: Event, check: Check) -> Answered | None:
        """See `Handshake`."""
        challenge = event.query.get("bt_challenge")
        if challenge is None:
            return None
        if not isinstance(challenge, str) or not _CHALLENGE.fullmatch(challenge):
            raise malformed("bt_challenge is none.")
        scheme = check.scheme
        keys = check.secrets.of(event)
        if not isinstance(scheme, BraintreeForm) or not keys:
            raise mismatch(bool(keys))
        signature = _HMAC.sign(keys[0].key, challenge.encode("ascii"), _CODEC).decode("ascii")
        return Answered(said(f"{scheme.public_key}|{signature}"))


def _is_form(message: Message) -> bool:
    return message.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM


def _read_form(message: Message) -> list[tuple[str, str]]:
    if not _is_form(message):
        raise malformed("The body is no form.")
    check_plain(message)
    try:
        return parse_qsl(message.body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise malformed("The form cannot be read.") from None


class WithPublicKey(Provider):
    """A provider that names a key beside each signature: Braintree."""

    __slots__ = ()

    def __call__(self, secret: Secret, *, public_key: str) -> Check:
        """Verify this provider's webhooks.

        Args:
            secret: the private key, or several of that public key, or a function of the event.
            public_key: the public key, which belongs to it and is no secret.

        Raises:
            DeclarationError: the secret is empty or none, or the public key is none.
        """
        return replace(self._check(secret), scheme=with_public_key(self.name, public_key))
