"""The ways in which senders prove who they are; the package says what a verifier is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, Literal, TypeAlias

from ..errors import DeclarationError, Unverified
from ..event import Event
from ..event import now as current_time

Keys: TypeAlias = str | bytes | Sequence[str | bytes]
Secret: TypeAlias = Keys | Callable[[Event], Keys | None]
Verifier: TypeAlias = Callable[[Event], Any]

log = logging.getLogger("trafficrelay")

TOLERANCE: Final = 300
"""Seconds by which a signed timestamp may differ from ours (Standard Webhooks: "Webhook Timestamp")."""


def _as_bytes(values: Any) -> tuple[bytes, ...]:
    """Turn one secret or several into bytes; nothing and empty ones give an empty tuple."""
    if values is None:
        return ()
    if isinstance(values, str | bytes):
        values = (values,)
    # No other iterables: the keys of a dict (a map of tenants, say) would all be good as secrets.
    if not isinstance(values, list | tuple | set | frozenset):
        raise TypeError(f"a secret is a string, bytes or a list of these, not {type(values).__name__}")
    if not all(isinstance(value, str | bytes) for value in values):
        raise TypeError("a secret is a string, bytes or a list of these")
    # What os.environ could not decode comes with surrogates; this gives its bytes back.
    return tuple(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value for value in values)


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """The secrets of a verifier, checked when declared and never shown.

    Attributes:
        owner: the verifier's name, for error messages.
        given: what was given as `secret=`.
        decode: turns a secret as written into the key's bytes.
    """

    owner: str
    given: Any
    decode: Callable[[bytes], bytes] = bytes
    _fixed: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        fixed: tuple[bytes, ...] = ()
        if not callable(self.given):
            try:
                fixed = self._keys(self.given)
            except (TypeError, ValueError) as error:
                # Without `from`: the cause of a secret that cannot be encoded holds the secret.
                raise DeclarationError(f"{self.owner}: {error}.", option="verify") from None
            if not fixed:
                raise DeclarationError(
                    f"{self.owner} got an empty secret. Is the environment variable set that it comes from?",
                    option="verify",
                )
        elif inspect.iscoroutinefunction(self.given):
            raise DeclarationError(f"{self.owner}: the function that looks secrets up is async.", option="verify")
        object.__setattr__(self, "_fixed", fixed)

    def __repr__(self) -> str:
        return f"<Secrets of {self.owner}>"

    def of(self, event: Event) -> tuple[bytes, ...]:
        """Give the keys that count for `event`; none if the function that looks them up knows none.

        Without keys nothing matches, and the refusal is the usual one: it must not tell which tenants there are.
        """
        if self._fixed:
            return self._fixed
        try:
            found = self._keys(self.given(event))
        except LookupError:
            found = ()
        if not found:
            log.info("%s: no secret is known for the sender of event %s", self.owner, event.id)
        return found

    def _keys(self, values: Any) -> tuple[bytes, ...]:
        """Give the keys that are meant; none if one of them is empty, with which anybody could sign."""
        keys = tuple(self.decode(value) for value in _as_bytes(values))
        return keys if all(keys) else ()

    def first(self) -> bytes:
        """Give the key to sign with: the first one.

        Raises:
            LookupError: the secrets depend on the event.
        """
        if not self._fixed:
            raise LookupError(f"{self.owner} looks its secret up for each event; there is none to sign with")
        return self._fixed[0]


def _any_equal(candidates: Iterable[bytes], given: bytes) -> bool:
    """Compare with all candidates, in constant time: no early end tells which one was close."""
    equal = False
    for candidate in candidates:
        equal |= hmac.compare_digest(candidate, given)
    return equal


Encoding: TypeAlias = Literal["hex", "base64"]


def _encode(digest: bytes, encoding: Encoding) -> bytes:
    return digest.hex().encode() if encoding == "hex" else base64.b64encode(digest)


@dataclass(frozen=True, slots=True)
class HmacSignature:
    """An HMAC of the raw body in a header. Made by `hmac_signature`."""

    reveals_secret: ClassVar[bool] = False
    secrets: Secrets
    header: str
    digest: str
    encoding: Encoding
    prefix: str
    sender_retries: bool | None = None

    @property
    def secret_headers(self) -> frozenset[str]:
        """The signature's header: whoever has a body's signature can send that body again."""
        return frozenset({self.header.lower()})

    def _signature(self, key: bytes, body: bytes) -> bytes:
        return _encode(hmac.digest(key, body, self.digest), self.encoding)

    def __call__(self, event: Event) -> bool:
        """Tell whether the header holds the body's HMAC under one of the secrets."""
        value = event.headers.get(self.header)
        if value is None:
            raise Unverified(f"The header {self.header} is missing.")
        if not value.startswith(self.prefix):
            raise Unverified(f"The header {self.header} does not begin with {self.prefix!r}.")
        # Headers arrive as latin-1; a signature is ASCII, so whatever else there is simply differs.
        given = value[len(self.prefix) :].strip().encode("latin-1", "replace")
        if self.encoding == "hex":
            given = given.lower()
        if not _any_equal((self._signature(key, event.body) for key in self.secrets.of(event)), given):
            raise Unverified("The signature does not match.")
        return True

    def sign(self, body: bytes, now: datetime | None = None) -> dict[str, str]:
        """Give the header that a sender would send with `body`."""
        return {self.header: self.prefix + self._signature(self.secrets.first(), body).decode("ascii")}


def hmac_signature(
    secret: Secret, *, header: str, digest: str = "sha256", encoding: Encoding = "hex", prefix: str = ""
) -> HmacSignature:
    """Verify an HMAC (RFC 2104) of the raw body that is sent in a header.

    Args:
        secret: the shared key, or several (see `trafficrelay.verify`).
        header: the header's name.
        digest: the hash: `"sha256"`, `"sha1"`, `"sha512"`, ...
        encoding: `"hex"` (either case) or `"base64"` (with padding).
        prefix: what stands before the signature: `"sha256="`.

    Raises:
        DeclarationError: the secret is empty, or the digest or encoding is unknown.
    """
    if not isinstance(header, str) or not re.fullmatch(r"[A-Za-z0-9-]+", header):
        # With an underscore too: servers drop such headers, because in WSGI X_Signature would pose as X-Signature.
        raise DeclarationError(
            f'hmac_signature needs the name of the signature\'s header, such as header="X-Signature", not {header!r}.',
            option="verify",
        )
    if not isinstance(prefix, str):
        raise DeclarationError(f"hmac_signature: prefix is a string, not {prefix!r}.", option="verify")
    if not isinstance(digest, str) or digest not in hashlib.algorithms_guaranteed or digest.startswith("shake"):
        raise DeclarationError(f"hmac_signature knows no digest {digest!r}; try sha256.", option="verify")
    if encoding not in ("hex", "base64"):
        raise DeclarationError(f"hmac_signature knows no encoding {encoding!r}; try hex or base64.", option="verify")
    return HmacSignature(Secrets("hmac_signature", secret), header, digest, encoding, prefix)


def _standard_key(secret: bytes) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret is no base64; it looks like whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") from error


@dataclass(frozen=True, slots=True)
class StandardWebhooks:
    """The scheme of standardwebhooks.com. Made by `standard_webhooks`."""

    reveals_secret: ClassVar[bool] = False
    secret_headers: ClassVar[frozenset[str]] = frozenset({"webhook-signature"})
    # "Retry Schedule" of the specification.
    sender_retries: ClassVar[bool] = True
    secrets: Secrets
    tolerance: int

    @staticmethod
    def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> bytes:
        signed = b".".join((message_id.encode("latin-1", "replace"), timestamp.encode(), body))
        return base64.b64encode(hmac.digest(key, signed, "sha256"))

    def __call__(self, event: Event) -> bool:
        """Tell whether one of the header's `v1` signatures is good and the timestamp is near."""
        try:
            message_id = event.headers["webhook-id"]
            timestamp = event.headers["webhook-timestamp"]
            signatures = event.headers["webhook-signature"]
        except KeyError as error:
            raise Unverified(f"The header {error.args[0]} is missing.") from error
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            raise Unverified("The header webhook-timestamp is no number of seconds.")
        given = [one[3:].encode("latin-1", "replace") for one in signatures.split(" ") if one.startswith("v1,")]
        expected = [self._signature(key, message_id, timestamp, event.body) for key in self.secrets.of(event)]
        matches = [_any_equal(expected, one) for one in given]
        if not any(matches):
            raise Unverified("The signature does not match.")
        if abs(event.received_at.timestamp() - int(timestamp)) > self.tolerance:
            raise Unverified(f"The timestamp is more than {self.tolerance} seconds off.")
        return True

    def sign(self, body: bytes, now: datetime | None = None, *, message_id: str = "") -> dict[str, str]:
        """Give the headers that a sender would send with `body` at a time, now unless given.

        Args:
            body: the raw body.
            now: when it is sent.
            message_id: the `webhook-id`, which stays the same when it is sent again; made up where left out.
        """
        timestamp = str(int((now or current_time()).timestamp()))
        message_id = message_id or "msg_" + hashlib.sha256(body + timestamp.encode()).hexdigest()[:24]
        signature = self._signature(self.secrets.first(), message_id, timestamp, body)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature.decode('ascii')}",
        }


def standard_webhooks(secret: Secret, *, tolerance: int = TOLERANCE) -> StandardWebhooks:
    """Verify the scheme of Standard Webhooks (its specification, "Symmetric: HMAC-SHA256").

    Args:
        secret: the key in base64, with or without `whsec_`, or several (see `trafficrelay.verify`).
        tolerance: seconds by which the signed timestamp may be off.

    Raises:
        DeclarationError: the secret is empty or no base64.
    """
    if not isinstance(tolerance, int) or tolerance <= 0:
        raise DeclarationError("standard_webhooks: tolerance is a positive number of seconds.", option="verify")
    return StandardWebhooks(Secrets("standard_webhooks", secret, _standard_key), tolerance)


def _credentials(event: Event, scheme: str, challenge: str) -> bytes:
    """Give what the Authorization header says after the scheme's name (RFC 9110, 11.4: in any case)."""
    name, _, value = event.headers.get("authorization", "").partition(" ")
    if name.lower() != scheme or not value.strip():
        raise Unverified(f"The header Authorization with {scheme.capitalize()} is missing.", challenge=challenge)
    return value.strip().encode("latin-1", "replace")


def _digest(value: bytes) -> bytes:
    """Hash what is compared, so that not even its length shows in the time that it takes."""
    return hashlib.sha256(value).digest()


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token in the Authorization header. Made by `bearer`."""

    reveals_secret: ClassVar[bool] = True
    secret_headers: ClassVar[frozenset[str]] = frozenset({"authorization"})
    secrets: Secrets

    def __call__(self, event: Event) -> bool:
        """Tell whether the token is one of the secrets."""
        given = _digest(_credentials(event, "bearer", "Bearer"))
        if not _any_equal((_digest(token) for token in self.secrets.of(event)), given):
            raise Unverified("The token is not known here.", challenge='Bearer error="invalid_token"')
        return True

    def sign(self, body: bytes, now: datetime | None = None) -> dict[str, str]:
        """Give the header that a sender would send."""
        # latin-1, as headers are read: the token's bytes arrive as they are.
        return {"Authorization": f"Bearer {self.secrets.first().decode('latin-1')}"}


def bearer(token: Secret) -> Bearer:
    """Verify a token in `Authorization: Bearer …` (RFC 6750, 2.1).

    Raises:
        DeclarationError: the token is empty.
    """
    return Bearer(Secrets("bearer", token))


@dataclass(frozen=True, slots=True)
class Basic:
    """A name and a password in the Authorization header. Made by `basic`."""

    reveals_secret: ClassVar[bool] = True
    secret_headers: ClassVar[frozenset[str]] = frozenset({"authorization"})
    username: str
    secrets: Secrets

    def _expected(self, password: bytes) -> bytes:
        return _digest(self.username.encode() + b":" + password)

    def __call__(self, event: Event) -> bool:
        """Tell whether name and password are the ones declared."""
        challenge = 'Basic realm="relay", charset="UTF-8"'
        try:
            given = base64.b64decode(_credentials(event, "basic", challenge), validate=True)
        except binascii.Error as error:
            raise Unverified("The header Authorization holds no base64.", challenge=challenge) from error
        expected = (self._expected(password) for password in self.secrets.of(event))
        if not _any_equal(expected, _digest(given)):
            raise Unverified("Name or password is wrong.", challenge=challenge)
        return True

    def sign(self, body: bytes, now: datetime | None = None) -> dict[str, str]:
        """Give the header that a sender would send."""
        pair = self.username.encode() + b":" + self.secrets.first()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode("ascii")}


def basic(username: str, password: Secret) -> Basic:
    """Verify a name and a password in `Authorization: Basic …` (RFC 7617).

    Raises:
        DeclarationError: the name holds a colon, or the password is empty.
    """
    if not isinstance(username, str) or not username or ":" in username:
        raise DeclarationError("basic: the name is a string without a colon.", option="verify")
    return Basic(username, Secrets("basic", password))
