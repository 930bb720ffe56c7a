"""The kinds of challenges, with which the catalogue's rows say those of their providers.

Where something is in a request is said as `"header:NAME"`, `"query:NAME"` or `"data:path"`, of the body as JSON or a
form. What is sent back is bounded, of few characters, and never HTML: most challenges come unsigned, from anybody.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..errors import Malformed, Unverified
from ..event import Event
from ..reply import Reply
from .body_fields import look_up, read_fields
from .encodings import CODECS, Encoding
from .handshakes import Answered
from .secrets import Held
from .verified import mismatch

if TYPE_CHECKING:
    from .checking import Check

DIGITS: Final = re.compile(r"[0-9]{1,64}")
"""Numbers."""

WORD: Final = re.compile(r"[A-Za-z0-9_.~:=+/-]{1,1024}")
"""What tokens are made of: hexadecimal, base64, UUIDs. Neither a space, a brace nor a quote is among it."""

TEXT: Final = re.compile(r"[ !-;=?-~]{1,4096}")
"""Visible ASCII and spaces, without `<` and `>`."""

_SAFELY: Final = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store"))


class _Absent:
    """The type of what is not there."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""In a `when`: that there is no such header or field."""

When: TypeAlias = Mapping[str, Any]
"""By what a challenge is known: the places in a request, and what stands there; `ABSENT` for nothing."""


class Looked:
    """Looks at a request, whose body is read once and only if it has to be."""

    def __init__(self, event: Event) -> None:
        self._event = event
        self._data: Any = ABSENT
        self._is_read = False

    def at(self, place: str) -> Any:
        """Give what is at a place, `ABSENT` where nothing is."""
        kind, _, name = place.partition(":")
        if kind == "header":
            return self._event.headers.get(name, ABSENT)
        if kind == "query":
            return self._event.query.get(name, ABSENT)
        if not self._is_read:
            self._is_read = True
            try:
                self._data = read_fields(self._event)
            except Unverified:
                self._data = ABSENT  # an event may be anything; a challenge is not
        found = look_up(self._data, name)
        return ABSENT if found is None else found

    def holds(self, when: When) -> bool:
        """Tell whether all is as `when` says."""
        if any(not _may_hold(self._event.body, place, wanted) for place, wanted in when.items()):
            return False
        # The body last: to read it costs the most.
        places = sorted(when, key=lambda place: place.startswith("data:"))
        return all(_is(self.at(place), when[place]) for place in places)

    def challenge(self, place: str, characters: re.Pattern[str]) -> str:
        """Give the challenge at a place.

        Raises:
            Malformed: there is none, or it holds what none of this sender's does.
        """
        found = self.at(place)
        if found is ABSENT:
            raise Malformed("The challenge is missing.")
        if not isinstance(found, str) or not characters.fullmatch(found):
            raise Malformed("The challenge is none that this sender would send.")
        return found


def _may_hold(body: bytes, place: str, wanted: Any) -> bool:
    """Tell of a body that is not read yet whether it may have a field; most events are told apart by that alone."""
    kind, _, name = place.partition(":")
    if kind != "data" or wanted is ABSENT:
        return True
    return (wanted if isinstance(wanted, str) else name.rpartition(".")[2]).encode() in body


def _is(found: Any, wanted: Any) -> bool:
    # With the type: in Python 1 is True.
    return type(found) is type(wanted) and bool(found == wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """A challenge that is sent back as it came.

    Attributes:
        title: what its provider calls it.
        challenge: where it is.
        signed: whether the request is verified first.
        method: the method on which it comes.
        when: what else stands in such a request; without that each request with a challenge is one.
        token: where the token is that the user gave the provider as `verify_token=`; `""` for nowhere.
        characters: what it may look like. It has to bound the length.
        json: the field of a JSON answer; `""` for plain text.
    """

    title: str
    challenge: str
    signed: bool
    method: str = "POST"
    when: When = field(default_factory=dict, hash=False)
    token: str = ""
    characters: re.Pattern[str] = field(default=WORD, repr=False)
    json: str = ""

    def answer(self, event: Event, check: Check) -> Answered | None:
        """See `Handshake`."""
        look = Looked(event)
        if not look.holds(self.when) or (not self.when and look.at(self.challenge) is ABSENT):
            return None
        if self.token:
            _check_token(look.at(self.token), event, check)
        challenge = look.challenge(self.challenge, self.characters)
        return Answered(said({self.json: challenge} if self.json else challenge))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """A challenge that is answered with its HMAC, made with the key that events are signed with.

    One that comes unsigned has the relay sign for anybody. So `characters` must not let a body of an event through;
    what it does let through is refused as a body.

    Attributes:
        title: what its provider calls it.
        challenge: where it is.
        signed: whether the request is verified first.
        answers: the JSON answer: its fields, in whose values `{challenge}` and `{hash}` are put in.
        method: the method on which it comes.
        when: what else stands in such a request; without that each request with a challenge is one.
        characters: what it may look like. It has to bound the length.
        digest: the hash's name in hashlib.
        encoding: how the hash is written.
    """

    title: str
    challenge: str
    signed: bool
    answers: Mapping[str, str] = field(hash=False)
    method: str = "POST"
    when: When = field(default_factory=dict, hash=False)
    characters: re.Pattern[str] = field(default=WORD, repr=False)
    digest: str = "sha256"
    encoding: Encoding = "hex"

    def answer(self, event: Event, check: Check) -> Answered | None:
        """See `Handshake`."""
        look = Looked(event)
        if not look.holds(self.when) or (not self.when and look.at(self.challenge) is ABSENT):
            return None
        challenge = look.challenge(self.challenge, self.characters)
        keys = check.secrets.of(event)
        # The one that its sender has, where that is known.
        key = next((held.key for held in keys if held.name == event.verified_by), keys[0].key if keys else None)
        if key is None:
            raise mismatch(known=False)
        digest = hmac.digest(key, challenge.encode("ascii"), self.digest)
        parts = {"challenge": challenge, "hash": CODECS[self.encoding].encode(digest).decode("ascii")}
        return Answered(said({name: text.format_map(parts) for name, text in self.answers.items()}))

    def signs(self, body: bytes) -> bool:
        """Tell whether anybody could have had a body's signature of a challenge."""
        return not self.signed and self.characters.fullmatch(body.decode("latin-1").strip()) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """A challenge, or another message that is no event, whose answer is always the same.

    Attributes:
        title: what its provider calls it.
        when: by what it is known.
        signed: whether the request is verified first.
        reply: the answer.
        method: the method on which it comes.
        body: what its whole body looks like; `None` for anything.
    """

    title: str
    signed: bool
    when: When = field(default_factory=dict, hash=False)
    reply: Reply = field(default_factory=Reply, repr=False)
    method: str = "POST"
    body: re.Pattern[bytes] | None = field(default=None, repr=False)

    def answer(self, event: Event, check: Check) -> Answered | None:
        """See `Handshake`."""
        if self.body is not None and not self.body.fullmatch(event.body):
            return None
        return Answered(self.reply) if Looked(event).holds(self.when) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BringsKey:
    """A challenge that brings the secret which later requests are signed with.

    Anybody can send one, so the first that comes is kept and another one refused, until somebody forgets the first.
    Where the user gave a secret, it has to be that.

    Attributes:
        title: what its provider calls it.
        secret: where the secret is.
        when: what else stands in such a request; what tells it apart from events.
        header: the header in which it is sent back; `""` for none.
        method: the method on which it comes.
        characters: what the secret may look like. It has to bound the length.
    """

    title: str
    secret: str
    when: When = field(default_factory=dict, hash=False)
    header: str = ""
    method: str = "POST"
    signed: bool = field(default=False, init=False)
    characters: re.Pattern[str] = field(default=WORD, repr=False)

    def answer(self, event: Event, check: Check) -> Answered | None:
        """See `Handshake`."""
        look = Looked(event)
        if look.at(self.secret) is ABSENT or not look.holds(self.when):
            return None
        secret = look.challenge(self.secret, self.characters)
        reply = Reply(200, {self.header: secret} if self.header else {})
        if check.brought:
            return Answered(reply, keep=secret.encode("ascii"))
        if not is_any(secret.encode("ascii"), check.secrets.of(event)):
            raise Unverified("The secret is another one than was given.", cause="mismatch")
        return Answered(reply)


def said(answer: str | Mapping[str, str]) -> Reply:
    """Give an answer that holds what a sender said: plain text, or JSON."""
    if isinstance(answer, str):
        return Reply(200, (("Content-Type", "text/plain"), *_SAFELY), answer)
    return Reply(200, _SAFELY, dict(answer))


def is_any(given: bytes, known: Iterable[Held]) -> bool:
    """Tell whether a secret is one of those that are known; takes the same time for each."""
    matches = [hmac.compare_digest(held.key, given) for held in known]
    return any(matches)


def _check_token(given: Any, event: Event, check: Check) -> None:
    wanted = check.more.get("verify_token")
    if wanted is None:
        raise Unverified("There is no verify_token that this challenge could be compared with.", cause="unknown")
    if given is ABSENT:
        raise Unverified("The verify token is missing.", cause="missing")
    if not isinstance(given, str):
        raise Unverified("The verify token is none.", cause="malformed")
    if not is_any(given.encode("utf-8", "replace"), wanted.of(event)):
        raise Unverified("The verify token does not match.", cause="mismatch")
