"""`trafficrelay worker`: work off what a relay hands over."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from ..errors import DeclarationError
from ..options import queue_name
from .options import add_target_options, number_from

if TYPE_CHECKING:
    from ..relay import Relay

_HELP: Final = """\
Work off the jobs of a relay: many at once, each in a thread, and none is lost if the worker dies.

It works on the queues that the relay's routes name. `rq worker -w trafficrelay.worker.RelayWorker QUEUE...` is the same
worker with RQ's own options.

    trafficrelay worker shop.hooks:relay
    trafficrelay worker shop.hooks:relay --concurrency 100 --processes 2
    trafficrelay worker shop.hooks:relay --queue hooks --queue late --burst

The first Ctrl-C or SIGTERM lets the running jobs end; a second one, a second later, puts them back into their queues.
"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "worker",
        help="work off what the relay hands over",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_options(parser)
    # What `rq worker` is given there.
    parser.add_argument("queues", nargs="*", help=argparse.SUPPRESS)
    # The variables' and the settings' own names are behind rq, which only workers import.
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=number_from(1, 1000),
        help="how many jobs run at once in each process ($TRAFFICRELAY_CONCURRENCY or 10)",
    )
    parser.add_argument(
        "--processes", metavar="N", type=number_from(1, 256), default=1, help="how many processes (%(default)s)"
    )
    parser.add_argument(
        "--queue", metavar="NAME", action="append", help="a queue to work on, in place of those that the routes name"
    )
    parser.add_argument(
        "--max-deaths",
        metavar="N",
        type=number_from(3, 1_000_000),
        help="how many workers may die with a job before it is kept as failed ($TRAFFICRELAY_MAX_DEATHS or 5)",
    )
    parser.add_argument(
        "--only-declared",
        action="store_true",
        help='run nothing but what the routes name; for relays with serializer="json"',
    )
    parser.add_argument(
        "--also", metavar="JOB", action="append", default=[], help="a job that is run too, by its dotted name"
    )
    parser.add_argument("--burst", action="store_true", help="end when there is no more work")
    parser.add_argument("--quiet", action="store_true", help="log warnings and errors alone")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Work until there is a reason to end."""
    # Behind these is rq, which no other command has to wait for.
    from ..outbox.connection import connect
    from ..worker import settings
    from ..worker.start import work
    from .connecting import load

    relay = load(options)
    if relay.source is None:
        raise DeclarationError(f"{options.target} has no Redis: its events go elsewhere.")
    if options.queues:
        raise DeclarationError(
            f"Queues are named with --queue: {' '.join(f'--queue {one}' for one in options.queues)}."
        )
    queues = _queues(options, relay)
    if options.also and not options.only_declared:
        raise DeclarationError("--also names jobs beside those of --only-declared; say that too.")
    if any(route.destinations for route in relay.routes) and find_spec("urllib3") is None:
        raise DeclarationError(
            f"{options.target} delivers, and workers need urllib3 for that: pip install 'trafficrelay[deliver]'."
        )
    # The environment is where a RelayWorker looks, also in processes that RQ starts.
    said = {
        settings.CONCURRENCY_VARIABLE: options.concurrency,
        settings.MAX_DEATHS_VARIABLE: options.max_deaths,
        settings.ONLY_VARIABLE: options.target if options.only_declared else None,
        settings.ALSO_VARIABLE: ",".join(options.also) or None,
    }
    os.environ.update({name: str(value) for name, value in said.items() if value is not None})
    work(
        connect(relay.source),
        queues,
        serializer=relay.serializer_name,
        processes=options.processes,
        burst=options.burst,
        level="WARNING" if options.quiet else "INFO",
    )
    return 0


def _queues(options: argparse.Namespace, relay: Relay) -> list[str]:
    if options.queue:
        for queue in options.queue:
            queue_name(queue)
            if queue not in relay.queues and not relay.dynamic_queues:
                sys.stderr.write(f"trafficrelay: no route of {options.target} names the queue {queue}.\n")
        return list(dict.fromkeys(options.queue))
    if relay.dynamic_queues:
        raise DeclarationError(
            f"A route of {options.target} chooses its queue for each event, so which there are is not known. Name all "
            "that are to be worked on, with --queue."
        )
    return list(relay.queues)
