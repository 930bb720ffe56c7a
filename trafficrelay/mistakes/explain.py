"""Why a request does not verify: the likely mistakes are tried, alone and in pairs, and the one that fits is named.

What is given are sentences. Neither a secret nor the signature that was expected is in them: with that, whoever reads
them could sign.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Final

from ..errors import Unverified
from ..event import Event
from ..failures import BUGS
from ..verify.checking import Check
from ..verify.provider import Provider
from ..verify.signature import Signature
from .bodies import bodies
from .headers import renamed, rewritten
from .keys import Candidate, Tried, keys_of
from .passwords import other_names
from .senders import looks_like, senders
from .signatures import named_otherwise, of_other_hash, other_hash, recoded, units
from .trial import Axis, Mistake, Trial, Variation
from .urls import urls

MOST: Final = 1_000
"""How many signatures are made at the most."""

_AXES: Final[tuple[Axis, ...]] = ("sender", "header", "signature", "time", "body", "url")
_LONGEST: Final = 2**36
"""Seconds by which a time may be off that is told; more is no time."""

_LOOKS: Final = 4


@dataclass(frozen=True, slots=True)
class Known:
    """What may help to explain a refusal.

    Attributes:
        secrets: the secrets that may have been meant, those that count on the route first.
        urls: URLs that senders may have been given.
        forwarded: the URL that the request's X-Forwarded headers tell.
        catalogue: the providers.
    """

    secrets: Sequence[Candidate] = field(repr=False)
    urls: Sequence[str] = field(default=(), repr=False)
    forwarded: str = field(default="", repr=False)
    catalogue: Mapping[str, Provider] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request does not verify.

    Attributes:
        mistakes: what happened, all of it together; nothing where that is not known.
        looks_like: the providers that the request looks like, where the route's is none of them.
        tried: how many variations of each kind were tried.
        signatures: how many signatures were made for it.
        whole: whether all was tried; else `MOST` were made before.
        remains: what is left to look at, where nothing fits.
    """

    mistakes: tuple[Mistake, ...]
    looks_like: tuple[Provider, ...] = ()
    tried: Mapping[Axis, int] = field(default_factory=dict)
    signatures: int = 0
    whole: bool = True
    remains: tuple[str, ...] = ()


def explain(check: Check, event: Event, refusal: Unverified, known: Known) -> Explanation:
    """Say why a request does not verify.

    Args:
        check: the verifier.
        event: the request, with its URL.
        refusal: what the verifier said.
        known: what may help.
    """
    looks = looks_like(event, known.catalogue)
    trial = Trial(check.scheme, event, _url_of(check, event), check.tolerance)
    search = _Search(trial, known, looks)
    try:
        mistakes = next(search.fitting(), ())
        whole = True
    except _EnoughError:
        mistakes, whole = (), False
    strangers = () if any(row.name == check.name for row in looks) else tuple(looks[:_LOOKS])
    return Explanation(
        mistakes,
        looks_like=strangers,
        tried=dict(search.tried),
        signatures=search.signatures,
        whole=whole,
        remains=() if mistakes else tuple(_remains(check, event, refusal)),
    )


def _url_of(check: Check, event: Event) -> str:
    if not check.scheme.signs_url:
        return event.url
    try:
        return check.url_of(event)
    except BUGS:  # the user's own function knows none, or fails
        return event.url


class _EnoughError(Exception):
    """As many signatures were made as may be."""


class _Search:
    """Tries variations of a request.

    Attributes:
        tried: how many of each kind there were.
        signatures: how many were made.
    """

    def __init__(self, trial: Trial, known: Known, looks: list[Provider]) -> None:
        self.tried: Counter[Axis] = Counter()
        self.signatures = 0
        self._trial = trial
        self._all = known.secrets
        self._own = [one for one in known.secrets if one.mistake is None]
        self._looks = looks
        self._known_bodies: dict[tuple[bytes, str, str], list[Variation]] = {}
        self._urls = partial(urls, others=known.urls, forwarded=known.forwarded)

    def fitting(self) -> Iterator[tuple[Mistake, ...]]:
        """Give what fits: what is likely first.

        Raises:
            _EnoughError: as many signatures were made as may be.
        """
        yield from self._with((), self._trial, self._all, spelt=True)
        singles = list(self._variations(self._trial))
        self.tried.update(one.axis for one in singles)
        for one in singles:
            yield from self._with((one,), one.trial, self._own)
        common = [one for one in singles if one.common]
        for pair in self._pairs(common):
            yield from self._with(pair, pair[-1].trial, self._own)
        for one in common:
            yield from self._with((one,), one.trial, self._own, spelt=True)
        for one in sorted(singles, key=lambda each: not each.common):
            yield from self._with((one,), one.trial, self._all)

    def _variations(self, trial: Trial, after: str = "") -> Iterator[Variation]:
        """Give the variations of a trial, of the kinds that come after one."""
        first = _AXES.index(after) + 1 if after else 0
        for axis in _AXES[first:]:
            if axis == "sender":
                # Before them: a provider's older signature is another provider's own.
                yield from of_other_hash(trial)
                yield from senders(trial, self._looks)
            elif axis == "header":
                yield from renamed(trial)
                yield from rewritten(trial)
                yield from other_names(trial)
            elif axis == "signature":
                yield from recoded(trial)
                yield from named_otherwise(trial)
            elif axis == "time":
                yield from units(trial)
            elif axis == "body":
                yield from self._bodies(trial)
            else:
                yield from self._urls(trial)

    def _bodies(self, trial: Trial) -> Iterator[Variation]:
        """Give what the body may have been; writing JSON anew takes the most time of all, so it is done once."""
        if trial.scheme.reveals_secret:
            return
        headers = trial.event.headers
        place = (trial.event.body, headers.get("content-type", ""), headers.get("content-encoding", ""))
        known = self._known_bodies.get(place)
        if known is None:
            known = self._known_bodies[place] = list(bodies(trial))
        for one in known:
            yield replace(one, trial=trial.with_body(one.trial.event.body))

    def _pairs(self, common: list[Variation]) -> Iterator[tuple[Variation, Variation]]:
        for one in common:
            for two in self._variations(one.trial, after=one.axis):
                if two.common:
                    yield one, two

    def _with(
        self, variations: tuple[Variation, ...], trial: Trial, candidates: Sequence[Candidate], *, spelt: bool = False
    ) -> Iterator[tuple[Mistake, ...]]:
        """Give what fits a trial, if it does."""
        keys = keys_of(trial.scheme, candidates, spelt=spelt)
        found = self._match(trial, keys)
        if found is None:
            return
        key, stale = found
        mistakes = [one.mistake for one in variations]
        mistakes += [one for one in (key.candidate.mistake, _of_key(key)) if one is not None]
        # With another hash all else is written otherwise, too.
        mistakes.sort(key=lambda one: one.name != "signature-digest")
        if stale:
            mistakes.append(self._clock(trial, key))
        if mistakes:
            yield tuple(mistakes)

    def _match(self, trial: Trial, keys: Sequence[Tried]) -> tuple[Tried, bool] | None:
        """Give the key that matches, and whether the request's time is off."""
        cause, name = self._checked(trial, keys, trial.tolerance)
        if cause == "stale":
            # All but its time is right; which key it was is not told.
            for key in keys:
                if self._checked(trial, [key], None)[0] in ("", "stale"):
                    return key, True
        return None if cause else next((key, False) for key in keys if key.held.name == name)

    def _checked(self, trial: Trial, keys: Sequence[Tried], tolerance: int | None) -> tuple[str, str]:
        """Check with some keys: why it fails, or `""` and the name of the key that matches."""
        if self.signatures > MOST:
            raise _EnoughError
        try:
            held = trial.scheme.check(trial.event, tuple(key.held for key in keys), tolerance, trial.url)
        except Unverified as error:
            if error.cause in ("mismatch", "stale"):
                self.signatures += len(keys)
            return error.cause, ""
        except BUGS:
            # Keys that cannot be had, or a row of the catalogue that needs more than a secret.
            return "other", ""
        self.signatures += len(keys)
        return "", held.name

    def _clock(self, trial: Trial, key: Tried) -> Mistake:
        for one in units(trial):
            if not self._checked(one.trial, [key], trial.tolerance)[0]:
                return one.mistake
        seconds = self._off(trial, key)
        later = replace(trial.event, received_at=trial.event.received_at + timedelta(seconds=seconds))
        ahead = bool(seconds) and not self._checked(replace(trial, event=later), [key], 1)[0]
        off = f"{seconds:,} seconds {'after' if ahead else 'before'}" if seconds else "too far from"
        text = f"The signature is right, but its time is {off} the one at which it was received"
        text += f"; up to {trial.tolerance} are tolerated." if trial.tolerance else "."
        fix = "Set the clocks of both machines (NTP)."
        if not ahead:
            fix += (
                " Or it waited on its way, or was sent again as it was: tolerance= may be raised. "
                "Of a saved request say when it was received."
            )
        return Mistake("clock", text, fix)

    def _off(self, trial: Trial, key: Tried) -> int:
        """Give by how many seconds a request's time is off; 0 if that cannot be told."""
        low, high = trial.tolerance or 0, _LONGEST
        if self._checked(trial, [key], high)[0]:
            return 0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._checked(trial, [key], middle)[0] else (low, middle)
        return high


def _of_key(key: Tried) -> Mistake | None:
    """Give what is wrong with how a key is read; of several it says which."""
    if key.mistake is None or not key.candidate.name:
        return key.mistake
    return replace(key.mistake, text=f"{key.mistake.text} It is the route's key {key.candidate.name}.")


def _remains(check: Check, event: Event, refusal: Unverified) -> Iterator[str]:
    """Say what could not be tried."""
    if (found := other_hash(check.scheme, event)) is not None and isinstance(check.scheme, Signature):
        yield (
            f"Why the header {found[0]} begins with {found[1]}=: the sender signs with another hash than "
            f"{check.scheme.algorithm.title}, which is expected."
        )
    if refusal.cause == "missing" and found is not None:
        yield "Whether a proxy or gateway drops the header that is expected."
    elif refusal.cause == "missing":
        yield (
            "Whether the sender signs at all: without a secret many send no signature. And whether a proxy or gateway "
            "drops the header."
        )
        return
    if refusal.cause == "unknown":
        yield "Why the function that looks the secret up knows none for this request."
    pairs = isinstance(check.scheme, Signature) and check.scheme.algorithm.pairs
    what = "public key" if pairs else "token" if check.scheme.reveals_secret else "secret"
    yield (
        f"Whether the {what} is the one of this very webhook, and of this environment: test and live mode, and each "
        "endpoint, mostly have their own."
    )
    if not check.scheme.reveals_secret:
        yield (
            "Whether the body is the one that was sent, byte for byte: what loses something, such as a number's zeros "
            "or a field, cannot be undone. Logs and viewers show bodies otherwise than they are."
        )
    if check.scheme.signs_url:
        yield "Whether the URL that the sender was given is another one altogether: try it with --public-url."
    coding = event.headers.get("content-encoding", "")
    if coding and coding != "identity":
        yield f"Its header says Content-Encoding: {coding}; who signs what was compressed needs it as it came."
