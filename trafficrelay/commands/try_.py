"""`trafficrelay try`: what a route would make of a request, step by step; nothing is handed over."""

from __future__ import annotations

import argparse
from typing import Any, Final

from .options import add_relay_argument, header, media_type
from .saying import say_json

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
        "--header", metavar="'NAME: VALUE'", action="append", default=[], type=header, help="a header; repeatable"
    )
    parser.add_argument(
        "--content-type", metavar="TYPE", type=media_type, help="what the body is; told by the file's name if left out"
    )
    parser.add_argument("--method", help="the request's method; the route's own if left out")
    parser.add_argument("--query", metavar="QUERY", help="the query string, without the question mark")
    parser.add_argument("--verify", action="store_true", help="verify the sender too")
    parser.add_argument("--json", action="store_true", help="say it as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make an event of the file, run it through its route, and show what came of it."""
    # See the package: all of the relay is behind them.
    from .running_through import run_through
    from .telling import as_json, tell

    whole = run_through(options)
    if options.json:
        say_json(as_json(whole))
    else:
        tell(whole)
    return int(not whole.accepted)
