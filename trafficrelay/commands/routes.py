"""`trafficrelay routes`: what a relay takes, and what it becomes."""

from __future__ import annotations

import argparse
from typing import Any, Final

from ..route import Route
from .describing import as_json, conditions, job, queue, steps, verifier
from .options import add_relay_argument
from .reading import read_target
from .saying import say_json
from .tables import Column, show

_HELP: Final = """\
Say what a relay takes and what it becomes: a line for each job of each route. It asks no Redis.

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
    relay = read_target(options.target)
    if options.json:
        say_json({"routes": [as_json(route) for route in relay.routes]})
    else:
        show(_COLUMNS, [row for route in relay.routes for row in _rows(route)])
    return 0


def _rows(route: Route) -> list[list[str]]:
    # Said again in each line, which grep may see alone. An empty cell would shift the others for awk.
    before = [route.rule, ",".join(route.methods), verifier(route.verify), " | ".join(steps(route)) or "-"]
    told = zip(route.targets, conditions(route), strict=True)
    return [[*before, job(target), queue(target), when] for target, when in told]
