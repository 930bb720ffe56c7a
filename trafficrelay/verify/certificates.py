"""Certificates that providers publish at a URL, which each request names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from .key_pairs import Pair, Rsa
from .keys import NoSuchKey, NotHad
from .verified import mismatch

if TYPE_CHECKING:
    from .fetching import Https


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate's key, and when it counts.

    Attributes:
        pair: the key.
        begins: from when.
        ends: until when. Both are `None` for a key that was given without a certificate.
    """

    pair: Pair = field(repr=False)
    begins: datetime | None = None
    ends: datetime | None = None

    def check(self, at: datetime) -> None:
        """Check that it counts.

        Raises:
            Unverified: it does not.
        """
        if (self.begins and at < self.begins) or (self.ends and at > self.ends):
            raise mismatch()


def read_certificate(document: bytes) -> Certificate:
    """Read a certificate in PEM, the first one of a chain; or an RSA key in PEM.

    Raises:
        ValueError: it is none, or not of RSA.
    """
    if b"-----BEGIN CERTIFICATE-----" not in document:
        return Certificate(Rsa().key(document))
    # An extra (see `algorithms`), and looked for when the verifier was declared.
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate

    try:
        found = load_pem_x509_certificate(document)
        public = found.public_key()
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    except Exception as error:
        # cryptography has errors of its own for kinds that it does not know.
        raise ValueError(f"the certificate cannot be read ({type(error).__name__})") from None
    if not isinstance(public, RSAPublicKey):
        raise ValueError("the certificate is not of RSA")
    return Certificate(Pair(public), begins, ends)


@dataclass(frozen=True, slots=True)
class CertificateUrls:
    """Certificates at URLs.

    Attributes:
        https: asks for them, of the hosts that are pinned.
    """

    https: Https

    def fetch(self, name: str, secrets: Sequence[bytes]) -> bytes:
        """See `keys.Source`."""
        answer = self.https.ask(name)
        if answer.status in (404, 410):
            raise NoSuchKey
        if answer.status != 200:
            raise NotHad(f"the host answered {answer.status}")
        return answer.body


def at_urls(pin: re.Pattern[str]) -> CertificateUrls:
    """Give the certificates at URLs that look like `pin`."""
    # It takes ssl and http.client along, 25 ms, which relays need not whose providers publish nothing.
    from .fetching import Https

    return CertificateUrls(Https(pin))
