"""`trafficrelay routes`: what a relay takes, and what it becomes."""

from __future__ import annotations

import argparse
from typing import Any, Final

from .options import add_relay_argument
from .saying import say_json
from .tables import Column, show

_HELP: Final = """\
Say what a relay takes and what it becomes: a line for each job of each route, and for each challenge that it answers
by itself. The steps stand in the route's first line, and " in the others. It asks no Redis.

    trafficrelay routes shop.hooks:relay
    trafficrelay routes relay.toml --json | jq '.routes[] | select(.verify == "none") | .rule'
"""

_COLUMNS: Final = (
    Column("route"),
    Column("methods"),
    Column("verify", styles={"none": "yellow"}),
    Column("steps"),
    Column("job"),
    Column("queue"),
    Column("when"),
)


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "routes",
        help="say what a relay takes, and what it becomes",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_relay_argument(parser)
    parser.add_argument("--json", action="store_true", help="say it as one JSON object, with all options")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List the routes."""
    # See the package: all of the relay is behind them.
    from .describing import as_json, rows
    from .reading import read_target

    relay = read_target(options.target)
    if options.json:
        say_json({"routes": [as_json(route) for route in relay.routes]})
    else:
        show(_COLUMNS, [row for route in relay.routes for row in rows(route)])
    return 0
