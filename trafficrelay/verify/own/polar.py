"""Polar's keys: of a secret it has made two kinds in its time, and does not say which one."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ..encodings import Codec


@dataclass(frozen=True, slots=True)
class PolarKeys:
    """HMAC-SHA256 with the secret's own bytes, or with what is base64 in it (polar-sdk 1.0.2, `polar.webhooks`)."""

    title: ClassVar[str] = "HMAC-SHA256 (v1)"
    pairs: ClassVar[bool] = False

    def key(self, secret: bytes) -> tuple[bytes, ...]:
        """See `Algorithm`; both keys, the secret's own bytes first."""
        shown = secret.removeprefix(b"whsec_")
        try:
            decoded = base64.b64decode(shown + b"=" * (-len(shown) % 4), validate=True)
        except binascii.Error:
            decoded = b""
        # None of a prefix alone, which anybody knows.
        return tuple(key for key in (secret, decoded) if key) if shown else ()

    def sign(self, key: tuple[bytes, ...], content: bytes, codec: Codec) -> bytes:
        """See `Algorithm`."""
        return _signature(key[0], content, codec)

    def matches(self, key: tuple[bytes, ...], content: bytes, given: bytes, codec: Codec) -> bool:
        """See `Algorithm`."""
        return self.matcher(key, content, codec)(given)

    def matcher(self, key: tuple[bytes, ...], content: bytes, codec: Codec) -> Callable[[bytes], bool]:
        """See `Algorithm`; signs once with each, and compares with both: the time does not tell which one it is."""
        own = [_signature(one, content, codec) for one in key]
        return lambda given: sum(hmac.compare_digest(one, given) for one in own) > 0


def _signature(key: bytes, content: bytes, codec: Codec) -> bytes:
    return b"v1," + codec.encode(hmac.digest(key, content, "sha256"))
