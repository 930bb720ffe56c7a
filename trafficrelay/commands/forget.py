"""`trafficrelay forget`: erase events everywhere they lie."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import DeclarationError
from .options import add_target_options
from .tables import Column, show

if TYPE_CHECKING:
    from ..forgetting import Forgotten, Sought

_HELP: Final = """\
Erase events: from the spool, from RQ's queues and registries, their results and their dead letters.

An event goes whole, with all of its jobs. One of which a job runs now stays whole, and the exit code is 1.
PATH is a field in the data, of a dead letter in its body or query; a form's and a list's items are all looked into.

    trafficrelay forget shop.hooks:relay --where customer.email=ann@example.com --dry-run
    trafficrelay forget shop.hooks:relay --where customer.email=ann@example.com --where items.0.owner=4711 --yes
    trafficrelay forget shop.hooks:relay --id 0a1b2c3d4e5f60718293a4b5c6d7e8f9
"""

_PLACES: Final = (Column("place", least=20), Column("events", right=True, least=9))
_ID: Final = re.compile(r"([0-9a-f]{32})(-\d+)?")


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "forget",
        help="erase events everywhere they lie",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_options(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", metavar="EVENT_ID", action="append", default=[], help="an event's id, or a job's of it")
    which.add_argument(
        "--where",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="all events in whose data PATH leads to VALUE",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what there is")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="say it as one JSON object; needs --yes or --dry-run")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Find, show, ask, erase."""
    # See the package.
    from ..forgetting import Forgetting
    from ..outbox.salvage import set_aside
    from ..search import Search, condition
    from .connecting import client_of, load
    from .progress import Progress

    ids = {_event_id(text) for text in options.id}
    search = Search([condition(text) for text in options.where])
    ask = not (options.yes or options.dry_run)
    if ask and (options.json or not sys.stdin.isatty()):
        raise DeclarationError("Nobody can be asked whether to erase: say --yes, or --dry-run to see what there is.")
    relay = load(options)
    with client_of(relay) as client, Progress() as progress:
        forgetting = Forgetting(client, relay.serializer_name, relay.spool, tell=progress.tell)
        with forgetting:
            sought = forgetting.find(search, ids)
            progress.clear()
            if not options.json:
                _show(sought)
            if options.dry_run or (ask and sought.events and not _agreed(len(sought.events))):
                done = None
            else:
                done = forgetting.erase(sought)
            progress.clear()
    asides = set_aside(relay.spool.file) if relay.spool else []
    if options.json:
        _say(json.dumps(_as_json(sought, done, asides)))
    else:
        _tell(sought, done, asides)
    left = sought.unreadable_jobs or sought.unreadable_entries or (done and (done.running or done.log_left))
    return int(bool(left or (done is None and not options.dry_run)))


def _event_id(text: str) -> str:
    match = _ID.fullmatch(text.strip().lower())
    if match is None:
        raise DeclarationError("--id takes an event's id, 32 hexadecimal digits, or the id of one of its jobs.")
    return match[1]


def _agreed(events: int) -> bool:
    sys.stdout.write(f"Erase {_count(events, 'event')} for good? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(sought: Sought) -> None:
    if not sought.events:
        _say("Nothing was found.")
        return
    _say(f"Found {_count(len(sought.events), 'event')}:")
    show(_PLACES, [(place, f"{number:,}") for place, number in _places(sought).items()], indent=2)


def _tell(sought: Sought, done: Forgotten | None, asides: list[Path]) -> None:
    if done is None:
        _say("Nothing was erased.")
    else:
        in_redis = f"{_count(done.jobs, 'job')} and {_count(done.results, 'result')} in Redis"
        _say(f"Erased {_count(done.events, 'event')}: {in_redis}, {_count(done.entries, 'entry')} in the spool.")
        if done.running:
            _say(f"These jobs run now, so their events were left whole: {', '.join(done.running)}.")
            _say("Run the command again when they have finished.")
        if done.log_left:
            _say("The spool's write-ahead log still has what was erased: a process reads it. Run the command again.")
    for number, what, where in (
        (sought.unreadable_jobs, "job", "in Redis could not be read with this relay's serializer"),
        (sought.unreadable_entries, "entry", "in the spool could not be read"),
    ):
        if number:
            _say(f"{_count(number, what)} {where}; they may be meant. --id erases an event unread.")
    for line in _unreached(asides):
        _say(line)


def _as_json(sought: Sought, done: Forgotten | None, asides: list[Path]) -> dict[str, Any]:
    return {
        "events": len(sought.events),
        "found": _places(sought),
        "unreadable": {"jobs": sought.unreadable_jobs, "spool": sought.unreadable_entries},
        "erased": done and {"events": done.events, "jobs": done.jobs, "results": done.results, "spool": done.entries},
        "running": list(done.running) if done else [],
        "log_left": bool(done and done.log_left),
        "not_reached": _unreached(asides),
    }


def _places(sought: Sought) -> dict[str, int]:
    """Give the counts by place, in the order in which an event passes through them."""
    places = {"spool, waiting": sought.waiting, "spool, held": sought.held}
    for state, number in sought.states.items():
        places[state if state in ("dead letters", "results", "kept aside") else f"jobs {state}"] = number
    return {place: number for place, number in places.items() if number}


def _unreached(asides: list[Path]) -> list[str]:
    files = "".join(f", {path}" for path in asides)
    return [
        "Not reached: old bytes in Redis' append-only file, until redis-cli BGREWRITEAOF, and in its snapshots;",
        f"backups, replicas that are cut off, and what jobs have stored or logged{files}.",
    ]


def _count(number: int, what: str) -> str:
    if number == 1:
        return f"1 {what}"
    return f"{number:,} {what[:-1]}ies" if what.endswith("y") else f"{number:,} {what}s"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
