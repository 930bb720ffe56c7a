"""The algorithms of Standard Webhooks: which one it is, the key says."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from .encodings import Codec
from .key_pairs import PEM, Ed25519, Pair


@dataclass(frozen=True, slots=True)
class StandardKeys:
    """`v1`, HMAC-SHA256 with `whsec_…`, and `v1a`, Ed25519 with `whpk_…` and `whsk_…`.

    A signature is written with its version: `v1,…` (the specification, "Signature schemes").

    Attributes:
        plain: whether the secret's own bytes are the key of `v1`, and there is no `v1a`.
    """

    pairs: ClassVar[bool] = False
    plain: bool = False

    @property
    def title(self) -> str:
        """See `Algorithm`."""
        return "HMAC-SHA256 (v1)" if self.plain else "HMAC-SHA256 (v1) or Ed25519 (v1a)"

    def key(self, secret: bytes) -> bytes | Pair:
        """See `Algorithm`."""
        if self.plain:
            return secret
        if secret.startswith((b"whpk_", b"whsk_", PEM)):
            return self._pair(secret)
        # Supabase shows its secrets with the version before them.
        shown = secret.removeprefix(b"v1,").removeprefix(b"whsec_")
        return _decoded(shown, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    def _pair(self, secret: bytes) -> Pair:
        if not secret.startswith(b"whsk_"):
            return Ed25519(lambda key: _decoded(key.removeprefix(b"whpk_"), "whpk_…")).key(secret)
        raw = _decoded(secret.removeprefix(b"whsk_"), "whsk_…")
        if len(raw) not in (32, 64):
            raise ValueError(f"the private key has 32 or 64 bytes, not {len(raw)}")
        return Ed25519.private(raw[:32])

    def sign(self, key: Any, content: bytes, codec: Codec) -> bytes:
        """See `Algorithm`."""
        if isinstance(key, Pair):
            return b"v1a," + codec.encode(key.signing().sign(content))
        return b"v1," + codec.encode(hmac.digest(key, content, "sha256"))

    def matches(self, key: Any, content: bytes, given: bytes, codec: Codec) -> bool:
        """See `Algorithm`."""
        return self.matcher(key, content, codec)(given)

    def matcher(self, key: Any, content: bytes, codec: Codec) -> Callable[[bytes], bool]:
        """See `Algorithm`; signs once where it can."""
        if isinstance(key, Pair):
            return lambda given: _is_v1a(key, content, given, codec)
        own = self.sign(key, content, codec)
        return lambda given: hmac.compare_digest(own, given)


def _is_v1a(key: Pair, content: bytes, given: bytes, codec: Codec) -> bool:
    version, _, signature = given.partition(b",")
    return version == b"v1a" and Ed25519(bytes).matches(key, content, signature, codec)


def _decoded(secret: bytes, example: str) -> bytes:
    try:
        # Some show it without padding; the SDKs of Standard Webhooks add that too.
        return base64.b64decode(secret + b"=" * (-len(secret) % 4), validate=True)
    except binascii.Error:
        raise ValueError(f"the secret is no base64; it looks like {example}") from None
