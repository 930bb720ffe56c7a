"""The scheme of most providers: a signature of what they send, or of some of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol

from ..errors import Unverified
from ..event import Event
from .algorithms import Algorithm, Hmac
from .body_fields import read_field, with_field
from .clock import Unit, read_time, write_time
from .content import Content, Make
from .encodings import CODECS, Encoding
from .message import Message, Outgoing, Parts
from .places import Place
from .secrets import Held
from .verified import malformed, mismatch, missing


class Scheme(Protocol):
    """A way to prove who sent a request."""

    @property
    def title(self) -> str:
        """What it is in a few words, for tables."""

    @property
    def secret_headers(self) -> frozenset[str]:
        """The headers that prove it, in lower case: they are stored nowhere."""

    @property
    def reveals_secret(self) -> bool:
        """Whether the secret itself is sent."""

    @property
    def signs_body(self) -> bool:
        """Whether a changed body is noticed."""

    @property
    def signs_url(self) -> bool:
        """Whether it needs the URL that the request was sent to."""

    @property
    def tolerance(self) -> int | None:
        """Seconds by which a request's time may be off; `None` where it has none."""

    def key(self, secret: bytes) -> Any:
        """Make a key of a secret as its provider shows it.

        Raises:
            ValueError: it is none, with a sentence.
        """

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """Give the key that matches.

        Raises:
            Unverified: none does.
        """

    def sign(self, message: Outgoing, key: Any, now: datetime, message_id: str) -> Outgoing:
        """Give a request as its sender would send it.

        Raises:
            LookupError: the key cannot sign.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature.

    Attributes:
        place: where it stands.
        content: what is signed: a template (`Content`), or a function.
        algorithm: how.
        encoding: how it is written.
        time: where the time stands, unless `place` finds it too: `"header:NAME"` or `"data:path"`; `""` for none.
        unit: how it is written.
        tolerance: see `Scheme`.
        message_id: the header with the message's id, which `sign` fills where it is signed.
        any_case: whether the case of hexadecimal digits is all the same.
        covers_body: whether what a function gives as `content` holds all of the body.
        covers_url: whether it holds the URL.
    """

    reveals_secret: ClassVar[bool] = False
    place: Place
    content: Content | Make = field(default_factory=lambda: Content("{body}"))
    algorithm: Algorithm = field(default_factory=Hmac)
    encoding: Encoding = "hex"
    time: str = ""
    unit: Unit = "s"
    tolerance: int | None = None
    message_id: str = ""
    any_case: bool = False
    covers_body: bool = True
    covers_url: bool = False

    @property
    def title(self) -> str:
        """See `Scheme`."""
        if isinstance(self.content, Content):
            return f"{self.algorithm.title} of `{self.content.template}`, {self.encoding}"
        return f"{self.algorithm.title} of {_about(self.content)}, {self.encoding}"

    @property
    def secret_headers(self) -> frozenset[str]:
        """See `Scheme`: whoever has a body's signature can send that body again."""
        return frozenset(name.lower() for name in self.place.headers)

    @property
    def signs_body(self) -> bool:
        """See `Scheme`."""
        return self.content.signs_body if isinstance(self.content, Content) else self.covers_body

    @property
    def signs_url(self) -> bool:
        """See `Scheme`."""
        return self.content.signs_url if isinstance(self.content, Content) else self.covers_url

    def key(self, secret: bytes) -> Any:
        """See `Scheme`."""
        return self.algorithm.key(secret)

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`."""
        signatures, timestamp = self.place.find(event)
        if not event.body and isinstance(self.content, Content) and not self.content.may_be_empty(event.method):
            raise malformed("The body is empty.")
        if self.time:
            timestamp = self._time_of(event)
        sent = read_time(timestamp, self.unit) if self.time or timestamp else None
        content = self.content(Parts(event, url, timestamp))
        codec = CODECS[self.encoding]
        matched: Held | None = None
        for held in keys:
            is_signature = self.algorithm.matcher(held.key, content, codec)
            for given in signatures:
                # With all of them: no early end tells which one was close.
                matches = is_signature(given.lower() if self.any_case else given)
                matched = held if matches and matched is None else matched
        if matched is None:
            raise mismatch(bool(keys))
        # Last: whoever cannot sign learns nothing of our clock.
        if sent is not None and tolerance is not None:
            check_time(sent, event, tolerance)
        return matched

    def _time_of(self, message: Message) -> str:
        kind, _, name = self.time.partition(":")
        if kind == "header":
            value = message.headers.get(name)
            if value is None:
                raise missing(name)
            return value
        found = read_field(message, name)
        if not isinstance(found, str | int) or isinstance(found, bool) or found == "":
            raise malformed(f"The body has no {name}.")
        # A number of more digits than int() would write in a moment is no time.
        return found if isinstance(found, str) else str(found) if 0 <= found < 10**15 else "?"

    def sign(self, message: Outgoing, key: Any, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`."""
        timestamp = write_time(now, self.unit)
        message = self._with_time(message, timestamp)
        if self.time:
            timestamp = self._time_of(message)
        wanted = [*(self.content.headers if isinstance(self.content, Content) else ()), self.message_id]
        for name in wanted:
            if name and name not in message.headers:
                made = "msg_" + hashlib.sha256(message.body + timestamp.encode()).hexdigest()[:24]
                message = message.adding({name: message_id or made})
        content = self.content(Parts(message, message.url, timestamp))
        signature = self.algorithm.sign(key, content, CODECS[self.encoding]).decode("ascii")
        return self.place.put(message, signature, timestamp)

    def _with_time(self, message: Outgoing, timestamp: str) -> Outgoing:
        kind, _, name = self.time.partition(":")
        if kind == "header":
            return message.adding({name: timestamp})
        if kind != "data":
            return message
        as_text = self.unit == "iso" or isinstance(read_field(message, name), str)
        return with_field(message, name, timestamp if as_text else int(timestamp))


def check_time(sent: float, event: Event, tolerance: int) -> None:
    """Check that a request is neither old nor from the future.

    Raises:
        Unverified: it is more than `tolerance` seconds off.
    """
    if abs(event.received_at.timestamp() - sent) > tolerance:
        raise Unverified(f"The timestamp is more than {tolerance} seconds off.", cause="stale")


def _about(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "some of it").partition("\n")[0].removeprefix("Give ").rstrip(".")
