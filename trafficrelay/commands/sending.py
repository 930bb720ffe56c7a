"""Making the requests that are sent to a relay: of a file, signed with the secret of the route that they are for."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

from .. import __version__
from ..app import find_route
from ..body import read_query
from ..brought import name_of
from ..delivery.destination import OURS
from ..errors import CannotSign, DeclarationError, RelayError, Unverified
from ..event import Event, Headers, now
from ..failures import BUGS, place
from ..relay import Relay
from ..route import Route
from ..saved_request import SavedRequest, saved_request
from ..signing import added, comes_unsigned, sign, signer_for, url_of
from ..standalone.banner import sample_path
from ..target import Unsaid
from ..verify.body_fields import is_form, read_field, with_field
from ..verify.checking import Check
from ..verify.message import Outgoing
from .bodies import content_type_of, read_file
from .connecting import bind, outbox_of
from .describing import verifier
from .matching import match
from .reading import read_target

HIDDEN: Final = "YOUR-SECRET"
"""What stands for a secret that is sent as it is."""

_PATH: Final = "/~!$&'()*+,;=:@%"
"""What stands as it is in a path; what is encoded already stays so."""

_ON_THE_WAY: Final = OURS | {"accept-encoding", "keep-alive", "proxy-connection", "forwarded", "via", "x-real-ip"}
"""Headers of a saved request that belong to the way that it took, and not to what was sent."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # the same, 5.5

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Base:
    """Where a relay is.

    Attributes:
        scheme: `"http"` or `"https"`.
        host: the host, an IPv6 address without brackets.
        port: its port; `None` for the usual one.
        prefix: the path that it is mounted at, without a slash at its end.
    """

    scheme: str
    host: str
    port: int | None
    prefix: str

    def __str__(self) -> str:
        """Give it without the path, as the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{'' if self.port is None else f':{self.port}'}"


@dataclass(frozen=True, slots=True)
class Planned:
    """What is sent, and where.

    Attributes:
        route: the route that it is for.
        base: where the relay is.
        target: how the relay was named.
        event: the request, before it is signed.
        signer: what signs it; `None` for nobody.
        signed: in words, how it is signed.
        at: when; `None` for the time at which each is made.
        message_id: the id that was given.
    """

    route: Route
    base: Base
    target: str
    event: Event
    signer: Any
    signed: str
    at: datetime | None
    message_id: str

    def request(self, number: int = 1, count: int = 1, *, hidden: bool = False) -> Outgoing:
        """Give one of the requests, signed.

        Args:
            number: which one, from 1.
            count: of how many.
            hidden: whether `HIDDEN` stands for the secret where the secret itself is what is sent.

        Raises:
            DeclarationError: it cannot be signed.
        """
        made = f"msg_{os.urandom(12).hex()}"
        id_ = (f"{self.message_id}-{number}" if count > 1 else self.message_id) if self.message_id else made
        message = Outgoing(self.event.body, self.event.url, self.event.method, self.event.headers)
        message = self._with_id(message, id_, number, new=bool(self.message_id) or count > 1)
        if self.signer is None:
            return message
        reveals = hidden and getattr(self.signer, "reveals_secret", False)
        signer = self.signer.with_secret(HIDDEN) if reveals and isinstance(self.signer, Check) else self.signer
        try:
            # What a signer of the user's own prints must not end up in the JSON.
            with contextlib.redirect_stdout(sys.stderr):
                done = sign(signer, message, self.at or now(), message_id=id_, url=url_of(signer, self._seen(message)))
        except CannotSign as error:
            raise DeclarationError(_why(self.route, error)) from error
        except DeclarationError:
            raise
        except BUGS as error:
            # Without its words, which may hold the secret.
            raise DeclarationError(
                f"The verifier of {self.route.rule} fails to sign: {type(error).__name__} ({place(error)})."
            ) from None
        if reveals and signer is self.signer:
            return done.adding(dict.fromkeys(added(message.headers, done), HIDDEN))
        return done

    def _seen(self, message: Outgoing) -> Event:
        return replace(self.event, headers=message.headers, body=message.body)

    def _with_id(self, message: Outgoing, id_: str, number: int, *, new: bool) -> Outgoing:
        """Put the event's id where the route looks for it."""
        kind, _, name = _place_of_id(self.route).partition(":")
        if kind == "header" and (new or name not in message.headers):
            return message.adding({name: id_})
        if kind != "data" or not new or is_form(message):
            return message
        try:
            before = read_field(message, name)
            if isinstance(before, int) and not isinstance(before, bool):
                return with_field(message, name, int(id_) if id_.isdecimal() else before + number - 1)
            return with_field(message, name, id_) if isinstance(before, str) else message
        except (Unverified, ValueError):
            return message  # it has no such field


def plan(options: argparse.Namespace) -> Planned:
    """Make ready what is to be sent.

    Args:
        options: those of `trafficrelay send`.

    Raises:
        TargetError, DeclarationError: there is no such relay, route, file or secret, or it cannot be signed.
    """
    base = read_base(options.url)
    relay = read_target(options.target)
    raw = read_file(options.file)
    saved = saved_request(raw)
    method = (options.method or (saved.method if saved else "")).upper()
    route, params = match(relay, options.route, method, saved.path if saved else "", options.target)
    path, query = _path_and_query(options.route, route, saved)
    event = Event(
        id=os.urandom(16).hex(),
        route=route.rule,
        received_at=now(),
        method=method or ("POST" if "POST" in route.methods else route.methods[0]),
        params=params,
        query=read_query(query),
        headers=Headers(_headers(options, raw, saved)),
        remote_addr="127.0.0.1",
        body=saved.body if saved else raw,
        url=f"{base}{base.prefix}{path}{query and '?'}{query}",
    )
    signer, words = _signer(options, relay, route, event)
    return Planned(route, base, options.target, event, signer, words, options.at, options.message_id or "")


def _place_of_id(route: Route) -> str:
    """Say where the id is by which a route knows a repeated event, `""` for nowhere that is known here."""
    said = getattr(route.verify, "dedupe", "") if isinstance(route.dedupe, Unsaid) else route.dedupe
    return said if isinstance(said, str) else ""


def _path_and_query(text: str, route: Route, saved: SavedRequest | None) -> tuple[str, str]:
    """Give what is asked for, as it travels: of what was named, and of a rule what was saved or is made up."""
    path, mark, query = text.partition("?")
    if text == route.rule:
        fits = saved is not None and find_route((route,), route.methods[0], saved.path)
        path, mark = (saved.target.partition("?")[0] if saved and fits else sample_path(path)), ""
    if not mark and saved:
        query = saved.query
    return quote(path, safe=_PATH), quote(query, safe=_PATH + "?[]")


def _headers(options: argparse.Namespace, raw: bytes, saved: SavedRequest | None) -> dict[str, str]:
    headers = {
        name: value
        for name, value in (saved.headers if saved else {}).items()
        if name not in _ON_THE_WAY and not name.startswith("x-forwarded-")
    }
    headers |= options.header
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            # Not the value: it may be a credential.
            raise DeclarationError(f"The header {name!r} cannot be sent: its name is a word, and its value one line.")
    body = saved.body if saved else raw
    if options.content_type or (body and "content-type" not in headers):
        headers["content-type"] = options.content_type or content_type_of(options.file, body)
    return {"user-agent": f"trafficrelay/{__version__}"} | headers


def _signer(options: argparse.Namespace, relay: Relay, route: Route, event: Event) -> tuple[Any, str]:
    """Give what signs, `None` for nothing, and say in words how the request is signed.

    Raises:
        DeclarationError: there is no secret for it.
    """
    if options.unsigned:
        return None, "not signed"
    if route.verify is None:
        if options.key:
            raise DeclarationError(f"The route {route.rule} is open to everybody: it has no key {options.key!r}.")
        return None, "not signed: its route is open to everybody"
    # What functions of the user's own print must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            if comes_unsigned(route, event):
                return None, "not signed: it is a challenge"
            brought = _brought(options, relay, route, event) if route.brings else None
            words = f"signed as {verifier(route.verify)}" + (f" with the key {options.key}" if options.key else "")
            return signer_for(route.verify, event, brought, options.key), words
        except CannotSign as error:
            raise DeclarationError(_why(route, error)) from error
        except RelayError:
            raise
        except BUGS as error:
            # Without its words, which may hold a secret.
            raise DeclarationError(
                f"The secret for {route.rule} cannot be looked up: {type(error).__name__} ({place(error)})."
            ) from None


def _brought(options: argparse.Namespace, relay: Relay, route: Route, event: Event) -> bytes | None:
    """Give the secret that a challenge brought, which lies in Redis."""
    bind(relay, options)
    outbox = outbox_of(relay)
    try:
        return outbox.kept_secret(route.rule, name_of(event))
    finally:
        outbox.close()


def _why(route: Route, error: CannotSign) -> str:
    if isinstance(route.verify, Check):
        return f"A request for {route.rule} cannot be signed: {error}. --unsigned sends it as it is."
    return (
        f"The verifier of {route.rule} cannot sign: {error}. Give the headers that it looks for with --header, "
        "and say --unsigned."
    )


def read_base(url: str) -> Base:
    """Read where a relay is.

    Raises:
        DeclarationError: the URL is none of a relay.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    clean = url.isascii() and url.isprintable() and " " not in url and not (parts.query or parts.fragment)
    if parts.scheme not in _PORTS or not host or not clean or parts.username is not None:
        raise DeclarationError(
            "--url is where the relay is, with the path that it is mounted at, such as http://127.0.0.1:8080 or "
            "https://hooks.example/relay."
        )
    usual = port in (None, _PORTS[parts.scheme])
    return Base(parts.scheme, host, None if usual else port, parts.path.rstrip("/"))
