"""`trafficrelay deliveries`: the destinations of a relay, and how they are."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from ..errors import DeclarationError
from .options import add_target_options
from .saying import say, say_json
from .tables import Column, show

if TYPE_CHECKING:
    from ..delivery.circuit import Standing
    from ..delivery.destination import Deliver
    from ..relay import Relay

_HELP: Final = """\
Say where a relay delivers to, and how these destinations are.

    closed      deliveries are made
    held        it wants none before a time (Retry-After)
    open        it seems to be down: nothing is sent before a time
    half-open   the next delivery is a probe
    disabled    it has said that it is gone (410): deliveries fail at once

--enable has one tried again now, whatever it is; the deliveries that failed meanwhile are run again by `replay`.

    trafficrelay deliveries shop.hooks:relay
    trafficrelay deliveries shop.hooks:relay --enable shop.example
"""

_COLUMNS: Final = (
    Column("state", styles={"closed": "green", "open": "red", "disabled": "bold red"}),
    Column("since"),
    Column("route"),
    Column("destination"),
)


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "deliveries",
        help="say how destinations are, and enable them",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_options(parser)
    parser.add_argument("--enable", metavar="URL|NAME", help="try this destination again")
    parser.add_argument("--json", action="store_true", help="say it as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List the destinations, after enabling one."""
    # See the package.
    from ..delivery.circuit import Circuits
    from .connecting import client_of, load

    relay = load(options)
    found = [(route.rule, destination) for route in relay.routes for destination in route.destinations]
    with closing(client_of(relay)) as client:
        circuits = Circuits(client)
        if options.enable is not None:
            enabled = circuits.enable(_named(relay, options.enable, options.target))
            if not enabled and not options.json:
                say("It was not disabled, held or open.")
        standings = circuits.standings([destination for _, destination in found])
    told = [_told(*one, standing) for one, standing in zip(found, standings, strict=True)]
    if options.json:
        say_json({"destinations": told})
    elif told:
        # The name in any case, also where it is the host: it is what --enable takes.
        show(_COLUMNS, [(one["state"], _when(one), one["route"], f"{one['name']} ({one['url']})") for one in told])
    else:
        say("No route of this relay delivers.")
    return 0


def _named(relay: Relay, text: str, target: str) -> list[Deliver]:
    found = [destination for route in relay.routes for destination in route.destinations]
    meant = [destination for destination in found if text in (destination.name, destination.url)]
    if not meant:
        names = ", ".join(sorted({destination.name for destination in found})) or "none"
        # Not what was given: a URL may hold a token.
        raise DeclarationError(f"{target} has no such destination. It has {names}.")
    return meant


def _told(rule: str, destination: Deliver, standing: Standing) -> dict[str, Any]:
    return {
        "route": rule,
        "name": destination.name,
        "url": destination.label,
        "state": standing.state,
        "failures": standing.failures,
        "until": standing.until and standing.until.isoformat(timespec="seconds"),
        "disabled": standing.disabled and standing.disabled.isoformat(timespec="seconds"),
    }


def _when(one: dict[str, Any]) -> str:
    if one["until"]:
        return f"until {one['until']}"
    if one["disabled"]:
        return f"since {one['disabled']}"
    return f"{one['failures']} failed" if one["failures"] else "-"
