"""`trafficrelay pause` and `trafficrelay resume`: turn a route's events away for a while, without stopping anything."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from ..errors import DeclarationError
from .options import add_target_options

if TYPE_CHECKING:
    from ..outbox.pauses import Pauses
    from ..relay import Relay

_PAUSE_HELP: Final = """\
Pause a route, in all processes at once: its senders get 503 and try again later.

With --spool they are answered as ever: events are kept in the relay's spool, and handed over when the route is resumed.
Without RULE it says what is paused. A repeated event is answered as the first was. Dead letters of a paused route are
not run again.

    trafficrelay pause shop.hooks:relay
    trafficrelay pause shop.hooks:relay /github
    trafficrelay pause shop.hooks:relay /github --spool
"""

_RESUME_HELP: Final = """\
Resume a paused route, in all processes at once. What was spooled meanwhile is handed over within seconds.

    trafficrelay resume shop.hooks:relay /github
    trafficrelay resume shop.hooks:relay --all
"""


def add(commands: Any) -> None:
    """Add the parsers of both commands."""
    pause = commands.add_parser(
        "pause",
        help="turn a route's events away for a while",
        description=_PAUSE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_options(pause)
    pause.add_argument("rule", metavar="RULE", nargs="?", help="the route's rule, as it is declared")
    pause.add_argument("--spool", action="store_true", help="keep its events in the spool meanwhile")
    pause.add_argument("--json", action="store_true", help="say what is paused as one JSON object")
    pause.set_defaults(run=run_pause)
    resume = commands.add_parser(
        "resume",
        help="resume a paused route",
        description=_RESUME_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_options(resume)
    which = resume.add_mutually_exclusive_group(required=True)
    which.add_argument("rule", metavar="RULE", nargs="?", help="the route's rule, as it is declared")
    which.add_argument("--all", action="store_true", help="all routes of the relay")
    resume.add_argument("--json", action="store_true", help="say what is paused then as one JSON object")
    resume.set_defaults(run=run_resume)


def run_pause(options: argparse.Namespace) -> int:
    """Pause a route, or say what is paused."""
    # See the package.
    from ..outbox.pauses import REFUSE, SPOOL, Pauses
    from .connecting import check_rule, client_of, load
    from .hints import hint

    if options.spool and not options.rule:
        raise DeclarationError("--spool needs the rule of the route that is to be paused.")
    relay = load(options)
    with closing(client_of(relay)) as client:
        pauses = Pauses(client)
        if options.rule:
            check_rule(options.rule, (route.rule for route in relay.routes), options.target)
            if options.spool and relay.spool is None:
                text = f'{options.target} has no spool to keep events in. Say Relay(spool="spool.db"), or pause '
                raise DeclarationError(hint(f"{text}without --spool: then senders get 503.", options.target))
            pauses.pause(options.rule, SPOOL if options.spool else REFUSE)
        _say(pauses, relay, as_json=options.json)
    return 0


def run_resume(options: argparse.Namespace) -> int:
    """Resume a route, or all."""
    # See the package.
    from ..outbox.pauses import Pauses
    from .connecting import check_rule, client_of, load

    relay = load(options)
    with closing(client_of(relay)) as client:
        pauses = Pauses(client)
        rules = {route.rule for route in relay.routes}
        if options.rule:
            # Also one that the relay had when it was paused.
            check_rule(options.rule, rules | set(pauses.all()), options.target)
            rules = {options.rule}
        resumed = pauses.resume(sorted(rules))
        if options.rule and not resumed and not options.json:
            sys.stdout.write(f"{options.rule} was not paused.\n")
        _say(pauses, relay, as_json=options.json)
    return 0


def _say(pauses: Pauses, relay: Relay, *, as_json: bool) -> None:
    paused = pauses.all()
    if as_json:
        sys.stdout.write(json.dumps({"paused": paused}) + "\n")
        return
    rules = {route.rule for route in relay.routes}
    lines = [_line(rule, mode, known=rule in rules) for rule, mode in paused.items()]
    sys.stdout.write("\n".join(lines or ["No route is paused."]) + "\n")


def _line(rule: str, mode: str, *, known: bool) -> str:
    what = "its events are spooled" if mode == "spool" else "its senders get 503"
    return f"{rule} is paused: {what}{'' if known else ' (no route of this relay)'}"
