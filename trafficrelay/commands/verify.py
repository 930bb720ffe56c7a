"""`trafficrelay verify`: why a request is not verified; and how many were, by which secret, and why others were not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from .options import add_target_options, moment
from .saying import count, say, say_json
from .tables import Column, show

if TYPE_CHECKING:
    from ..outbox.counters import Counter

_HELP: Final = """\
Say which requests each route verified and refused: by which of several secrets, and why not. All processes of the
relay count together, in its Redis. A secret that nobody signs with any more can go: its line stops growing.

With --explain it verifies a saved request as the route would, and where that fails tries the likely mistakes and names
the one that fits: another secret, a body that was changed, a signature written otherwise, a header renamed, a clock
that is off, another URL, another provider. It prints neither a secret nor the signature that was expected, and asks no
Redis unless the route's secret is there. ROUTE is a rule, or a path that a rule takes. FILE holds the whole request as
it travels: POST /path HTTP/1.1, the header, an empty line, the body. With - it is read from stdin.

    trafficrelay verify shop.hooks:relay
    trafficrelay verify shop.hooks:relay --explain /github request.http
    trafficrelay verify relay.toml --explain /stripe request.http --secret-env STRIPE_TEST --at 2026-03-01T12:00:00Z
    trafficrelay verify relay.toml --explain /twilio - --public-url https://hooks.example/twilio --json < request.http

Exit codes of --explain: 0 verified; 1 not; 2 wrong usage or declaration. docs/verifying.md says how to save a request.
"""

_COLUMNS: Final = (
    Column("route"),
    Column("what", styles={"refused": "yellow"}),
    Column("by or why"),
    Column("requests", right=True),
)


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "verify",
        help="say why a request is not verified, and what was counted",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_options(parser)
    parser.add_argument(
        "--explain", metavar=("ROUTE", "FILE"), nargs=2, help="verify a saved request, and say why it fails"
    )
    parser.add_argument(
        "--at", metavar="TIME", type=moment, help="when it was received; as its header Date says, or now, if left out"
    )
    parser.add_argument(
        "--secret-env",
        metavar="NAME",
        action="append",
        default=[],
        help="an environment variable with another secret to try; repeatable",
    )
    parser.add_argument(
        "--secret-file",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="a file with another secret to try; repeatable",
    )
    parser.add_argument(
        "--public-url",
        metavar="URL",
        type=_public_url,
        action="append",
        default=[],
        help="a URL that the sender may have been given, to try; repeatable",
    )
    parser.add_argument("--json", action="store_true", help="say it as one JSON object")
    parser.set_defaults(run=run)


def _public_url(text: str) -> str:
    """Read a URL that a sender may have been given."""
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or " " in text:
        # Not the URL: it may hold a token.
        raise argparse.ArgumentTypeError(
            "it is the URL that the sender was given, or its beginning, such as https://hooks.example"
        )
    return text


def run(options: argparse.Namespace) -> int:
    """Explain a request, or list the counters."""
    # See the package: all of the relay is behind them.
    if options.explain:
        from .explaining import as_json, explained, tell

        found = explained(options)
        if options.json:
            say_json(as_json(found))
        else:
            tell(found)
        return int(not found.verified)
    from .connecting import load, outbox_of

    relay = load(options)
    outbox = outbox_of(relay)
    try:
        counts = outbox.counts()
    finally:
        outbox.close()
    _say(counts, {route.rule for route in relay.routes}, as_json=options.json)
    return 0


def _say(counts: dict[Counter, int], rules: set[str], *, as_json: bool) -> None:
    """Write the counters. Of a Redis that several relays share only those of this one's routes."""
    own = sorted((counter, number) for counter, number in counts.items() if counter.route in rules)
    if as_json:
        say_json({"counts": [{"route": one.route, "what": one.what, "why": one.why, "requests": n} for one, n in own]})
        return
    if not own:
        say("Nothing was counted yet: no request was refused, and none verified by one of several secrets.")
        return
    by_route = sorted(own, key=lambda pair: (pair[0].route, pair[0].what != "verified", pair[0].why))
    show(_COLUMNS, [(one.route, one.what, one.why, f"{number:,}") for one, number in by_route])
    refused = sum(number for one, number in own if one.what == "refused")
    if refused:
        say(f"\n{count(refused, 'request')} refused. --explain ROUTE FILE says why one of them was.")
