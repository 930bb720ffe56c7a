"""Signatures that are written in another way, or made with another hash, than the route's sender does."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from ..errors import Unverified
from ..event import Event
from ..verify.algorithms import Hmac
from ..verify.clock import Unit
from ..verify.encodings import CODECS
from ..verify.places import Header, Listed, Pairs
from ..verify.signature import Scheme, Signature
from .trial import Mistake, Trial, Variation

_DIGESTS: Final = {16: "md5", 20: "sha1", 28: "sha224", 32: "sha256", 48: "sha384", 64: "sha512"}
"""By the length of what they give."""

_MOST: Final = 4
"""How many signatures of one request are looked at."""

_TITLES: Final = {"hex": "hexadecimal", "base64": "base64", "base64url": "base64url"}
_BEFORE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,11}[=:](?=.{16})")
_NAME: Final = re.compile("[A-Za-z0-9_-]{1,8}")
_HASH: Final = re.compile("(md5|sha(?:1|224|256|384|512))=", re.IGNORECASE)
_NAMES_HASH: Final = re.compile("-(?:sha-?)?(?:256|384|512)$", re.IGNORECASE)
_UNITS: Final[dict[Unit, str]] = {"s": "seconds", "ms": "milliseconds", "iso": "ISO 8601"}


def other_hash(scheme: Scheme, event: Event) -> tuple[str, str] | None:
    """Give the header of a request that says itself that it was made with another hash, and which one.

    That may be an older one: GitHub and Meta send X-Hub-Signature, of SHA-1, beside X-Hub-Signature-256.
    """
    if not isinstance(scheme, Signature) or not isinstance(scheme.algorithm, Hmac):
        return None
    if not isinstance(scheme.place, Header):
        return None
    name = scheme.place.name
    for one in (name, _NAMES_HASH.sub("", name)):
        if value := event.headers.get(one, ""):
            said = _HASH.match(value.strip())
            digest = said[1].lower() if said else scheme.algorithm.digest
            return (one, digest) if digest != scheme.algorithm.digest else None
    return None


def of_other_hash(trial: Trial) -> Iterator[Variation]:
    """Give the request with the hash that its header names."""
    scheme, found = trial.scheme, other_hash(trial.scheme, trial.event)
    if found is None or not isinstance(scheme, Signature) or not isinstance(scheme.algorithm, Hmac):
        return
    name, digest = found
    place, algorithm = Header(name, f"{digest}="), replace(scheme.algorithm, digest=digest)
    was, wanted = digest.upper(), scheme.algorithm.title
    if name in scheme.place.headers:
        text = f"The signature is made with {was}, as the {digest}= before it says, where {wanted} is expected."
        fix = "Have the sender sign as the route's verifier does, if it is a program of your own; or declare "
        fix += f'hmac_signature(…, prefix="{digest}=", digest="{digest}").'
    else:
        text = f"Only the header {name} came, which is made with {was}: {scheme.place.headers[0]} with {wanted} is "
        text += "expected."
        fix = f"Have what drops {scheme.place.headers[0]} on its way pass it on, or the sender sign with {wanted}."
    other = replace(trial, scheme=replace(scheme, place=place, algorithm=algorithm))
    yield Variation("signature", Mistake("signature-digest", text, fix), other, common=True)


def recoded(trial: Trial) -> Iterator[Variation]:
    """Give the request with its signature as the scheme would have it."""
    scheme = trial.scheme
    if not isinstance(scheme, Signature):
        return
    try:
        found = scheme.place.find(trial.event)
    except Unverified:
        return
    algorithm = scheme.algorithm
    for signature in found.signatures[:_MOST]:
        version, text = b"", signature
        if isinstance(scheme.place, Listed):
            version, _, text = signature.partition(b",")
            version += b","
        for how, raw in _readings(text):
            for digest in _digests(scheme, raw):
                written = version + CODECS[scheme.encoding].encode(raw)
                if written == signature and digest is None:
                    continue
                message = scheme.place.put(trial.as_outgoing(), written.decode("latin-1"), found.timestamp)
                changed = trial.with_message(message)
                if digest is not None and isinstance(algorithm, Hmac):
                    changed = replace(changed, scheme=replace(scheme, algorithm=replace(algorithm, digest=digest)))
                mistake = _mistake(_difference(how, scheme, signature, written), scheme, digest)
                yield Variation("signature", mistake, changed, common=True)


def _readings(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Give what a signature may be, written in whatever way."""
    shown = text.decode("latin-1").strip(" \t\"'")
    for way, bare in (("", shown), ("before", _BEFORE.sub("", shown, count=1))):
        if way and bare == shown:
            continue
        if re.fullmatch("(?:[0-9a-fA-F]{2})+", bare):
            yield "hex", bytes.fromhex(bare)
        padded = bare.rstrip("=") + "=" * (-len(bare.rstrip("=")) % 4)
        try:
            raw = base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            continue
        yield "base64url" if set(bare) & set("-_") else "base64", raw
        if re.fullmatch(rb"(?:[0-9a-fA-F]{2})+", raw):
            yield "hex in base64", bytes.fromhex(raw.decode("ascii"))


def _digests(scheme: Signature, raw: bytes) -> tuple[str | None, ...]:
    if not isinstance(scheme.algorithm, Hmac):
        return (None,)
    digest = _DIGESTS.get(len(raw))
    if digest is None:
        return ()
    return (None,) if digest == scheme.algorithm.digest else (digest,)


def _difference(how: str, scheme: Signature, signature: bytes, written: bytes) -> str:
    """Say what is wrong with how a signature is written; `""` for nothing."""
    if written == signature:
        return ""
    if how != scheme.encoding:
        return how
    if signature.lower() == written:
        return "capitals"
    return "padding" if signature.rstrip(b"=") == written.rstrip(b"=") else "around"


_ODD: Final = {
    "hex in base64": "is written in hexadecimal, and that in base64",
    "capitals": "is written in capitals, where small letters are expected",
    "padding": "has not the padding (=) that is expected",
    "around": "has something around it",
}


def _mistake(how: str, scheme: Signature, digest: str | None) -> Mistake:
    said, declared = [], []
    if how in _ODD:
        said.append(_ODD[how])
    elif how:
        said.append(f"is in {_TITLES[how]}, where {_TITLES[scheme.encoding]} is expected")
        declared.append(f'encoding="{how}"')
    if digest:
        said.append(f"is made with {digest.upper()}, where {scheme.algorithm.title} is expected")
        declared.append(f'digest="{digest}"')
    fix = "Have the sender sign as the route's verifier does, if it is a program of your own"
    fix += f"; or declare hmac_signature(…, {', '.join(declared)})." if declared else "."
    name = "signature-digest" if digest and not how else "signature-encoding"
    return Mistake(name, f"The signature {' and '.join(said)}.", fix)


def named_otherwise(trial: Trial) -> Iterator[Variation]:
    """Give the request with another one of the pairs in its header as the signature."""
    scheme = trial.scheme
    if not isinstance(scheme, Signature) or not isinstance(scheme.place, Pairs):
        return
    place = scheme.place
    header = trial.event.headers.get(place.name, "")
    names = {pair.partition("=")[0].strip() for pair in header.split(place.between)[:_MOST] if "=" in pair}
    # Nothing longer: it is told, and may be a signature.
    names = {name for name in names if _NAME.fullmatch(name)}
    for name in sorted(names - {place.signature, place.timestamp}):
        text = f"The signature in the header {place.name} is called {name}, where {place.signature} is expected."
        fix = f"Have the sender call it {place.signature}; its provider's {name} may be of another version of the API."
        other = replace(scheme, place=replace(place, signature=name))
        yield Variation("signature", Mistake("signature-name", text, fix), replace(trial, scheme=other))


def units(trial: Trial) -> Iterator[Variation]:
    """Give the request with its time taken for one in another unit."""
    scheme = trial.scheme
    timed = isinstance(scheme, Signature) and (scheme.time or getattr(scheme.place, "timestamp", ""))
    if not timed or not isinstance(scheme, Signature):
        return
    for unit, title in _UNITS.items():
        if unit != scheme.unit:
            text = f"The time in the request is in {title}, where {_UNITS[scheme.unit]} are expected."
            fix = "Have the sender write the time as its provider does, if it is a program of your own."
            yield Variation("time", Mistake("time-unit", text, fix), replace(trial, scheme=replace(scheme, unit=unit)))
