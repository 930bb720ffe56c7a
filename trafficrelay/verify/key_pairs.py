"""How bytes are signed with a key pair: Ed25519, ECDSA, RSA.

They need `pip install 'trafficrelay[verify]'`, which is looked at when a route is declared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from ..errors import DeclarationError
from .encodings import Codec

PEM: Final = b"-----BEGIN "


def _library() -> Any:
    try:
        # An extra, which these algorithms need alone.
        from cryptography.hazmat.primitives import serialization
    except ModuleNotFoundError as error:
        raise DeclarationError(
            "This provider signs with a key pair, which needs cryptography: pip install 'trafficrelay[verify]'.",
            option="verify",
        ) from error
    return serialization


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A public key, and the private one where it is held.

    Attributes:
        public: verifies.
        private: signs; `None` where only the provider has it.
    """

    public: Any
    private: Any = None

    def signing(self) -> Any:
        """Give the private key.

        Raises:
            LookupError: there is none.
        """
        if self.private is None:
            raise LookupError(
                "only the provider can sign: this is its public key. Declare the route with a private key of your own "
                "in PEM to send it requests"
            )
        return self.private


def load_pair(secret: bytes, kind: type[Any], name: str) -> Pair:
    """Read a public or private key in PEM.

    Raises:
        ValueError: it is none, or one of another kind.
    """
    serialization = _library()
    try:
        if b"PRIVATE KEY" in secret:
            private = serialization.load_pem_private_key(secret, password=None)
            pair = Pair(private.public_key(), private)
        else:
            pair = Pair(serialization.load_pem_public_key(secret))
    except (ValueError, TypeError):
        raise ValueError("the key in PEM cannot be read") from None
    except Exception as error:
        # cryptography has errors of its own for curves and kinds that it does not know.
        raise ValueError(f"the key in PEM cannot be used ({type(error).__name__})") from None
    if not isinstance(pair.public, kind):
        raise ValueError(f"the key in PEM is none of {name}")
    return pair


@dataclass(frozen=True, slots=True)
class Ed25519:
    """Ed25519 (RFC 8032).

    Attributes:
        secret: gives the public key's 32 bytes out of how the provider shows it.
    """

    pairs: ClassVar[bool] = True
    title: ClassVar[str] = "Ed25519"
    secret: Callable[[bytes], bytes]

    def key(self, secret: bytes) -> Pair:
        """See `Algorithm`."""
        _library()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if secret.strip().startswith(PEM):
            return load_pair(secret.strip(), Ed25519PublicKey, "Ed25519")
        raw = self.secret(secret)
        if len(raw) != 32:
            raise ValueError(f"the public key has 32 bytes, not {len(raw)}")
        return Pair(Ed25519PublicKey.from_public_bytes(raw))

    @staticmethod
    def private(seed: bytes) -> Pair:
        """Make a key that signs, of its 32 bytes."""
        _library()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(seed)
        return Pair(key.public_key(), key)

    def sign(self, key: Pair, content: bytes, codec: Codec) -> bytes:
        """See `Algorithm`."""
        return codec.encode(key.signing().sign(content))

    def matches(self, key: Pair, content: bytes, given: bytes, codec: Codec) -> bool:
        """See `Algorithm`."""
        return _verifies(key, given, codec, content)

    def matcher(self, key: Pair, content: bytes, codec: Codec) -> Callable[[bytes], bool]:
        """See `Algorithm`."""
        return lambda given: self.matches(key, content, given, codec)


@dataclass(frozen=True, slots=True)
class Ecdsa:
    """ECDSA over P-256 with SHA-256, its signature in DER (FIPS 186-5).

    Attributes:
        secret: gives the public key in DER (SubjectPublicKeyInfo) out of how the provider shows it.
    """

    pairs: ClassVar[bool] = True
    title: ClassVar[str] = "ECDSA P-256"
    secret: Callable[[bytes], bytes]

    def key(self, secret: bytes) -> Pair:
        """See `Algorithm`."""
        serialization = _library()
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

        if secret.strip().startswith(PEM):
            pair = load_pair(secret.strip(), EllipticCurvePublicKey, "ECDSA")
        else:
            try:
                pair = Pair(serialization.load_der_public_key(self.secret(secret)))
            except Exception as error:
                raise ValueError("the public key cannot be read; it looks like MFkwEwYHKoZIzj0CAQYI…") from error
        if not isinstance(pair.public, EllipticCurvePublicKey) or not isinstance(pair.public.curve, SECP256R1):
            raise ValueError("the public key is none of the curve P-256")
        return pair

    def sign(self, key: Pair, content: bytes, codec: Codec) -> bytes:
        """See `Algorithm`."""
        return codec.encode(key.signing().sign(content, *self._how()))

    def matches(self, key: Pair, content: bytes, given: bytes, codec: Codec) -> bool:
        """See `Algorithm`."""
        return _verifies(key, given, codec, content, *self._how())

    def matcher(self, key: Pair, content: bytes, codec: Codec) -> Callable[[bytes], bool]:
        """See `Algorithm`."""
        return lambda given: self.matches(key, content, given, codec)

    @staticmethod
    def _how() -> tuple[Any]:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        return (ECDSA(SHA256()),)


@dataclass(frozen=True, slots=True)
class Rsa:
    """RSA with PKCS #1 v1.5 (RFC 8017, 8.2).

    Attributes:
        digest: `"sha256"` or `"sha1"`.
    """

    pairs: ClassVar[bool] = True
    digest: str = "sha256"

    @property
    def title(self) -> str:
        """See `Algorithm`."""
        return f"RSA-{self.digest.upper()}"

    def key(self, secret: bytes) -> Pair:
        """See `Algorithm`; a key in PEM."""
        _library()
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

        return load_pair(secret.strip(), RSAPublicKey, "RSA")

    def sign(self, key: Pair, content: bytes, codec: Codec) -> bytes:
        """See `Algorithm`."""
        return codec.encode(key.signing().sign(content, *self._how()))

    def matches(self, key: Pair, content: bytes, given: bytes, codec: Codec) -> bool:
        """See `Algorithm`."""
        return _verifies(key, given, codec, content, *self._how())

    def matcher(self, key: Pair, content: bytes, codec: Codec) -> Callable[[bytes], bool]:
        """See `Algorithm`."""
        return lambda given: self.matches(key, content, given, codec)

    def _how(self) -> tuple[Any, Any]:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        # Some providers still sign with SHA-1; which one does is fixed by its row, and not by what a request says.
        return PKCS1v15(), hashes.SHA256() if self.digest == "sha256" else hashes.SHA1()  # noqa: S303


def _verifies(key: Pair, given: bytes, codec: Codec, *arguments: Any) -> bool:
    try:
        # Public keys verify signatures: nothing secret is compared.
        key.public.verify(codec.decode(given), *arguments)
    except Exception:
        # InvalidSignature, or what decoding raises: it is no signature of this content.
        return False
    return True
