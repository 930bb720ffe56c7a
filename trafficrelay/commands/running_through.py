"""Making an event of a file, and running it through its route."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import Any

from ..body import read_events, read_query
from ..errors import BodyTooLarge, Failed, MethodNotAllowed, Refusal
from ..event import Event, Headers, now
from ..failures import BUGS, place
from ..intake import verify
from ..relay import Relay
from ..route import Route
from ..saved_request import saved_request
from ..verify.handshakes import meet
from .bodies import content_type_of, read_file
from .matching import match
from .reading import read_target
from .trying import Tried, Whole, attempt


def run_through(options: argparse.Namespace) -> Whole:
    """Make an event of the file that was named, run it through its route, and say what came of it.

    Args:
        options: those of `trafficrelay try`.

    Raises:
        TargetError, DeclarationError: there is no such relay, route or file.
    """
    relay = read_target(options.target)
    route, event = _event(options, relay)
    check: Any = route.verify  # what has handshakes is one
    tried: list[Tried] = []
    refusal: Refusal | None = None
    # What a transform prints must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            if len(event.body) > route.limit:
                raise BodyTooLarge(route.limit)
            answered = meet(route.handshakes, event, check, signed=False)
            if options.verify and answered is None:
                _verify(route, event)
            answered = answered or meet(route.handshakes, event, check, signed=True)
            if answered is not None:
                return Whole(route, event, (), verified=options.verify, challenge=answered.title, reply=answered.reply)
            if event.method not in route.methods:
                raise MethodNotAllowed(tuple(sorted(route.methods)))
            events = read_events(
                event, limit=route.limit, content_type=route.reads_as, split=route.split, empty=route.takes_empty
            )
            tried = [attempt(route, one, [relay._module]) for one in events]
        except Refusal as error:
            refusal = error
    return Whole(route, event, tuple(tried), refusal, verified=options.verify)


def _verify(route: Route, event: Event) -> None:
    try:
        verify(route, event)
    except Refusal:
        raise
    except BUGS as error:
        raise Failed(f"The verifier failed: {type(error).__name__}: {error} ({place(error)})") from error


def _event(options: argparse.Namespace, relay: Relay) -> tuple[Route, Event]:
    raw = read_file(options.file)
    saved = saved_request(raw)
    method = (options.method or (saved.method if saved else "")).upper()
    route, params = match(relay, options.route, method, saved.path if saved else "", options.target)
    headers = dict(saved.headers) if saved else {}
    headers |= options.header
    if options.content_type or (not saved and raw and "content-type" not in headers):
        headers["content-type"] = options.content_type or content_type_of(options.file, raw)
    query = options.query
    if query is None:
        query = saved.query if saved else options.route.partition("?")[2]
    return route, Event(
        id=os.urandom(16).hex(),
        route=route.rule,
        received_at=now(),
        method=method or ("POST" if "POST" in route.methods else route.methods[0]),
        params=params,
        query=read_query(query),
        headers=Headers(headers),
        remote_addr="127.0.0.1",
        body=saved.body if saved else raw,
    )
