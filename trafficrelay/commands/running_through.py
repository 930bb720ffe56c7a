"""Making an event of a file, and running it through its route."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import Final

from ..body import read_events, read_query
from ..errors import BodyTooLarge, DeclarationError, Failed, Refusal
from ..event import Event, Headers, now
from ..failures import BUGS, place
from ..intake import verify
from ..relay import Relay
from ..route import Route
from ..saved_request import saved_request
from .matching import match
from .reading import read_target
from .trying import Tried, Whole, attempt

_TYPES: Final = {
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".txt": "text/plain",
}


def run_through(options: argparse.Namespace) -> Whole:
    """Make an event of the file that was named, run it through its route, and say what came of it.

    Args:
        options: those of `trafficrelay try`.

    Raises:
        TargetError, DeclarationError: there is no such relay, route or file.
    """
    relay = read_target(options.target)
    route, event = _event(options, relay)
    tried: list[Tried] = []
    refusal: Refusal | None = None
    # What a transform prints must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            if len(event.body) > route.limit:
                raise BodyTooLarge(route.limit)
            if options.verify:
                _verify(route, event)
            events = read_events(event, limit=route.limit, content_type=route.content_type, split=route.split)
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
    raw = _read(options.file)
    saved = saved_request(raw)
    method = (options.method or (saved.method if saved else "")).upper()
    route, params = match(relay, options.route, method, saved.path if saved else "", options.target)
    headers = dict(saved.headers) if saved else {}
    headers |= options.header
    if options.content_type or (not saved and raw and "content-type" not in headers):
        headers["content-type"] = options.content_type or _guessed(options.file, raw)
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


def _read(file: str) -> bytes:
    """Read the file that was named.

    Raises:
        DeclarationError: it cannot be read.
    """
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise DeclarationError(f"The file {file} cannot be read: {error.strerror or type(error).__name__}.") from error


def _guessed(file: str, raw: bytes) -> str:
    known = _TYPES.get(Path(file).suffix.lower())
    if known is not None:
        return known
    # As `curl` leaves it to its user: JSON is by far the most of what is tried.
    return "application/json" if raw.lstrip()[:1] in (b"{", b"[", b'"') else "text/plain"
