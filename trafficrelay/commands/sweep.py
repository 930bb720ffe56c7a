"""`trafficrelay sweep`: put back what workers lost."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from .options import add_target_options
from .saying import count, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..sweep.sweeper import Report, Sweeper
    from .progress import Progress

_HELP: Final = """\
Find accepted jobs that lie in no queue and no registry, because a worker was killed that had them, and put them back.

A job counts as lost when it was seen so twice, 15 seconds apart: that is how long the command takes if it finds one. A
RelayWorker and `trafficrelay run` sweep by themselves; this is for stock workers beside a relay that is mounted in
another program, by cron say. Jobs of other programs are left alone, and no job is deleted. What is kept aside of jobs
that are gone goes an hour later.

    trafficrelay sweep shop.hooks:relay --dry-run
    trafficrelay sweep shop.hooks:relay
    * * * * *  trafficrelay sweep shop.hooks:relay
"""

_TICK: Final = 0.2


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "sweep",
        help="put back jobs that workers lost",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be put back, and do nothing")
    parser.add_argument("--json", action="store_true", help="say it as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look, wait, look again and put back."""
    # See the package.
    from redis.exceptions import RedisError

    from ..sweep.sweeper import MARGIN, Sweeper
    from ..worker.keeper import Watch
    from ..worker.ledger import Ledger
    from ..worker.settings import MAX_DEATHS
    from .connecting import client_of, load
    from .progress import Progress

    relay = load(options)
    with closing(client_of(relay)) as client, Progress() as progress:
        # Jobs that a RelayWorker held are put back by the ledger's own rules, which want two looks too.
        ledger = Ledger(client, "", max_deaths=MAX_DEATHS)
        watch = Watch(ledger)

        def dead() -> bool:
            try:
                return bool(ledger.dead_for(0))
            except RedisError:
                return False  # what could be done without it is done

        sweeper = Sweeper(client, also=[lambda: watch.look().back], margin=MARGIN, tell=progress.tell)
        report = two_looks(sweeper, progress, margin=MARGIN, dry_run=options.dry_run, dead=dead)
    if options.json:
        say(json.dumps(_as_json(report, dry_run=options.dry_run)))
    else:
        _tell(report, dry_run=options.dry_run)
    return int(bool(report.refused))


def two_looks(
    sweeper: Sweeper,
    progress: Progress,
    *,
    margin: float,
    dry_run: bool,
    dead: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Sweep, and a while later once more if something has to be seen twice.

    Args:
        sweeper: the sweeper.
        progress: shows how far it is.
        margin: seconds between the two looks.
        dry_run: whether to write nothing.
        dead: whether there are dead RelayWorkers.
        sleep: waits.

    Raises:
        OutboxUnavailable: Redis does not answer.
    """
    first = _swept(sweeper, progress, dry_run=dry_run, sleep=sleep)
    if not first.waiting and (dry_run or not dead()):
        return first
    end = time.monotonic() + margin
    while (left := end - time.monotonic()) > 0:
        progress.tell(f"Jobs may be lost; they are looked at again in {left:.0f} s …")
        sleep(min(_TICK, left))
    second = _swept(sweeper, progress, dry_run=dry_run, sleep=sleep)
    # What another sweeper does in between is not counted here.
    return replace(
        second,
        back=first.back + second.back,
        failed=first.failed + second.failed,
        reclaimed=first.reclaimed + second.reclaimed,
        cleared=second.cleared + (0 if dry_run else first.cleared),
    )


def _swept(sweeper: Sweeper, progress: Progress, *, dry_run: bool, sleep: Callable[[float], None]) -> Report:
    while True:
        report = sweeper.rehearse() if dry_run else sweeper.sweep()
        if report.swept:
            return report
        progress.tell("Another process sweeps just now …")
        sleep(min(max(report.next_in, _TICK), 1.0))


def _tell(report: Report, *, dry_run: bool) -> None:
    say(f"{count(report.seen, 'job')} {'was' if report.seen == 1 else 'were'} looked at.")
    if dry_run:
        say(f"{count(report.back, 'job')} would be put back. Nothing was done.")
    else:
        say(f"{count(report.back + report.reclaimed, 'job')} went back into their queues.")
    if report.failed:
        failed = count(report.failed, "job")
        say(f"{failed} will not run again by themselves: workers died with them. They lie among the failed ones.")
    if report.waiting and not report.refused:
        waiting = count(report.waiting, "job")
        say(f"{waiting} may be lost too, since a moment ago. Sweep again in {report.next_in:.0f} s.")
    if report.broken:
        ids = ", ".join(report.broken_ids)
        say(f"{count(report.broken, 'job')} cannot be read, because somebody else wrote there. Some of them: {ids}.")
    if report.cleared:
        say(f"{count(report.cleared, 'argument')} kept aside of jobs that are gone; they go in an hour.")
    if report.refused:
        say(f"Redis does not let jobs be put back ({report.refused}). Mend that, and sweep again.")


def _as_json(report: Report, *, dry_run: bool) -> dict[str, Any]:
    shown = asdict(report)
    del shown["swept"]
    return shown | {"dry_run": dry_run, "broken_ids": list(report.broken_ids), "seconds": round(report.seconds, 3)}
