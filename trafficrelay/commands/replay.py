"""`trafficrelay replay`: run again what failed."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ..errors import OutboxUnavailable
from .options import add_target_options, number_from
from .saying import count, say, shown
from .selecting import KINDS, add_selection_options, selection_of
from .tables import Column, show

if TYPE_CHECKING:
    from ..outbox.letters import Letter, Selection
    from .progress import Progress
    from .replaying import Replayer, Tally

_HELP: Final = """\
Run again what failed, oldest first, and take it out of RQ's failed jobs.

  event     events whose transform failed run through today's code, in this process
  handover  events that became too old in the spool are handed over after all
  job       jobs that failed for good go back into their queues, with as many retries as their routes give now

Each is one step in Redis: stopped at any moment, with Ctrl-C or otherwise, the same command goes on from there and
nothing runs twice. What fails again stays where it is, and the exit code is 1.

    trafficrelay replay shop.hooks:relay --dry-run
    trafficrelay replay shop.hooks:relay --route /github --since 2h
    trafficrelay replay shop.hooks:relay --error KeyError --kind event --limit 10
    trafficrelay replay shop.hooks:relay --id 0a1b2c3d4e5f60718293a4b5c6d7e8f9

A time is an age (90s, 15m, 2h, 7d) or an ISO date and time, in local time unless it says otherwise.
"""

_FIRST: Final = 20
_PLAIN_EVERY: Final = 10.0
_BAR: Final = 30
_COUNTS: Final = (Column("jobs", right=True, least=7), Column("kind", least=8), Column("route"), Column("error"))
_LETTERS: Final = (Column("failed at"), Column("job"), Column("error"))


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "replay", help="run again what failed", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_target_options(parser)
    add_selection_options(parser)
    parser.add_argument("--limit", metavar="N", type=number_from(1, 10**9), help="so many and no more")
    parser.add_argument("--dry-run", action="store_true", help="say what would be run, and do nothing")
    parser.add_argument("--json", action="store_true", help="say what became of it as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Find, and run or show."""
    # See the package.
    from ..outbox.letters import Letters
    from .connecting import client_of, load, outbox_of
    from .progress import Progress
    from .replaying import Replayer, Tally

    relay = load(options)
    selection = selection_of(options, relay)
    module = options.target.partition(":")[0]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(client_of(relay)))
        outbox = stack.enter_context(contextlib.closing(outbox_of(relay)))
        progress = stack.enter_context(Progress())
        stop = stack.enter_context(_stopped_by_signals())
        letters = Letters(client, relay.serializer_name, queues=relay.queues)
        replayer = Replayer(relay, module, letters, outbox)
        return _Run(replayer, selection, options, Tally(), progress, stop).go()


class _Run:
    """One run of the command, from finding to what is said in the end."""

    def __init__(
        self,
        replayer: Replayer,
        selection: Selection,
        options: argparse.Namespace,
        tally: Tally,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self._replayer = replayer
        self._selection = selection
        self._options = options
        self._progress = progress
        self._stop = stop
        self._tally = tally
        self._next_line = time.monotonic() + _PLAIN_EVERY

    def go(self) -> int:
        keys = self._replayer.in_order(self._selection, self._say_how_many)
        return self._show(keys) if self._options.dry_run else self._run(keys)

    def _run(self, keys: list[bytes]) -> int:
        total = min(len(keys), self._options.limit or len(keys))
        away: OutboxUnavailable | None = None
        try:
            # What a transform prints must not end up in the JSON.
            with contextlib.redirect_stdout(sys.stderr):
                for letter in self._replayer.each(keys, self._selection):
                    if self._stop.is_set() or self._is_enough():
                        break
                    if letter is None:
                        self._tally.gone += 1
                    else:
                        self._tally.add(letter, self._replayer.run(letter))
                    self._say_how_far(total)
        except OutboxUnavailable as error:
            away = error
        self._progress.clear()
        seen = self._tally.tried + self._tally.gone + self._tally.skipped.total()
        left = 0 if self._is_enough() else len(keys) - seen
        stopped = bool(left) and (self._stop.is_set() or away is not None)
        if self._options.json:
            say(json.dumps(_as_json(self._tally) | {"stopped": stopped, "not_tried": left if stopped else 0}))
        else:
            _tell(self._tally, nothing=not keys)
            if stopped:
                say(f"Stopped with {left:,} still to be run. The same command goes on from there.")
        if away is not None:
            raise away
        return 130 if stopped else int(bool(self._tally.left))

    def _show(self, keys: list[bytes]) -> int:
        counts: Counter[tuple[str, str, str]] = Counter()
        first: list[Letter] = []
        as_json = self._options.json
        if as_json:
            sys.stdout.write('{"letters": [')
        for letter in self._replayer.each(keys, self._selection):
            if self._stop.is_set() or self._is_enough():
                break
            if letter is None:
                continue
            outcome = self._replayer.would(letter)
            self._tally.add(letter, outcome)
            if outcome.state != "done":
                continue
            if as_json:
                # One by one: there may be many.
                sys.stdout.write(
                    ("," if self._tally.done.total() > 1 else "") + "\n" + json.dumps(_letter_json(letter))
                )
            else:
                counts[letter.route, letter.kind, letter.error_type] += 1
                if len(first) < _FIRST:
                    first.append(letter)
                self._progress.tell(f"Reading: {self._tally.tried:,} of {len(keys):,}")
        self._progress.clear()
        unreadable = self._tally.failed.total()
        if as_json:
            rest = {
                "would_run": self._tally.done.total(),
                "unreadable": unreadable,
                "skipped": dict(self._tally.skipped),
            }
            sys.stdout.write(f"\n], {json.dumps(rest)[1:]}\n")
        else:
            _show(counts, first)
            if unreadable:
                say(f"{unreadable:,} cannot be read.")
            _tell_left(self._tally)
        return 130 if self._stop.is_set() else 0

    def _is_enough(self) -> bool:
        return self._options.limit is not None and self._tally.tried >= self._options.limit

    def _say_how_many(self, found: int) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt  # nothing has been run
        self._progress.tell(f"Looking: {found:,} found so far")

    def _say_how_far(self, total: int) -> None:
        tally = self._tally
        seen = min(tally.tried + tally.gone + tally.skipped.total(), total)
        counts = f"{seen:,} of {total:,}" + (f", {tally.failed.total():,} failed again" if tally.failed else "")
        filled = "#" * (_BAR * seen // max(total, 1))
        self._progress.tell(f"[{filled:-<{_BAR}}] {counts}")
        if time.monotonic() >= self._next_line and not sys.stderr.isatty():
            self._next_line = time.monotonic() + _PLAIN_EVERY
            sys.stderr.write(f"{counts}\n")


def _tell(tally: Tally, *, nothing: bool) -> None:
    if nothing:
        say("There is nothing to run again.")
        return
    done = tally.done
    if events := done["event"] + done["handover"]:
        say(f"{count(events, 'event')} became {count(tally.jobs - done['job'], 'job')}.")
    if done["job"]:
        say(f"{count(done['job'], 'job')} went back into {'its queue' if done['job'] == 1 else 'their queues'}.")
    if tally.failed:
        say(f"{tally.failed.total():,} failed again:")
        for why, times in tally.failed.most_common():
            job, words = tally.first[why]
            say(f"  {times:>7,}  {shown(why, most=None)}\n{'':11}{shown(words)}\n{'':11}first {job}")
    if tally.gone:
        say(f"{tally.gone:,} gone: not there any more, or in the hands of a worker.")
    _tell_left(tally)


def _tell_left(tally: Tally) -> None:
    if tally.paused:
        say(f"{tally.paused:,} left: the route is paused.")
    for why, times in tally.skipped.most_common():
        say(f"{times:,} left: {shown(why, most=None)}.")


def _show(counts: Counter[tuple[str, str, str]], first: list[Letter]) -> None:
    if not first:
        say("There is nothing to run again.")
        return
    say(f"{counts.total():,} would be run again:")
    rows = [(f"{times:,}", kind, shown(route), shown(error)) for (route, kind, error), times in counts.most_common()]
    show(_COUNTS, rows, indent=2)
    say("The first of them:" if counts.total() > len(first) else "They are:")
    show(
        _LETTERS,
        [(f"{one.failed_at.astimezone():%Y-%m-%d %H:%M:%S}", one.job, shown(one.error)) for one in first],
        indent=2,
    )


def _as_json(tally: Tally) -> dict[str, Any]:
    return {
        "run": {kind: tally.done[kind] for kind in KINDS if kind in tally.done},
        "jobs": tally.jobs,
        "failed": [
            {"error": why, "count": times, "first": tally.first[why][0], "message": tally.first[why][1]}
            for why, times in tally.failed.most_common()
        ],
        "paused": tally.paused,
        "gone": tally.gone,
        "skipped": dict(tally.skipped),
    }


def _letter_json(letter: Letter) -> dict[str, str]:
    return {
        "job": letter.job,
        "event": letter.event,
        "kind": letter.kind,
        "queue": letter.queue,
        "route": letter.route,
        "method": letter.method,
        "received_at": letter.received_at.isoformat(),
        "failed_at": letter.failed_at.isoformat(),
        "error": letter.error,
    }


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Give what is set by Ctrl-C or SIGTERM, so that what is run then is run to its end. A second breaks it off."""
    stop = threading.Event()

    def ask(_signum: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    # Other threads cannot take signals over.
    signums = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    previous = {signum: signal.signal(signum, ask) for signum in signums}
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
