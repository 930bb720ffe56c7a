"""`trafficrelay send`: a request, signed as its provider signs it, to a relay that runs."""

from __future__ import annotations

import argparse
from typing import Any, Final

from .options import add_target_options, header, media_type, moment, number_from
from .saying import say_json

_HELP: Final = """\
Send a route what its provider would: sign a request with the route's own secret, send it to the relay that runs, and
show what it answers. So a route is tried without the provider.

ROUTE is a rule, or a path that a rule takes. FILE holds a body, or a whole request as it travels: POST /path HTTP/1.1,
the header, an empty line, the body. With - it is read from stdin. Signatures in it are made anew. What is signed is the
URL that the provider knows (the route's public_url), or else the one that it is sent to. The id by which the route
knows a repeated event stays as it stands in FILE; --message-id and --count give others.

    trafficrelay send shop.hooks:relay /github push.json --header 'X-GitHub-Event: push'
    trafficrelay send relay.toml /hooks/acme request.http --url http://127.0.0.1:9000/relay
    trafficrelay send relay.toml /stripe event.json --dry-run            # what would be sent
    trafficrelay send relay.toml /stripe event.json --at 2026-03-01T12:00:00Z       # which is too old by now
    echo '{"total": 7}' | trafficrelay send relay.toml /orders - --count 100 --json

It is sent nowhere but to --url, and redirects are not followed. Redis is asked only where a challenge brought the
route's secret, which is there.

Exit codes: 0 all were answered 2xx; 1 one was not, or not at all; 2 wrong usage or declaration, or it cannot be signed.
"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "send",
        help="send a route a request that is signed as its provider signs it",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_options(parser)
    parser.add_argument("route", metavar="ROUTE", help="a route's rule, or a path that it takes")
    parser.add_argument("file", metavar="FILE", help="a body or a saved request; - for stdin")
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:8080",
        help="where the relay is, with the path it is mounted at (%(default)s)",
    )
    parser.add_argument(
        "--header", metavar="'NAME: VALUE'", action="append", default=[], type=header, help="a header; repeatable"
    )
    parser.add_argument(
        "--content-type", metavar="TYPE", type=media_type, help="what the body is; told by what is in it if left out"
    )
    parser.add_argument("--method", help="the request's method; the saved one's or the route's own if left out")
    parser.add_argument("--at", metavar="TIME", type=moment, help="when it is signed; now if left out")
    parser.add_argument("--message-id", metavar="ID", type=_id, help="the id that the provider gives the event")
    signing = parser.add_mutually_exclusive_group()
    signing.add_argument(
        "--key", metavar="NAME", default="", help="which of several secrets signs, by its name or number; the first"
    )
    signing.add_argument("--unsigned", action="store_true", help="send it as it is")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--count", metavar="N", type=number_from(1, 100_000), default=1, help="send N of it, each with an id of its own"
    )
    how.add_argument("--dry-run", action="store_true", help="show the request, and send nothing")
    parser.add_argument(
        "--show-secrets", action="store_true", help="show the secret in it too, where that is what is sent (--dry-run)"
    )
    parser.add_argument("--json", action="store_true", help="say it as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Sign the request and send it, or show it."""
    # See the package: all of the relay is behind them.
    from .posting import post
    from .sending import plan
    from .sent import as_json, request_as_json, tell, tell_request

    planned = plan(options)
    if options.dry_run:
        shown = planned.request(hidden=not options.show_secrets)
        if options.json:
            say_json(request_as_json(planned, shown))
        else:
            tell_request(planned, shown)
        return 0
    answers = post(planned, options.count)
    if options.json:
        say_json(as_json(planned, answers))
    else:
        tell(planned, answers)
    return int(not all(answer.accepted for answer in answers))


def _id(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not text or " " in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no id: it is a word of letters, digits and marks")
    return text
