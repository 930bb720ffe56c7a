"""Other senders: which provider of the catalogue a request looks like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from ..event import Event
from ..verify.provider import Provider
from ..verify.signature import Scheme
from .headers import needed
from .trial import Mistake, Trial, Variation

_WORDS: Final = re.compile("[a-z0-9]+")
_ANYBODYS: Final = frozenset({"authorization"})
_COMMON_WORDS: Final = frozenset({"webhooks", "platform", "com", "signed", "x"})
_MOST: Final = 12


def looks_like(event: Event, catalogue: Mapping[str, Provider]) -> list[Provider]:
    """Give the providers whose headers a request has, the likeliest first."""
    headers = set(event.headers)
    words = {word for name in headers for word in _WORDS.findall(name)} - {"x", "signature", "webhook", "id"}
    agent = event.headers.get("user-agent", "").lower()
    scored = [(_score(row, headers, words, agent), row) for row in catalogue.values()]
    # sorted() is stable: among equals the catalogue's order counts.
    ranked = sorted((pair for pair in scored if pair[0] > 0), key=lambda pair: -pair[0])
    return [row for _, row in ranked]


def _score(row: Provider, headers: set[str], words: set[str], agent: str) -> int:
    wanted = {name.lower() for name in needed(row.scheme)} - _ANYBODYS
    has = len(wanted & headers)
    if wanted and not has:
        return 0
    own = {row.name, *row.name.split("_")} - _COMMON_WORDS
    named = bool(own & words) or any(len(one) > 2 and one in agent for one in own)
    kind, _, name = row.dedupe.partition(":")
    counts = kind == "header" and name.lower() in headers
    if not wanted:
        return 2 if named else 0
    return 2 * (has == len(wanted)) + 3 * named + counts


def senders(trial: Trial, looks: list[Provider]) -> Iterator[Variation]:
    """Give the request as another provider's.

    Args:
        trial: the request.
        looks: the providers that it looks like.
    """
    tried: list[Scheme] = [trial.scheme]
    for row in looks[:_MOST]:
        scheme = row.scheme
        if scheme in tried or not {name.lower() for name in needed(scheme)} <= set(trial.event.headers):
            continue
        tried.append(scheme)
        alike = [one.title for one in looks[:_MOST] if one.scheme == scheme]
        who = " or ".join([", ".join(alike[:-1]), alike[-1]] if len(alike) > 1 else alike)
        text = f"The request is signed as {who} does, which is not what the route verifies."
        fix = f"Declare verify={row.name}(secret=…)."
        other = replace(trial, scheme=scheme, tolerance=scheme.tolerance)
        yield Variation("sender", Mistake("other-sender", text, fix), other, common=True)
