"""`trafficrelay check`: say what is wrong before it happens."""

from __future__ import annotations

import argparse
import contextlib
import sys
from contextlib import closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from ..errors import DeclarationError, OutboxError
from .options import add_lossy_option, add_target_options
from .saying import say, say_json
from .tables import Column, show

if TYPE_CHECKING:
    from ..checkup import Finding
    from ..relay import Relay
    from .watching import Seen

_HELP: Final = """\
Look at a relay's declaration, its jobs, its spool, its Redis and the workers there, and say what may lose events.

  fault    loses events, or cannot work: a job that cannot be imported, a Redis that keeps no file, evicts or is away
  warning  will surprise: a queue without a worker, waits without a scheduler, RQ's own workers on several queues
  note     is to be known

It imports the modules of the jobs, which runs them. Nothing is written. Where there is no Redis yet, all else is looked
at all the same.

    trafficrelay check shop.hooks:relay
    trafficrelay check shop.hooks:relay --redis redis://localhost:6379/0 --json
    trafficrelay check relay.toml --strict --no-jobs      # where the jobs' code is elsewhere

Exit codes: 0 no fault was found; 1 a fault, or with --strict a warning; 2 wrong usage or declaration, or no Redis.
"""

_COLUMNS: Final = (
    Column("level", styles={"fault": "bold red", "warning": "yellow", "note": "dim"}),
    Column("about"),
    Column("what was found"),
)


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "check",
        help="say what may lose events",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_options(parser)
    add_lossy_option(parser)
    parser.add_argument("--no-jobs", action="store_true", help="import no jobs: their code is elsewhere")
    parser.add_argument("--strict", action="store_true", help="exit with 1 for warnings too")
    parser.add_argument("--json", action="store_true", help="say it as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what is found."""
    # See the package.
    from ..checkup import LEVELS, of_bodies, of_routes
    from ..importing import of_jobs
    from .connecting import bind
    from .hints import hint
    from .reading import read_target

    relay = read_target(options.target)
    found: list[Finding] = []
    seen: Seen | None = None
    without: DeclarationError | None = None
    try:
        bind(relay, options)
        found, seen = _of_redis(relay, options)
    except DeclarationError as error:
        # What is wrong with the rest is wrong before there is a Redis too.
        without = error
    found += of_routes(relay, watched=seen is not None)
    found += [*of_bodies(), *_of_spool(relay)]
    if not options.no_jobs:
        # What a job's module prints must not end up in the JSON.
        with contextlib.redirect_stdout(sys.stderr):
            found += of_jobs(relay)
    found = [replace(one, text=hint(one.text, options.target)) for one in found]
    found.sort(key=lambda one: LEVELS.index(one.level))
    wrong = any(one.level == "fault" for one in found)
    if options.json:
        say_json({"ok": not wrong and without is None, "findings": [asdict(one) for one in found]})
    elif found:
        show(_COLUMNS, [(one.level, one.about, one.text) for one in found])
    else:
        say("Nothing was found." if without is None else "Nothing was found in the declaration and its jobs.")
    if without is not None:
        raise DeclarationError(f"No Redis was looked at. {without}") from without
    return int(wrong or (options.strict and any(one.level == "warning" for one in found)))


def _of_redis(relay: Relay, options: argparse.Namespace) -> tuple[list[Finding], Seen | None]:
    from ..checkup import Finding, of_redis
    from ..outbox.durability import examine
    from .connecting import client_of, outbox_of
    from .watching import look, of_workers

    found: list[Finding] = []
    seen: Seen | None = None
    try:
        with client_of(relay) as client:
            found = of_redis(relay, examine(client))
            if options.lossy_redis == "warn":
                found = [replace(one, level="warning") if one.level == "fault" else one for one in found]
            try:
                seen = look(client, relay.queues)
                found += of_workers(relay, options.target, seen)
            except OutboxError as error:
                # The user of a web process may be allowed no more than it needs; one that is away is told below.
                found.append(Finding("note", "workers", f"Which workers there are cannot be told. {error}"))
        with closing(outbox_of(relay)) as outbox:
            outbox.check()
    except OutboxError as error:
        # What cannot take an event is a fault whatever it keeps.
        found.append(Finding("fault", "redis", str(error)))
    return found, seen


def _of_spool(relay: Relay) -> list[Finding]:
    from ..checkup import Finding, of_spool
    from ..outbox.spool_file import SpoolFile

    if relay.spool is None:
        return []
    with closing(SpoolFile(relay.spool.file, max_size=relay.spool.size)) as file:
        try:
            found = of_spool(file.summary())
            file.check()
        except OutboxError as error:
            return [Finding("fault", "spool", str(error))]
    return found
