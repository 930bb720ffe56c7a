"""JSON Web Tokens that hold the hash of a body (RFC 7515, RFC 7519).

A token's header names an algorithm; here each provider has one, which its row says, and a token that names another is
refused (RFC 8725, 3.1).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from ..body.text import decode_json
from ..errors import Unverified
from ..event import Event
from .algorithms import Algorithm, Hmac
from .encodings import CODECS, Codec, as_written
from .key_pairs import Ecdsa
from .message import Outgoing
from .places import Header
from .secrets import Held
from .signature import check_time
from .verified import malformed, mismatch

LEEWAY: Final = 60
"""Seconds by which clocks may differ where a token says until or from when it counts (RFC 7519, 4.1.4)."""

_LATEST: Final = 10**11
"""Seconds since 1970 that a time in a token may be, as `clock` has it."""

_URL: Final = CODECS["base64url"]
_COORDINATE: Final = 32  # bytes, on P-256

# SubjectPublicKeyInfo of P-256 up to the point (RFC 5480, 2), whose coordinates follow.
_SPKI: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04"


def _from_raw(text: bytes) -> bytes:
    """Read a signature as tokens have it, r and s one after the other (RFC 7518, 3.4), as DER."""
    # An extra (see `algorithms`), and looked for when the verifier was declared.
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    raw = _URL.decode(text)
    if len(raw) != 2 * _COORDINATE:
        raise ValueError("this is no signature")
    return encode_dss_signature(int.from_bytes(raw[:_COORDINATE], "big"), int.from_bytes(raw[_COORDINATE:], "big"))


def _to_raw(der: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    return _URL.encode(b"".join(number.to_bytes(_COORDINATE, "big") for number in decode_dss_signature(der)))


def point_of(jwk: Any) -> bytes:
    """Give the public key in DER that a JSON Web Key of P-256 is (RFC 7518, 6.2.1).

    Raises:
        ValueError: it is none.
    """
    if not isinstance(jwk, dict) or (jwk.get("kty"), jwk.get("crv")) != ("EC", "P-256"):
        raise ValueError("the key is no JSON Web Key of P-256")
    point = b""
    for name in ("x", "y"):
        written = jwk.get(name)
        # str: base64url is ASCII, and what is not fails to decode.
        coordinate = _URL.decode(written.encode("utf-8", "surrogatepass")) if isinstance(written, str) else b""
        if len(coordinate) != _COORDINATE:
            raise ValueError(f"the key's {name} is no coordinate of P-256")
        point += coordinate
    return _SPKI + point


class Alg(NamedTuple):
    """One of the algorithms of tokens (RFC 7518, 3.1).

    Attributes:
        name: what `alg` says.
        algorithm: how it signs.
        codec: how its signatures are written.
    """

    name: str
    algorithm: Algorithm
    codec: Codec


HS256: Final = Alg("HS256", Hmac(), _URL)
ES256: Final = Alg("ES256", Ecdsa(as_written), Codec(_to_raw, _from_raw))


class Token(NamedTuple):
    """A token that has been read, and not been verified.

    Attributes:
        header: what its header says.
        claims: what it claims.
        signed: what is signed.
        signature: as written.
    """

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    def verified_by(self, alg: Alg, key: Any) -> bool:
        """Tell whether a key has signed it."""
        return alg.algorithm.matches(key, self.signed, self.signature, alg.codec)


def read_token(written: bytes, alg: Alg) -> Token:
    """Read a token of one algorithm.

    Raises:
        Unverified: it is none.
    """
    parts = written.split(b".")
    if len(parts) != 3:
        raise malformed("The token is none: it has not three parts.")
    header, claims = _object(parts[0]), _object(parts[1])
    # What `crit` names would have to be understood (RFC 7515, 4.1.11), and none of it is.
    if header.get("alg") != alg.name or "crit" in header:
        raise malformed("The token is signed in another way than its sender does.")
    return Token(header, claims, parts[0] + b"." + parts[1], parts[2])


def _object(part: bytes) -> dict[str, Any]:
    try:
        found = decode_json(_URL.decode(part))
    except (ValueError, RecursionError):
        # binascii's and msgspec's errors are ValueErrors.
        found = None
    if not isinstance(found, dict):
        raise malformed("The token is none: a part of it cannot be read.")
    return found


def write_token(header: Mapping[str, Any], claims: Mapping[str, Any], alg: Alg, key: Any) -> str:
    """Sign a token.

    Raises:
        LookupError: the key cannot sign.
    """
    whole = {"alg": alg.name, "typ": "JWT", **header}
    signed = b".".join(_URL.encode(msgspec.json.encode(part)) for part in (whole, claims))
    return (signed + b"." + alg.algorithm.sign(key, signed, alg.codec)).decode("ascii")


def check_hash(claims: Mapping[str, Any], claim: str, body: bytes) -> None:
    """Check that a claim is the SHA-256 of the body, in hexadecimal.

    Raises:
        Unverified: it is not.
    """
    said = claims.get(claim)
    if not isinstance(said, str):
        raise malformed(f"The token has no {claim}.")
    wanted = hashlib.sha256(body).hexdigest()
    if not hmac.compare_digest(wanted.encode(), said.encode("utf-8", "surrogatepass")):
        raise mismatch()


def check_times(claims: Mapping[str, Any], event: Event, tolerance: int | None) -> None:
    """Check when a token was issued, and from and until when it counts, where it says so.

    Args:
        claims: what it claims.
        event: what it came with.
        tolerance: seconds by which `iat` may be off, which has to be there then; `None` for any past.

    Raises:
        Unverified: it is too old, or of the future, or a time is none.
    """
    now = event.received_at.timestamp()
    issued, begins, ends = (_time(claims, name) for name in ("iat", "nbf", "exp"))
    if tolerance is not None:
        if issued is None:
            raise malformed("The token has no iat.")
        check_time(issued, event, tolerance)
    starts = [begins] if tolerance is not None else [begins, issued]
    early = any(start is not None and start > now + LEEWAY for start in starts)
    if early or (ends is not None and ends <= now - LEEWAY):
        raise Unverified("The token does not count now.", cause="stale")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    # The comparison is false of what is no number as well.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < _LATEST:
        raise malformed(f"The token's {name} is no time.")
    return float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyHashToken:
    """A token in a header, signed with the webhook's secret: `X-Webhook-Signature: eyJ…`.

    Attributes:
        place: the header.
        claim: the claim that is the hash of the body.
        claims: what else it has to claim.
        tolerance: see `Scheme`; with it `iat` has to be there.
    """

    reveals_secret: ClassVar[bool] = False
    signs_body: ClassVar[bool] = True
    signs_url: ClassVar[bool] = False
    place: Header
    claim: str
    claims: Mapping[str, str] = field(default_factory=dict, hash=False)
    tolerance: int | None = None

    @property
    def title(self) -> str:
        """See `Scheme`."""
        return f"JWT (HS256) with the body's SHA-256 as `{self.claim}`"

    @property
    def secret_headers(self) -> frozenset[str]:
        """See `Scheme`."""
        return frozenset(name.lower() for name in self.place.headers)

    def key(self, secret: bytes) -> Any:
        """See `Scheme`."""
        return HS256.algorithm.key(secret)

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`."""
        token = read_token(self.place.find(event).signatures[0], HS256)
        matched: Held | None = None
        for held in keys:
            matches = token.verified_by(HS256, held.key)
            matched = held if matches and matched is None else matched
        claimed = token.claims
        if matched is None or any(claimed.get(name) != value for name, value in self.claims.items()):
            raise mismatch(bool(keys))
        check_hash(claimed, self.claim, event.body)
        check_times(claimed, event, tolerance)
        return matched

    def sign(self, message: Outgoing, key: Any, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`."""
        claims: dict[str, Any] = {**self.claims, self.claim: hashlib.sha256(message.body).hexdigest()}
        if self.tolerance is not None:
            claims["iat"] = int(now.timestamp())
        return self.place.put(message, write_token({}, claims, HS256, key), "")
