"""The verifier that a provider's function gives: its scheme, with the user's secrets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from ..errors import DeclarationError
from ..event import Event
from ..event import now as current_time
from .message import Outgoing
from .secrets import Secrets, as_brought
from .signature import Scheme
from .verified import ONLY, Verified, malformed, mismatch

if TYPE_CHECKING:
    from ..reply import Reply
    from .handshakes import Handshake

PublicUrl: TypeAlias = str | Callable[[Event], str]
"""The URL that a provider was given, where it signs that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a sender beside how it signs.

    Attributes:
        dedupe: where the event's id is, as a route's `dedupe=` says it: the same when it sends an event again. `""`
            where there is none.
        retries: whether it sends again, for an hour at least, what got no 2xx; `None` if it does so for less long, not
            for all that it sends, or if that is not known.
        reply: the answer that it wants, in place of 202; `None` where any 2xx will do.
        content_type: what its bodies are, where it says something else of them; `""` for what it says.
        empty: whether it sends no body although it has a type for it.
        bare: whether it wants no body with a refusal either.
        handshakes: the challenges that it sends before or between events.
    """

    dedupe: str = ""
    retries: bool | None = None
    reply: Reply | None = None
    content_type: str = ""
    empty: bool = False
    bare: bool = False
    handshakes: tuple[Handshake, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Check:
    """A verifier. Made by the functions of `trafficrelay.verify`.

    Attributes:
        name: the function's name.
        scheme: how the sender signs.
        secrets: the user's.
        facts: what is known of the sender.
        tolerance: seconds by which a request's time may be off; `None` where it has none.
        public_url: the URL that the provider was given, where it signs that.
        more: other secrets that the provider knows, by their names: Meta's `verify_token`.
    """

    name: str
    scheme: Scheme
    secrets: Secrets
    facts: Facts = field(default_factory=Facts)
    tolerance: int | None = None
    public_url: PublicUrl | None = None
    more: dict[str, Secrets] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        return f"<{self.name} verifier>"

    def __call__(self, event: Event) -> bool:
        """Tell whether the sender is who they should be; never gives `False`.

        Raises:
            Unverified: they are not.
        """
        self.check(event)
        return True

    def check(self, event: Event) -> Verified:
        """Tell which of the secrets matches.

        Raises:
            Unverified: none does.
        """
        url = self.url_of(event)
        if not event.url and self.scheme.signs_url and not urlsplit(url).path:
            # Else what was signed as the URL could stand at the beginning of the body.
            raise malformed("The URL that the request was sent to is not known.")
        held = self.scheme.check(event, self.secrets.of(event), self.tolerance, url)
        return Verified(held.name) if held.name else ONLY

    def sign(
        self,
        body: bytes,
        now: datetime | None = None,
        *,
        message_id: str = "",
        url: str = "",
        method: str = "POST",
    ) -> dict[str, str]:
        """Give the headers that a sender would send with `body` at a time, now unless given.

        Args:
            body: the raw body.
            now: when it is sent.
            message_id: the message's id, which stays the same when it is sent again; made up where left out.
            url: where it is sent, for those who sign that.
            method: how it is sent.

        Raises:
            LookupError: the secrets depend on the event, or only the provider can sign.
        """
        signed = self.signed(Outgoing(body, url, method), now, message_id=message_id)
        if signed.body != body:
            raise LookupError(f"{self.name} puts its signature into the body; signed() gives all of the request")
        return {signed.written.get(name, name): value for name, value in signed.headers.items()}

    def signed(self, message: Outgoing, now: datetime | None = None, *, message_id: str = "") -> Outgoing:
        """Give a whole request as its sender would send it.

        Raises:
            LookupError: the secrets depend on the event, or only the provider can sign.
        """
        return self.scheme.sign(message, self.secrets.first(), now or current_time(), message_id)

    def with_secret(self, secret: Any) -> Check:
        """Give the same verifier with another secret, as the provider's function takes it."""
        return replace(self, secrets=replace(self.secrets, given=secret))

    def url_of(self, event: Event) -> str:
        """Give the URL that is signed: the public one, or the one that the request seems to have been sent to.

        Of a public URL that is an origin alone, such as `https://hooks.example`, the rest is the request's. The query
        is the request's too, unless the public URL has another: providers add to the one that they were given.

        Raises:
            Unverified: the user's function knows none for this event.
        """
        if self.public_url is None:
            return event.url
        public = self._public_url(event)
        here, parts = urlsplit(event.url), urlsplit(public)
        if not parts.path and not parts.query:
            public += here.path
        if not here.query.startswith(parts.query):
            return public
        return public.partition("?")[0] + (f"?{here.query}" if here.query else "")

    def _public_url(self, event: Event) -> str:
        try:
            public = self.public_url(event) if callable(self.public_url) else self.public_url
        except LookupError:
            public = None
        if not isinstance(public, str) or not _is_url(public):
            # Not told apart from a wrong signature, which would say what tenants there are.
            raise mismatch(known=False)
        return public

    # What a route asks of its verifier.

    @property
    def secret_headers(self) -> frozenset[str]:
        """The headers that must not be stored."""
        brought = [getattr(handshake, "header", "") for handshake in self.handshakes]
        return self.scheme.secret_headers | {header.lower() for header in brought if header}

    @property
    def reveals_secret(self) -> bool:
        """Whether what `sign` gives is the secret itself."""
        return self.scheme.reveals_secret

    @property
    def sender_retries(self) -> bool | None:
        """Whether the sender tries again what got no 2xx."""
        return self.facts.retries

    @property
    def signs_url(self) -> bool:
        """Whether an event needs its URL to be verified."""
        return self.scheme.signs_url

    @property
    def dedupe(self) -> str:
        """Where the sender's id of an event is, as `dedupe=` says it."""
        return self.facts.dedupe

    @property
    def reply(self) -> Reply | None:
        """The answer that the sender wants."""
        return self.facts.reply

    @property
    def content_type(self) -> str:
        """What its bodies are read as, as `content_type=` says it."""
        return self.facts.content_type

    @property
    def empty(self) -> bool:
        """Whether a body may be empty although it has a type."""
        return self.facts.empty

    @property
    def bare(self) -> bool:
        """Whether refusals have no body."""
        return self.facts.bare

    @property
    def handshakes(self) -> tuple[Handshake, ...]:
        """The challenges that the sender sends."""
        return self.facts.handshakes

    @property
    def brought(self) -> bool:
        """Whether its secret is the one that a challenge brought: it is kept in Redis, and not known here."""
        return self.secrets.given is as_brought

    @property
    def blocks(self) -> bool:
        """Whether checking may wait for something: keys that are fetched, a secret that is kept in Redis."""
        return self.brought or getattr(self.scheme, "blocks", False)


def _is_url(url: str) -> bool:
    """Tell whether what a user's function gives can be taken apart and signed."""
    try:
        urlsplit(url)
        url.encode()
    except ValueError:
        return False
    return True


def check_public_url(name: str, url: Any) -> None:
    """Check a `public_url=`.

    Raises:
        DeclarationError: it is no URL.
    """
    if url is None or callable(url):
        return
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is not None and parts.fragment:
        raise DeclarationError(
            f"{name}: leave out what begins with # in public_url: it is never sent, and no part of what is signed.",
            option="verify",
        )
    if parts is None or parts.scheme not in ("http", "https") or not parts.netloc or " " in url:
        # Not the URL: it may hold a token.
        raise DeclarationError(
            f'{name}: public_url is the URL that the provider was given, such as "https://hooks.example/{name}", or a '
            "function of the event that gives it.",
            option="verify",
        )
