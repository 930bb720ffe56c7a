"""How signatures and keys are written: each way exactly, so that one signature has one spelling."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

Encoding: TypeAlias = Literal["hex", "base64", "base64url"]

_HEX: Final = re.compile(rb"(?:[0-9a-fA-F]{2})+")


class Codec(NamedTuple):
    """One way to write bytes.

    Attributes:
        encode: writes them.
        decode: reads them; raises a `ValueError` for what `encode` would never write.
    """

    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes], bytes]


def _unhex(text: bytes) -> bytes:
    if not _HEX.fullmatch(text) or text != text.lower():
        raise ValueError("this is no hexadecimal")
    return bytes.fromhex(text.decode("ascii"))


def _unbase64(text: bytes) -> bytes:
    decoded = base64.b64decode(text, validate=True)
    # The last character has bits that mean nothing; with another one it would be the same signature.
    if base64.b64encode(decoded) != text:
        raise ValueError("this is no base64")
    return decoded


def _url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _unurl(text: bytes) -> bytes:
    decoded = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _url(decoded) != text:
        raise ValueError("this is no base64url")
    return decoded


CODECS: Final[Mapping[str, Codec]] = {
    "hex": Codec(lambda raw: raw.hex().encode(), _unhex),
    "base64": Codec(base64.b64encode, _unbase64),
    "base64url": Codec(_url, _unurl),
}
"""Hexadecimal in lower case, base64 with padding (RFC 4648, 4), and base64url without (the same, 5)."""


# How providers write the secrets that they show: given as `key=` to an algorithm.


def as_written(secret: bytes) -> bytes:
    """Take a secret's own bytes as the key."""
    return secret


def from_hex(secret: bytes) -> bytes:
    """Read a key that is shown in hexadecimal."""
    if not _HEX.fullmatch(secret.strip()):
        raise ValueError("the secret is no hexadecimal")
    return bytes.fromhex(secret.strip().decode("ascii"))


def from_base64(secret: bytes) -> bytes:
    """Read a key that is shown in base64."""
    try:
        return base64.b64decode(secret.strip(), validate=True)
    except binascii.Error:
        raise ValueError("the secret is no base64") from None
