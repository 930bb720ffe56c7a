"""Verifying a saved request, and saying why that fails."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from ..body import read_query
from ..brought import name_of
from ..errors import DeclarationError, Failed, Refusal, Unverified
from ..event import Event, Headers, now
from ..failures import BUGS, place
from ..intake import verify
from ..mistakes.explain import Explanation, Known, explain
from ..relay import Relay
from ..request_url import request_url
from ..route import Route
from ..saved_request import SavedRequest, saved_request
from ..verify import CATALOGUE, Check
from ..verify.handshakes import check_no_echo, meet
from .bodies import read_file
from .candidates import declared_urls, given_secrets, other_secrets, own_secrets
from .connecting import bind, outbox_of
from .describing import verifier
from .matching import match
from .reading import read_target
from .saying import say, shown

_INDENT: Final = "   "
_KINDS: Final = {
    "secret": ("secret", "secrets"),
    "sender": ("other provider", "other providers"),
    "header": ("change of headers", "changes of headers"),
    "signature": ("spelling of the signature", "spellings of the signature"),
    "time": ("unit of its time", "units of its time"),
    "body": ("change of the body", "changes of the body"),
    "url": ("other URL", "other URLs"),
}


_NO_REASON: Final = ("", "The sender is not verified.")
"""What is said of a verifier that says nothing; see `trafficrelay.intake.verify`."""

_RAISE: Final = (
    'The verifier says no more than that. In place of returning False, have it raise Unverified("why"), of '
    "trafficrelay.errors: that is said here, in the log and to the sender."
)


@dataclass(frozen=True, slots=True)
class Explained:
    """What came of a request.

    Attributes:
        route: its route.
        event: the request, verified or not.
        moment: where the time at which it was received is from.
        refusal: why it was refused; `None` if it was not.
        challenge: the challenge that it is, which the route answers itself; `""` of any other request.
        explanation: the mistakes; `None` where there is no refusal, or nothing to try.
        secrets: how many secrets were tried.
        hint: what would have told more, of a verifier of the user's own; `""` for nothing.
    """

    route: Route
    event: Event
    moment: str
    refusal: Refusal | None = None
    challenge: str = ""
    explanation: Explanation | None = None
    secrets: int = 0
    hint: str = ""

    @property
    def verified(self) -> bool:
        """Whether the route would take it."""
        return self.refusal is None


def explained(options: argparse.Namespace) -> Explained:
    """Verify the request that was named, and find out why that fails.

    Args:
        options: those of `trafficrelay verify --explain`.

    Raises:
        TargetError, DeclarationError: there is no such relay, route, file or secret.
    """
    relay = read_target(options.target)
    saved = _read_request(options.explain[1])
    route, params = match(relay, options.explain[0], saved.method, saved.path, options.target)
    if route.verify is None:
        raise DeclarationError(f"{route.rule} is open to everybody (verify=None): it verifies nothing.")
    moment, received_at = _received_at(options.at, saved)
    event = Event(
        id=os.urandom(16).hex(),
        route=route.rule,
        received_at=received_at,
        method=saved.method,
        params=params,
        query=read_query(saved.query),
        headers=Headers(saved.headers),
        remote_addr="",
        body=saved.body,
        url=_url(saved, forwarded=relay.door.trusts_proxies),
    )
    given = list(given_secrets(options))
    # What a verifier of the user's own prints must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        check = _check(route, event, relay, options)
        try:
            event, challenge = _verified(route, event, check)
        except Refusal as refusal:
            found = Explained(route, event, moment, refusal)
            if not isinstance(refusal, Unverified):
                return found
            if not isinstance(check, Check):
                return replace(found, hint=_RAISE if refusal.detail in _NO_REASON else "")
            if _is_challenge(route, event, check):
                return found
            known = Known(
                secrets=[*own_secrets(check, event), *given, *other_secrets(route, check, relay)],
                urls=[*options.public_url, *declared_urls(relay)],
                forwarded=_url(saved, forwarded=True),
                catalogue=CATALOGUE,
            )
            explanation = explain(check, event, refusal, known)
            return replace(found, explanation=explanation, secrets=len(known.secrets))
    return Explained(route, event, moment, challenge=challenge)


def _verified(route: Route, event: Event, check: Any) -> tuple[Event, str]:
    """Verify as the route does; give the event, and which challenge it is.

    Raises:
        Refusal: the route would refuse it, or its verifier fails.
    """
    try:
        if (answered := meet(route.handshakes, event, check, signed=False)) is not None:
            return event, answered.title
        event = verify(route, event, getattr(check, "check", None))
        check_no_echo(route.handshakes, event)
        answered = meet(route.handshakes, event, check, signed=True)
    except Refusal:
        raise
    except BUGS as error:
        raise Failed(f"The verifier failed: {type(error).__name__}: {error} ({place(error)})") from error
    return event, answered.title if answered is not None else ""


def _is_challenge(route: Route, event: Event, check: Check) -> bool:
    """Whether what is refused is a challenge that comes unsigned: then it lacks no signature."""
    try:
        return meet(route.handshakes, event, check, signed=False) is not None
    except Refusal:
        return True


def _check(route: Route, event: Event, relay: Relay, options: argparse.Namespace) -> Any:
    """Give the route's verifier; one whose secret is in Redis with that.

    Raises:
        DeclarationError: no secret was brought yet, or the relay has no Redis.
    """
    check: Any = route.verify
    if not route.brings:
        return check
    bind(relay, options)
    outbox = outbox_of(relay)
    try:
        secret = outbox.kept_secret(route.rule, name_of(event))
    finally:
        outbox.close()
    return check if secret is None else check.with_secret(secret)


def _read_request(file: str) -> SavedRequest:
    """Read the request that was saved.

    Raises:
        DeclarationError: it cannot be read, or is none.
    """
    saved = saved_request(read_file(file))
    if saved is None:
        raise DeclarationError(
            f"The file {file} does not begin as a request does, with a line such as POST /github HTTP/1.1. A body "
            "alone says nothing of its sender; docs/verifying.md says how to save a request."
        )
    return saved


def _received_at(at: datetime | None, saved: SavedRequest) -> tuple[str, datetime]:
    if at is not None:
        return "as --at says", at
    try:
        moment = parsedate_to_datetime(saved.headers.get("date", ""))
    except ValueError:
        return "now, since it has no header Date; --at says when it was", now()
    return "as its header Date says", moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _url(saved: SavedRequest, *, forwarded: bool) -> str:
    """Give the URL as the relay would see it behind a proxy that speaks plain HTTP with it, as they do."""
    target = urlsplit(saved.target)
    line = f"{target.path or '/'}{f'?{target.query}' if target.query else ''}"
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in saved.headers.items()}
    environ |= {"REQUEST_URI": line, "wsgi.url_scheme": target.scheme or "http"}
    if target.netloc:
        environ["HTTP_HOST"] = target.netloc
    return request_url(environ, forwarded=forwarded)


def as_json(found: Explained) -> dict[str, Any]:
    """Give all of it as JSON can say it."""
    refusal, explanation = found.refusal, found.explanation
    return {
        "route": found.route.rule,
        "method": found.event.method,
        "verify": verifier(found.route.verify),
        "received_at": found.event.received_at.isoformat(),
        "verified": found.verified,
        "key": found.event.verified_by or None,
        "challenge": found.challenge or None,
        "refusal": refusal
        and {
            "status": refusal.status,
            "cause": getattr(refusal, "cause", None),
            "why": refusal.detail or refusal.title,
        },
        "mistakes": [{"name": one.name, "text": one.text, "fix": one.fix} for one in explanation.mistakes]
        if explanation
        else [],
        "looks_like": [one.name for one in explanation.looks_like] if explanation else [],
        "tried": _tried(found, explanation) if explanation else {},
        "remains": list(explanation.remains) if explanation else [found.hint] if found.hint else [],
    }


def tell(found: Explained) -> None:
    """Write it to stdout."""
    event, refusal = found.event, found.refusal
    who = verifier(found.route.verify)
    head = f"{event.method} {found.route.rule}"
    when = f"received at {event.received_at:%Y-%m-%d %H:%M:%S UTC}, {found.moment}"
    if refusal is None:
        by = f" (by key {event.verified_by})" if event.verified_by else ""
        what = f"a challenge, which the route answers ({found.challenge})" if found.challenge else f"verified{by}"
        say(f"{head}: {what}: {who}, {when}")
        return
    cause = getattr(refusal, "cause", "")
    say(f"{head}: not verified: {who}, {when}")
    _line(f"{refusal.status}: {refusal.detail or refusal.title}{f' ({cause})' if cause else ''}")
    if found.hint:
        _line(found.hint)
    if found.explanation is not None:
        _tell(found, found.explanation)


def _tell(found: Explained, explanation: Explanation) -> None:
    for mistake in explanation.mistakes:
        say(shown(mistake.text, most=None))
        _line(mistake.fix)
    if explanation.looks_like and not any(one.name == "other-sender" for one in explanation.mistakes):
        names = ", ".join(f"{one.title} (verify={one.name})" for one in explanation.looks_like)
        say(f"By its headers the request looks like one of {names}.")
    if explanation.mistakes:
        return
    # Where there is no signature, none was tried.
    say("No likely mistake fits. What remains:" if explanation.signatures else "What to look at:")
    for remains in explanation.remains:
        _line(remains)
    if not explanation.whole:
        _line("More of the same: no more signatures are made for one request. Give fewer secrets.")
    if explanation.signatures:
        tried = [f"{number:,} {_KINDS[kind][number != 1]}" for kind, number in _tried(found, explanation).items()]
        say(f"Tried: {', '.join(tried)}, alone and in pairs.")


def _tried(found: Explained, explanation: Explanation) -> dict[str, int]:
    return {"secret": found.secrets, **{str(kind): number for kind, number in explanation.tried.items()}}


def _line(text: str) -> None:
    say(f"{_INDENT}{shown(text, most=None)}")
