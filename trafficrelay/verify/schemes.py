"""Verifiers for senders that are not in the catalogue, by how they sign."""

from __future__ import annotations

import re
from typing import Final

from ..errors import DeclarationError
from .algorithms import Hmac, is_hash
from .checking import Check
from .clock import TOLERANCE as TOLERANCE
from .encodings import Encoding
from .places import Header
from .secrets import Secret as Secret
from .secrets import Secrets as Secrets
from .signature import Signature
from .tokens import BearerToken, named
from .verified import Verifier as Verifier

_HEADER: Final = re.compile(r"[A-Za-z0-9-]+")


def hmac_signature(
    secret: Secret, *, header: str, digest: str = "sha256", encoding: Encoding = "hex", prefix: str = ""
) -> Check:
    """Verify an HMAC (RFC 2104) of the raw body that is sent in a header.

    Args:
        secret: the shared key, or several (see `trafficrelay.verify`).
        header: the header's name.
        digest: the hash: `"sha256"`, `"sha1"`, `"sha512"`, ...
        encoding: `"hex"` (either case), `"base64"` (with padding) or `"base64url"` (without).
        prefix: what stands before the signature: `"sha256="`.

    Raises:
        DeclarationError: the secret is empty, or the digest or encoding is unknown.
    """
    if not isinstance(header, str) or not _HEADER.fullmatch(header):
        # With an underscore too: servers drop such headers, because in WSGI X_Signature would pose as X-Signature.
        raise DeclarationError(
            f'hmac_signature needs the name of the signature\'s header, such as header="X-Signature", not {header!r}.',
            option="verify",
        )
    if not isinstance(prefix, str):
        raise DeclarationError(f"hmac_signature: prefix is a string, not {prefix!r}.", option="verify")
    if not isinstance(digest, str) or not is_hash(digest):
        raise DeclarationError(f"hmac_signature knows no digest {digest!r}; try sha256.", option="verify")
    if encoding not in ("hex", "base64", "base64url"):
        raise DeclarationError(f"hmac_signature knows no encoding {encoding!r}; try hex or base64.", option="verify")
    scheme = Signature(
        place=Header(header, prefix), algorithm=Hmac(digest), encoding=encoding, any_case=encoding == "hex"
    )
    return Check("hmac_signature", scheme, Secrets("hmac_signature", secret))


def bearer(token: Secret) -> Check:
    """Verify a token in `Authorization: Bearer …` (RFC 6750, 2.1).

    Args:
        token: the token, or several (see `trafficrelay.verify`).

    Raises:
        DeclarationError: the token is empty.
    """
    return Check("bearer", BearerToken(), Secrets("bearer", token))


def basic(username: str, password: Secret) -> Check:
    """Verify a name and a password in `Authorization: Basic …` (RFC 7617).

    Args:
        username: the name.
        password: the password, or several (see `trafficrelay.verify`).

    Raises:
        DeclarationError: the name holds a colon, or the password is empty.
    """
    return Check("basic", named("basic", username), Secrets("basic", password))
