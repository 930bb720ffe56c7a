"""Headers that came under another name, or whose values were changed on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from ..verify.content import Content
from ..verify.places import AnyHeader, Header, Listed, Pairs
from ..verify.signature import Scheme, Signature
from .trial import Mistake, Trial, Variation

_ADDED: Final = ("xamznremapped", "xforwarded", "xoriginal", "xorig", "http")
"""What proxies and gateways put before a header's name, without its punctuation."""

_NOT_THESE: Final = re.compile(
    r"host|user-agent|accept.*|connection|content-.*|date|via|forwarded|x-forwarded-.*|x-real-ip|traceparent|cdn-loop"
)
_KNOWN_WORDS: Final = frozenset(
    {"sha1", "sha256", "sha512", "md5", "hmac", "v0", "v1", "v2", "bearer", "basic", "token"}
)
_QUOTES: Final = "\"'"
_MOST: Final = 40
_BREAKS: Final = re.compile("[^a-z0-9]")

_RENAMED: Final = (
    "Have the proxy or gateway pass the header on under its own name. Names with an underscore are dropped by many "
    "servers, because in WSGI they would pose as those with a hyphen."
)
_REWRITTEN: Final = "Find what rewrites the header on its way, a proxy or the sender's own code, and have it leave it."


def needed(scheme: Scheme) -> tuple[str, ...]:
    """Give the names of the headers without which nothing verifies; of several that would do, the first."""
    if not isinstance(scheme, Signature):
        place = getattr(scheme, "place", None)
        return (place.headers[:1] if place is not None else ()) or tuple(sorted(scheme.secret_headers))
    kind, _, name = scheme.time.partition(":")
    content = scheme.content.headers if isinstance(scheme.content, Content) else ()
    found = (*scheme.place.headers[:1], *((name,) if kind == "header" else ()), *content)
    return tuple({one.lower(): one for one in found}.values())


def renamed(trial: Trial) -> Iterator[Variation]:
    """Give the request with headers that it lacks, out of others."""
    place = getattr(trial.scheme, "place", None)
    headers = trial.event.headers
    if isinstance(place, AnyHeader) and any(name in headers for name in place.headers):
        return
    missing = [name for name in needed(trial.scheme) if name not in headers]
    if not missing:
        return
    alike = {name: next((other for other in headers if _is_alike(name, other)), "") for name in missing}
    if all(alike.values()):
        told = ", ".join(f"{name} came as {other}" for name, other in alike.items())
        mistake = Mistake("header-renamed", f"A header was renamed on its way: {told}.", _RENAMED)
        values = {name: headers[other] for name, other in alike.items()}
        yield Variation("header", mistake, trial.with_headers(values), common=True)
    elif len(missing) == 1:
        (wanted,) = missing
        for other in [name for name in headers if not _NOT_THESE.fullmatch(name)][:_MOST]:
            text = f"What should be in the header {wanted} is in the header {other}."
            yield Variation(
                "header", Mistake("header-renamed", text, _RENAMED), trial.with_headers({wanted: headers[other]})
            )


def _is_alike(wanted: str, name: str) -> bool:
    bare, other = (_BREAKS.sub("", one.lower()) for one in (wanted, name))
    for added in _ADDED:
        other = other.removeprefix(added) if other != bare else other
    return other == bare or other == bare.removeprefix("x") or other.endswith(bare)


def rewritten(trial: Trial) -> Iterator[Variation]:
    """Give the request with the header that proves it as it may have been before something changed it."""
    place: Any = getattr(trial.scheme, "place", None)
    names = place.headers if place is not None else tuple(trial.scheme.secret_headers)
    name = next((one for one in names if one in trial.event.headers), "")
    if not name:
        return
    value = trial.event.headers[name]
    seen = {value}
    for mistake, changed in _values(place, name, value.strip(), is_authorization=place is None):
        if changed not in seen:
            seen.add(changed)
            yield Variation("header", mistake, trial.with_headers({name: changed}), common=True)


def _values(place: Any, name: str, value: str, *, is_authorization: bool) -> Iterator[tuple[Mistake, str]]:
    def mistake(kind: str, text: str) -> Mistake:
        return Mistake(f"header-{kind}", text, _REWRITTEN)

    yield mistake("quoted", f"The header {name} stands in quotes."), value.strip(_QUOTES).strip()
    if ", " in value or "," in value:
        parts = [part.strip() for part in value.split(",")]
        half = ",".join(parts[: len(parts) // 2])
        if len(parts) % 2 == 0 and parts[: len(parts) // 2] == parts[len(parts) // 2 :]:
            yield mistake("doubled", f"The header {name} came twice, and its values were joined."), half
        if isinstance(place, Header):
            for part in (parts[0], parts[-1]):
                yield mistake("doubled", f"The header {name} came twice, with two values."), part
    if is_authorization:
        yield from _authorizations(name, value, mistake)
        return
    if isinstance(place, Header):
        yield from _prefixed(place.prefix, name, value, mistake)
    elif isinstance(place, Listed):
        text = f"The signatures in the header {name} are not written as v1,…: their version is missing or apart."
        yield mistake("version", text), f"v1,{value}"
        yield mistake("version", text), re.sub(r"\b(v1a?)[=:] ?", r"\1,", value)
        yield mistake("doubled", f"The header {name} came twice, and its values were joined."), value.replace(", ", " ")
    elif isinstance(place, Pairs):
        text = f"The header {name} is not written as its sender writes it: {{}}."
        between = ";" if place.between == "," else ","
        yield (
            mistake("between", text.format(f"with {between} between its parts")),
            value.replace(between, place.between),
        )
        if not place.timestamp:
            yield mistake("prefix", text.format(f"{place.signature}= is missing")), f"{place.signature}={value}"


def _prefixed(
    prefix: str, name: str, value: str, mistake: Callable[[str, str], Mistake]
) -> Iterator[tuple[Mistake, str]]:
    # Base64 may end in =, so what is before it is short.
    other = re.fullmatch(r"([A-Za-z][A-Za-z0-9-]{0,11}[=: ,] ?)(.{16,})", value)
    if other and other[1] != prefix:
        word = other[1].strip(" =:,").lower()
        # Not whatever it is: that may be the beginning of a token.
        known = other[1].strip() if word in _KNOWN_WORDS else "something else"
        said = f"The header {name} begins with {known}, and the route expects {prefix or 'nothing'} there."
        yield mistake("prefix", said), prefix + other[2]
    if prefix:
        yield mistake("prefix", f"The header {name} lacks the {prefix} that stands before a signature."), prefix + value
        twice = f"The header {name} has {prefix} before its signature more than once."
        bare = value
        while bare.startswith(prefix):
            bare = bare.removeprefix(prefix)
        yield mistake("prefix", twice), prefix + bare


def _authorizations(name: str, value: str, mistake: Callable[[str, str], Mistake]) -> Iterator[tuple[Mistake, str]]:
    rest = value.partition(" ")[2].strip()
    if rest != rest.strip(_QUOTES):
        quoted = f"What proves the sender stands in quotes in the header {name}."
        yield mistake("quoted", quoted), f"{value.partition(' ')[0]} {rest.strip(_QUOTES)}"
    for wanted in ("Bearer", "Basic"):
        text = f"The header {name} does not say {wanted} before what proves the sender."
        yield mistake("prefix", text), f"{wanted} {value}"
        if rest:
            yield mistake("prefix", text), f"{wanted} {rest}"
            twice = f"The header {name} says twice how it proves the sender, such as Bearer."
            yield mistake("prefix", twice), f"{wanted} {rest.partition(' ')[2] or rest}"
