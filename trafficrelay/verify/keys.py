"""Keys that providers publish: kept once they are had, asked for seldom, and never on a stranger's word."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from ..errors import DeclarationError, Unavailable
from .verified import mismatch

log = logging.getLogger("trafficrelay")

Read: TypeAlias = Callable[[bytes], Any]
"""Makes a key of what its provider publishes, or raises a `ValueError`."""

ONLY_THE_PROVIDER: Final = (
    "only the provider can sign: its private key is its own. Declare the route in Python (a relay.toml cannot say "
    "this) with keys=GivenKeys(…) and a private key in PEM to send it requests"
)

_LONGEST_WAIT: Final = 30.0
"""Seconds for which a thread waits for another one's fetch, which has bounds of its own; but a resolver has none."""


class NoSuchKey(Exception):
    """The provider says that there is no such key."""


class NotHad(Exception):
    """The provider did not say; the text says why, for a log."""


class Source(Protocol):
    """Where keys are published."""

    def fetch(self, name: str, secrets: Sequence[bytes]) -> bytes:
        """Ask for a key.

        Args:
            name: its name or URL, which the caller has checked: it may be a stranger's.
            secrets: what proves to the provider who asks, where it wants that.

        Raises:
            NoSuchKey: the provider says that there is none.
            NotHad: it did not answer, or with something else.
        """


class Keys(Protocol):
    """The keys of a provider, by their names."""

    def get(self, name: str, secrets: Sequence[bytes] = ()) -> Any:
        """Give a key.

        Raises:
            Unverified: there is none of this name.
            Unavailable: it cannot be had now.
        """

    def proved(self, name: str) -> None:
        """Note that a key has verified a request: it is one to keep."""

    def signing(self) -> tuple[str, Any]:
        """Give the name of a key that can sign, and the key.

        Raises:
            LookupError: only the provider can sign.
        """


@dataclass(frozen=True, slots=True)
class Urls:
    """The URLs that name a provider's keys.

    Attributes:
        pin: what each looks like, all of it.
        example: one that does.
    """

    pin: re.Pattern[str]
    example: str


@dataclass(frozen=True, slots=True)
class GivenKeys:
    """Keys that need not be fetched, for tests.

        aws_sns(secret="arn:aws:sns:…", keys=GivenKeys({"https://sns.…/SimpleNotificationService-….pem": pem}))

    Attributes:
        documents: by the name or URL that requests say, what the provider would answer; or a key in PEM. A private one
            signs, too.
    """

    documents: Mapping[str, str | bytes | Mapping[str, Any]] = field(repr=False)

    def read(self, owner: str, read: Read, urls: Urls | None = None) -> Keys:
        """Make keys of them.

        Raises:
            DeclarationError: one is none, or has a name that no request could say.
        """
        found: dict[str, Any] = {}
        for name, document in self.documents.items():
            if urls is not None and not (isinstance(name, str) and urls.pin.fullmatch(name)):
                raise DeclarationError(
                    f"{owner}: keys has {name!r}, which is no URL of this provider's certificates, such as "
                    f"{urls.example}",
                    option="verify",
                )
            try:
                found[name] = read(_as_bytes(document))
            except (ValueError, TypeError) as error:
                raise DeclarationError(f"{owner}: the key given as {name} is none: {error}.", option="verify") from None
        return _Read(found)


def _as_bytes(document: Any) -> bytes:
    if isinstance(document, bytes):
        return document
    return document.encode() if isinstance(document, str) else msgspec.json.encode(document)


@dataclass(frozen=True, slots=True)
class _Read:
    found: Mapping[str, Any] = field(repr=False)

    def get(self, name: str, secrets: Sequence[bytes] = ()) -> Any:
        if name not in self.found:
            raise mismatch()
        return self.found[name]

    def proved(self, name: str) -> None:
        pass

    def signing(self) -> tuple[str, Any]:
        for name, key in self.found.items():
            if key.pair.private is not None:
                return name, key
        raise LookupError(ONLY_THE_PROVIDER)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long and how often, in seconds.

    Attributes:
        fresh: for how long a key is used without asking again.
        stale: for how long it is used if asking again fails.
        missing: for how long it is believed that there is no such key.
        away: for how long nothing is asked about a key after it could not be had.
        rate: how many keys that are not known may be asked for in `per` seconds. Whoever sends a request names the key,
            so without it anybody could have us send the provider as many requests as he sends us.
        per: see `rate`.
        most: how many keys are kept, and how many names for which there is none.
    """

    fresh: float = 3_600
    stale: float = 24 * 3_600
    missing: float = 300
    away: float = 30
    rate: int = 10
    per: float = 60
    most: int = 64


@dataclass(slots=True)
class _Kept:
    key: Any
    again: float  # when to ask again
    ends: float  # when it is too old to be used
    proven: bool = False


@dataclass(frozen=True, slots=True)
class _Refused:
    until: float
    missing: bool


class FetchedKeys:
    """Keys that are fetched when a request names them. For many threads at once; each verifier has its own.

    A key that has verified a request is known: no other pushes it out, and no rate keeps it from being asked for again.

    Args:
        owner: the verifier's name, for the log.
        source: where they are published.
        read: makes a key of what is published.
        bounds: how long and how often.
        clock: gives seconds.
    """

    def __init__(
        self,
        owner: str,
        source: Source,
        read: Read,
        *,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner = owner
        self._source = source
        self._read = read
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # the least recently used first
        self._refused: OrderedDict[str, _Refused] = OrderedDict()  # the oldest first
        self._asking: dict[str, threading.Event] = {}
        self._asked: deque[float] = deque()  # when, for keys that were not known
        self._warned = -math.inf  # until when it has been said that they are too many

    def __repr__(self) -> str:
        return f"<keys of {self._owner}>"

    def get(self, name: str, secrets: Sequence[bytes] = ()) -> Any:
        """See `Keys`. One thread asks for a key, others that need it wait for it."""
        while True:
            with self._lock:
                kept = self._usable(name)
                if kept is not None:
                    return kept.key
                asking = self._asking.get(name)
                if asking is None:
                    if name not in self._kept:
                        self._count(self._clock())
                    mine = self._asking[name] = threading.Event()
            if asking is None:
                break
            if not asking.wait(_LONGEST_WAIT):
                raise _away(self._bounds.away)
        try:
            self._ask(name, secrets)
        finally:
            with self._lock:
                del self._asking[name]
            mine.set()
        with self._lock:
            return self._answer(name).key

    def proved(self, name: str) -> None:
        """See `Keys`."""
        with self._lock:
            if name in self._kept:
                self._kept[name].proven = True

    def signing(self) -> tuple[str, Any]:
        """See `Keys`: a provider publishes none that signs."""
        raise LookupError(ONLY_THE_PROVIDER)

    def _usable(self, name: str) -> _Kept | None:
        """Give what is kept; `None` where it has to be asked for."""
        now = self._clock()
        kept = self._kept.get(name)
        if kept is None:
            refused = self._refused.get(name)
            if refused is not None and now < refused.until:
                raise mismatch() if refused.missing else _away(refused.until - now)
            return None
        self._kept.move_to_end(name)
        if now < kept.ends and (now < kept.again or name in self._asking):
            return kept  # another thread is asking, and this one need not wait
        if now < kept.again:
            raise _away(kept.again - now)
        return None

    def _answer(self, name: str) -> _Kept:
        """Give what was asked for: the answer may be an old key, if a new one could not be had."""
        kept = self._usable(name)
        # Pushed out by others before it was used, which takes as many keys at once as are kept.
        return kept if kept is not None else _raise(_away(1))

    def _count(self, now: float) -> None:
        while self._asked and self._asked[0] <= now - self._bounds.per:
            self._asked.popleft()
        if len(self._asked) >= self._bounds.rate:
            wait = self._asked[0] + self._bounds.per - now
            if now >= self._warned:
                self._warned = now + wait
                log.warning("%s: requests name too many unknown keys; none is fetched for %.0f s", self._owner, wait)
            raise _away(wait)
        self._asked.append(now)

    def _ask(self, name: str, secrets: Sequence[bytes]) -> None:
        """Ask the provider, and note what it says."""
        try:
            key = self._read(self._source.fetch(name, secrets))
        except NoSuchKey:
            log.warning("%s: the provider knows no key %s, which a request names", self._owner, name)
            with self._lock:
                self._kept.pop(name, None)
                self._refuse(name, _Refused(self._clock() + self._bounds.missing, missing=True))
        except (NotHad, ValueError) as error:
            # A ValueError's words are ours: what was answered is not in them.
            log.warning("%s: the key %s cannot be had: %s", self._owner, name, error)
            self._put_off(name)
        else:
            self._keep(name, key)

    def _keep(self, name: str, key: Any) -> None:
        with self._lock:
            now = self._clock()
            before = self._kept.get(name)
            proven = before is not None and before.proven
            self._kept[name] = _Kept(key, now + self._bounds.fresh, now + self._bounds.stale, proven)
            self._kept.move_to_end(name)
            self._refused.pop(name, None)
            if len(self._kept) > self._bounds.most:
                others = [other for other in self._kept if other != name]
                del self._kept[next((other for other in others if not self._kept[other].proven), others[0])]

    def _put_off(self, name: str) -> None:
        with self._lock:
            until = self._clock() + self._bounds.away
            if name in self._kept:
                self._kept[name].again = until
            else:
                self._refuse(name, _Refused(until, missing=False))

    def _refuse(self, name: str, refused: _Refused) -> None:
        self._refused[name] = refused
        self._refused.move_to_end(name)
        if len(self._refused) > self._bounds.most:
            self._refused.popitem(last=False)


def _away(seconds: float) -> Unavailable:
    return Unavailable(
        "The keys that this sender signs with cannot be had now.",
        retry_after=max(1, math.ceil(seconds)),
        cause="keys",
    )


def _raise(error: Exception) -> Any:
    raise error


def use(
    owner: str, given: GivenKeys | None, read: Read, source: Callable[[], Source], urls: Urls | None = None
) -> Keys:
    """Give the keys of one verifier: those that the user gave, or a cache of its own of what is fetched.

    Args:
        owner: the verifier's name.
        given: those that the user gave.
        read: makes a key of what is published.
        source: gives where they are published.
        urls: what their names look like, where those are URLs.

    Raises:
        DeclarationError: what was given are no keys, or what is needed is not installed.
    """
    _check_installed(owner)
    if given is None:
        return FetchedKeys(owner, source(), read)
    if not isinstance(given, GivenKeys):
        raise DeclarationError(f"{owner}: keys takes GivenKeys(…), not {type(given).__name__}.", option="verify")
    return given.read(owner, read, urls)


def needed(keys: Keys | None) -> Keys:
    """Give the keys of a verifier; a row of the catalogue has none.

    Raises:
        LookupError: it is a row.
    """
    if keys is None:
        raise LookupError("this is a row of the catalogue: call it with a secret")
    return keys


def _check_installed(owner: str) -> None:
    try:
        # An extra, which those with key pairs need alone.
        import cryptography  # noqa: F401
    except ModuleNotFoundError as error:
        raise DeclarationError(
            f"{owner} signs with a key pair, which needs cryptography: pip install 'trafficrelay[verify]'.",
            option="verify",
        ) from error
