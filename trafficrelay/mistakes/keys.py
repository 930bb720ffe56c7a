"""Secrets that may have been meant: others, and the same ones read in another way."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from ..errors import DeclarationError
from ..verify.secrets import Held
from ..verify.signature import Scheme
from .trial import Mistake

_PREFIX: Final = re.compile(rb"(?:v1,)?[A-Za-z]{2,10}_(?:sec_)?(?:test_|live_)?")
_QUOTES: Final = b"\"'`"

_TOLD: Final = frozenset({b"whsec_", b"v1,whsec_", b"whsec_test_", b"sk_", b"sk_live_", b"sk_test_"})
"""Prefixes that many secrets share. No other one is told: it may be a good part of a short secret."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A secret that is tried.

    Attributes:
        secret: the secret, as its provider shows it.
        mistake: what would have happened if it is the one; `None` for a secret that counts.
        name: which of the route's keys it is; `""` where there is one, or it is none.
    """

    secret: bytes = field(repr=False)
    mistake: Mistake | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Tried:
    """A key that is tried.

    Attributes:
        held: the key, with its number as its name.
        candidate: the secret that it was made of.
        mistake: how it was made, where that is not as the route does it.
    """

    held: Held
    candidate: Candidate
    mistake: Mistake | None = None


def keys_of(scheme: Scheme, candidates: Sequence[Candidate], *, spelt: bool) -> list[Tried]:
    """Make the keys of secrets, no key twice.

    Args:
        scheme: makes them.
        candidates: the secrets; those that count come first.
        spelt: whether each is read in other ways as well.
    """
    found: list[Tried] = []
    seen: set[Any] = set()
    # As they are first: one that was given elsewhere is likelier than one that is read in another way.
    ways = [(_as_it_is,), _SPELLINGS if spelt else ()]
    for some in ways:
        for candidate in candidates:
            for spell in some:
                for mistake, key in spell(scheme, candidate.secret):
                    if isinstance(key, bytes) and (not key or key in seen):
                        continue
                    seen.add(key if isinstance(key, bytes) else id(key))
                    found.append(Tried(Held(key, str(len(found))), candidate, mistake))
    return found


_Spelt = Iterator[tuple[Mistake | None, Any]]


def _as_it_is(scheme: Scheme, secret: bytes) -> _Spelt:
    key = _read(scheme, secret)
    if key is not None:
        yield None, key


def _read(scheme: Scheme, secret: bytes) -> Any:
    try:
        return scheme.key(secret)
    except (ValueError, DeclarationError):
        return None  # it is none of this scheme


def _changed(name: str, text: str, fix: str, change: Callable[[bytes], bytes]) -> Callable[[Scheme, bytes], _Spelt]:
    """Make a spelling that changes a secret before its key is made."""

    def spell(scheme: Scheme, secret: bytes) -> _Spelt:
        other = change(secret)
        key = _read(scheme, other) if other and other != secret else None
        if key is not None:
            yield Mistake(f"secret-{name}", text, fix), key

    return spell


def _taken(name: str, text: str, fix: str, make: Callable[[bytes], bytes]) -> Callable[[Scheme, bytes], _Spelt]:
    """Make a spelling that is the key itself, for schemes whose keys are bytes."""

    def spell(scheme: Scheme, secret: bytes) -> _Spelt:
        if not isinstance(_read(scheme, secret), bytes | None):
            return
        try:
            key = make(secret)
        except ValueError:
            return
        if key:
            yield Mistake(f"secret-{name}", text, fix), key

    return spell


def _without_prefix(secret: bytes) -> bytes:
    return _PREFIX.sub(b"", secret, count=1)


def _unprefixed(scheme: Scheme, secret: bytes) -> _Spelt:
    """Spell a secret without its prefix; which of both sides ought to have it is not known."""
    found = _PREFIX.match(secret)
    if found is None:
        return
    prefix = found[0].decode() if found[0] in _TOLD else "a prefix that ends in _"
    it = prefix if found[0] in _TOLD else "that prefix"
    text = f"The secret begins with {prefix}, and the sender signs with what comes after it."
    fix = f"Give secret= what the provider shows, without {it} if it shows none; or have a sender of your own sign "
    fix += "with all of the secret."
    yield from _changed("prefix", text, fix, _without_prefix)(scheme, secret)


def _from_base64(secret: bytes) -> bytes:
    shown = secret.strip().rstrip(b"=")
    return base64.b64decode((shown + b"=" * (-len(shown) % 4)).translate(bytes.maketrans(b"-_", b"+/")), validate=True)


def _from_hex(secret: bytes) -> bytes:
    return bytes.fromhex(secret.strip().decode("ascii"))


_AS_SHOWN: Final = "Give secret= what the provider shows, with nothing before, behind or around it."
_OF_BYTES: Final = (
    "Give the route the secret as its provider's verifier takes it; of a sender of your own, make the key on both "
    "sides in the same way. secret= takes bytes, too."
)

_SPELLINGS: Final[tuple[Callable[[Scheme, bytes], _Spelt], ...]] = (
    _changed(
        "space",
        "The secret has white space or a line break at an end that does not belong to it.",
        _AS_SHOWN,
        bytes.strip,
    ),
    _changed("quotes", "The secret stands in quotes.", _AS_SHOWN, lambda secret: secret.strip().strip(_QUOTES)),
    _changed(
        "line-break",
        "The sender's secret ends in a line break, which the route's has not.",
        "Save it anew at the sender, without the line break (printf '%s' in place of echo).",
        lambda secret: secret + b"\n",
    ),
    _changed(
        "percent", "The secret is URL-encoded.", "Decode its %XX before it is given to secret=.", unquote_to_bytes
    ),
    _unprefixed,
    _changed(
        "prefix",
        "The sender signs with whsec_ before the secret, and it was given without.",
        "Give secret= all of what the provider shows, whsec_ as well; or have a sender of your own sign without it.",
        lambda secret: b"whsec_" + secret,
    ),
    _taken(
        "text", "The sender takes the secret's own characters as the key; the route decodes them.", _OF_BYTES, bytes
    ),
    _taken(
        "text",
        "The sender takes the secret's own characters without their prefix as the key.",
        _OF_BYTES,
        _without_prefix,
    ),
    _taken("base64", "The sender takes what is base64 in the secret as the key.", _OF_BYTES, _from_base64),
    _taken(
        "base64",
        "The sender takes what is base64 in the secret, behind its prefix, as the key.",
        _OF_BYTES,
        lambda secret: _from_base64(_without_prefix(secret)),
    ),
    _taken("hex", "The sender takes what is hexadecimal in the secret as the key.", _OF_BYTES, _from_hex),
    _taken(
        "hex",
        "The sender takes what is hexadecimal in the secret, behind its prefix, as the key.",
        _OF_BYTES,
        lambda secret: _from_hex(_without_prefix(secret)),
    ),
    _taken(
        "encoded",
        "The sender takes the secret in base64 as the key.",
        _OF_BYTES,
        base64.b64encode,
    ),
    _taken(
        "encoded",
        "The sender takes the secret in hexadecimal as the key.",
        _OF_BYTES,
        lambda secret: secret.hex().encode(),
    ),
)
