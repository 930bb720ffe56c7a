"""How bytes are signed: with a secret that both sides know. Those that have a key pair are in `key_pairs`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from .encodings import Codec, as_written


class Algorithm(Protocol):
    """A way to sign bytes."""

    @property
    def title(self) -> str:
        """Its name, for tables."""

    @property
    def pairs(self) -> bool:
        """Whether it has key pairs: most who verify hold the public key alone, and cannot sign."""

    def key(self, secret: bytes) -> Any:
        """Make the key of a secret as its provider shows it, or of a private key in PEM.

        Raises:
            ValueError: it is none, with a sentence.
            DeclarationError: what this algorithm needs is not installed.
        """

    def sign(self, key: Any, content: bytes, codec: Codec) -> bytes:
        """Give the signature, as written.

        Raises:
            LookupError: the key cannot sign.
        """

    def matches(self, key: Any, content: bytes, given: bytes, codec: Codec) -> bool:
        """Tell whether a signature, as written, is that of the content."""

    def matcher(self, key: Any, content: bytes, codec: Codec) -> Callable[[bytes], bool]:
        """Give what tells it of many signatures, where that costs less: a body may be large."""


@dataclass(frozen=True, slots=True)
class Hmac:
    """HMAC (RFC 2104).

    Attributes:
        digest: the hash's name in hashlib.
        secret: what makes the key of the secret.
    """

    pairs: ClassVar[bool] = False
    digest: str = "sha256"
    secret: Callable[[bytes], bytes] = as_written

    @property
    def title(self) -> str:
        """See `Algorithm`."""
        return f"HMAC-{self.digest.upper().replace('_', '-')}"

    def key(self, secret: bytes) -> bytes:
        """See `Algorithm`."""
        return self.secret(secret)

    def sign(self, key: bytes, content: bytes, codec: Codec) -> bytes:
        """See `Algorithm`."""
        return codec.encode(hmac.digest(key, content, self.digest))

    def matches(self, key: bytes, content: bytes, given: bytes, codec: Codec) -> bool:
        """See `Algorithm`; takes the same time wherever the difference is."""
        return self.matcher(key, content, codec)(given)

    def matcher(self, key: bytes, content: bytes, codec: Codec) -> Callable[[bytes], bool]:
        """See `Algorithm`; signs once."""
        own = self.sign(key, content, codec)
        return lambda given: hmac.compare_digest(own, given)


def is_hash(name: str) -> bool:
    """Say whether a hash is one that `Hmac` takes."""
    return name in hashlib.algorithms_guaranteed and not name.startswith("shake")
