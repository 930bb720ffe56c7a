"""`trafficrelay try`: what a route would make of a request, step by step; nothing is handed over."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import Any, Final

from ..body import read_events, read_query
from ..errors import BodyTooLarge, DeclarationError, Failed, Refusal
from ..event import Event, Headers, now
from ..failures import place
from ..intake import BUGS, verify
from ..relay import Relay
from ..route import Route
from ..saved_request import saved_request
from .options import add_relay_argument
from .reading import read_target
from .saying import say_json
from .telling import as_json, tell
from .trying import Tried, Whole, attempt

_HELP: Final = """\
Show what a route makes of a request: the data before and after each step, and the jobs that would be handed over.

Nothing is handed over, no Redis is asked, and no sender is verified unless --verify says so. ROUTE is a rule, or a path
that a rule takes. FILE holds a body, or a whole request as it travels: POST /path HTTP/1.1, the header, an empty line,
the body. With - it is read from stdin.

    trafficrelay try shop.hooks:relay /github push.json --header 'X-GitHub-Event: push'
    trafficrelay try relay.toml /hooks/acme request.http --verify --json
    echo '{"total": 7}' | trafficrelay try relay.toml '/hooks/<shop>' -

Exit codes: 0 it would be accepted, with jobs or dropped; 1 it would be refused, or fails; 2 wrong usage or declaration.
"""

_TYPES: Final = {
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".txt": "text/plain",
}


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "try",
        help="show what a route makes of a request, step by step",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_relay_argument(parser)
    parser.add_argument("route", metavar="ROUTE", help="a route's rule, or a path that it takes")
    parser.add_argument("file", metavar="FILE", help="a body or a saved request; - for stdin")
    parser.add_argument(
        "--header", metavar="'NAME: VALUE'", action="append", default=[], type=_header, help="a header; repeatable"
    )
    parser.add_argument("--content-type", metavar="TYPE", help="what the body is; told by the file's name if left out")
    parser.add_argument("--method", help="the request's method; the route's own if left out")
    parser.add_argument("--query", metavar="QUERY", help="the query string, without the question mark")
    parser.add_argument("--verify", action="store_true", help="verify the sender too")
    parser.add_argument("--json", action="store_true", help="say it as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make an event of the file, run it through its route, and show what came of it."""
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
    whole = Whole(route, event, tuple(tried), refusal, verified=options.verify)
    if options.json:
        say_json(as_json(whole))
    else:
        tell(whole)
    return int(not whole.accepted)


def _verify(route: Route, event: Event) -> None:
    try:
        verify(route, event)
    except Refusal:
        raise
    except BUGS as error:
        raise Failed(f"The verifier failed: {type(error).__name__}: {error} ({place(error)})") from error


def _event(options: argparse.Namespace, relay: Relay) -> tuple[Route, Event]:
    # See the package: bottle and redis are behind it.
    from .matching import match

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


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no header; write 'Name: value'")
    return name.strip().lower(), value.strip()
