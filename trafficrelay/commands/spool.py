"""`trafficrelay spool`: show, drain, export and release what waits in a relay's spool."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import DeclarationError, OutboxUnavailable
from .options import add_data_option
from .tables import Column, show

if TYPE_CHECKING:
    from ..outbox.rq import RQOutbox
    from ..outbox.spool_file import SpoolFile, Stored, Summary
    from ..outbox.spool_reader import SpoolReader
    from ..relay import Relay
    from ..spool import Spool

_HELP: Final = """\
Look into a relay's spool, the file in which events are kept while Redis is away, and see to it. The relay may run.

  show     how many events wait, and which are held back and why
  drain    hand them over to Redis now; those that are held back are tried again
  export   write them as JSON, one a line
  release  let those that are held back be tried again by the relay's processes

    trafficrelay spool show shop.hooks:relay
    trafficrelay spool export shop.hooks:relay > events.ndjson

A spool that was damaged is set aside, and named in the log. --file shows and exports what can be read of it. Draining
it makes dead letters of the events that Redis does not know: whether they have run cannot be told. The file stays.

    trafficrelay spool show --file spool.db.corrupt-20260102T030405Z
    trafficrelay spool drain shop.hooks:relay --file spool.db.corrupt-20260102T030405Z
"""

_NO_SPOOL: Final = '{} has no spool. Say Relay(spool="spool.db"), or --file PATH.'
_MOST_REASONS: Final = 1_000
_LOOK_EVERY: Final = 0.3
_COUNTS: Final = (Column("events", right=True, least=8), Column(""))
# From how many seconds on an age is said in a unit of how many.
_AGES: Final = ((172_800, 86_400, "days"), (7_200, 3_600, "hours"), (120, 60, "minutes"), (0, 1, "seconds"))


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "spool",
        help="show, drain and export what waits in the spool",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=tuple(_ACTIONS), help="what to do")
    parser.add_argument(
        "target", metavar="MODULE:RELAY", nargs="?", help="where the relay is, such as shop.hooks:relay"
    )
    parser.add_argument(
        "--file", metavar="PATH", type=Path, help="another file than the relay's, such as one set aside"
    )
    parser.add_argument("--json", action="store_true", help="with show, drain and release: say it as one JSON object")
    parser.add_argument("--redis", metavar="URL", help="with drain: the Redis, in place of the relay's own")
    add_data_option(parser, "with drain: where `run` keeps the data of a Valkey of its own")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do what the action says."""
    code: int = _ACTIONS[options.action](options)
    return code


def _show(options: argparse.Namespace) -> int:
    # See the package.
    from ..outbox.salvage import set_aside
    from ..outbox.spool_reader import SpoolReader

    path, spool = _meant(options)
    # Not as the relay opens it: looking at what is damaged must not set it aside.
    with closing(SpoolReader(path)) as file:
        summary = file.summary()
        reasons = _reasons(file) if summary.held else Counter[str]()
    asides = [str(one) for one in set_aside(path)]
    if options.json:
        _say(json.dumps(_as_json(path, spool, summary, reasons) | {"set_aside": asides}))
        return 0
    if not summary.waiting + summary.held:
        _say(f"Nothing is in the spool {path}.")
    else:
        _say(f"In the spool {path}:")
        _say(f"  {'waiting':<20}{summary.waiting:>12,}{_since(summary.oldest)}")
        _say(f"  {'held back':<20}{summary.held:>12,}")
        limit = f" of {_megabytes(spool.size)}" if spool else ""
        _say(f"  {'size':<20}{_megabytes(summary.size):>12}{limit}")
        _list("By route:", summary.routes)
        _list("Held back because:", reasons)
    for one in asides:
        _say(f"Set aside: {one}")
    return 0


def _export(options: argparse.Namespace) -> int:
    from ..outbox.spool_reader import SpoolReader

    damaged = 0
    path, _ = _meant(options)
    with closing(SpoolReader(path)) as file:
        try:
            for stored in file.entries():
                line = _line(stored)
                if line is None:
                    damaged += 1
                    sys.stderr.write(f"trafficrelay: entry {stored.seq} cannot be read and was left out.\n")
                else:
                    sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # `| head` has seen enough. Python would flush once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(damaged > 0)


def _release(options: argparse.Namespace) -> int:
    if options.file:
        raise DeclarationError(
            "A file that was set aside is only read. Say MODULE:RELAY to release what its spool holds."
        )
    from ..outbox.spool_file import SpoolFile

    spool = _own(options)
    with closing(SpoolFile(spool.file, max_size=spool.size)) as file:
        count = file.release()
    if options.json:
        _say(json.dumps({"file": str(spool.file), "released": count}))
        return 0
    _say(f"{count:,} events that were held back wait again in the spool {spool.file}.")
    return 0


def _drain(options: argparse.Namespace) -> int:
    # See the package.
    from ..outbox.rq import RQOutbox
    from .connecting import load

    if not options.target:
        raise DeclarationError("Say MODULE:RELAY too: events are handed over to its Redis.")
    relay = load(options)
    if relay.source is None:
        raise DeclarationError("This relay has no Redis.")
    outbox = RQOutbox(
        relay.source, serializer=relay.serializer_name, wait_replicas=relay.wait_replicas, fsync=relay.fsync
    )
    with closing(outbox):
        if options.file and not (relay.spool and options.file.resolve() == relay.spool.file.resolve()):
            return _salvage(options, relay, outbox)
        return _drain_own(options, relay, outbox)


def _drain_own(options: argparse.Namespace, relay: Relay, outbox: RQOutbox) -> int:
    from ..outbox.drain import Drain
    from ..outbox.spool_file import SpoolFile
    from .hints import hint
    from .progress import Progress

    if relay.spool is None:
        raise DeclarationError(hint(_NO_SPOOL.format(options.target), options.target))
    path = relay.spool.file
    with closing(SpoolFile(path, max_size=relay.spool.size)) as file, Progress() as progress:
        if file.empty():
            return _drained(options, path, 0, file.summary())
        if not file.claim():
            return _drained(options, path, 0, file.summary(), "A process of the relay is draining it at this moment.")
        file.release()
        before = file.summary()
        error = ""
        try:
            Drain(file, outbox, max_age=relay.spool.age).run(_watching(file, progress.tell))
        except OutboxUnavailable as away:
            error = str(away)
        after = file.summary()
        # Nobody else has moved anything. What came meanwhile makes it look less.
        moved = max(before.waiting + before.held - after.waiting - after.held, 0)
        progress.clear()
        return _drained(options, path, moved, after, error)


def _salvage(options: argparse.Namespace, relay: Relay, outbox: RQOutbox) -> int:
    from ..outbox.drain import MARGIN
    from ..outbox.handover import EVENT_MARK_TTL
    from ..outbox.salvage import Salvaged, salvage
    from ..outbox.spool_reader import SpoolReader
    from .progress import Progress

    error = ""
    so_far = Salvaged()
    mark_ttl = relay.spool.age + MARGIN if relay.spool else EVENT_MARK_TTL
    path, _ = _meant(options)
    with closing(SpoolReader(path)) as file, Progress() as progress:
        try:
            for so_far in salvage(file.entries(), outbox, mark_ttl=mark_ttl):
                progress.tell(f"{so_far.letters + so_far.known:,} events were handed over …")
        except OutboxUnavailable as away:
            error = str(away)
    left = sum(so_far.refused.values())
    if options.json:
        said = {
            "file": str(path),
            "dead_letters": so_far.letters,
            "known": so_far.known,
            "unreadable": so_far.unreadable,
        }
        _say(json.dumps(said | {"refused": so_far.refused, "error": error}))
    else:
        _say(f"{so_far.letters:,} events of {path} became dead letters: requeue those that have not run.")
        _say(f"{so_far.known:,} more are known to Redis, and were left alone.")
        if so_far.unreadable:
            _say(f"{len(so_far.unreadable):,} entries cannot be read: {_few(so_far.unreadable)}.")
        _list("Not taken because:", so_far.refused)
        if error:
            _say(f"{error} Run the command again: what was handed over is known.")
        _say("The file was left as it is; delete it when you are done with it.")
    return int(bool(error or left or so_far.unreadable))


def _drained(options: argparse.Namespace, path: Path, moved: int, left: Summary, error: str = "") -> int:
    """Say what was moved and what is left."""
    waiting, held = left.waiting, left.held
    if options.json:
        said = {"file": str(path), "moved": moved, "waiting": waiting, "held": held, "error": error}
        _say(json.dumps(said))
    else:
        if error:
            _say(error)
        _say(f"{moved:,} events were moved from the spool {path} to Redis.")
        if waiting:
            why = "" if error else " Their routes are paused, or they have just come."
            _say(f"{waiting:,} still wait.{why}")
        if held:
            _say(f"{held:,} are held back; `trafficrelay spool show` says why.")
    return int(bool(error or waiting or held))


def _meant(options: argparse.Namespace) -> tuple[Path, Spool | None]:
    """Give the path of the file that is meant, and the relay's spool if it is that one's.

    Raises:
        DeclarationError: none is, or a file that is not there.
    """
    if options.file is None:
        spool = _own(options)
        return spool.file, spool
    if not options.file.is_file():
        raise DeclarationError(f"There is no file {options.file}.")
    return options.file.absolute(), None


def _own(options: argparse.Namespace) -> Spool:
    # See the package.
    from .hints import hint
    from .reading import read_target

    if not options.target:
        raise DeclarationError("Say MODULE:RELAY, or --file PATH.")
    spool = read_target(options.target).spool
    if spool is None:
        raise DeclarationError(hint(_NO_SPOOL.format(options.target), options.target))
    return spool


def _watching(file: SpoolFile, tell: Callable[[str], None]) -> Callable[[float], bool]:
    """Make what `Drain` asks whether to go on; it says how much is left."""
    due = 0.0

    def go_on(_took: float) -> bool:
        nonlocal due
        if time.monotonic() >= due:
            tell(f"{file.summary().waiting:,} events are left …")
            due = time.monotonic() + _LOOK_EVERY
        return True

    return go_on


def _reasons(file: SpoolReader) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for stored in file.entries():
        if stored.error and (stored.error in reasons or len(reasons) < _MOST_REASONS):
            reasons[stored.error] += 1
    return reasons


def _line(stored: Stored) -> str | None:
    """Give an entry as a line of JSON; `None` if it cannot be read."""
    from ..outbox.spool_file import DAMAGED

    entry = stored.entry
    if stored.error == DAMAGED:
        return None
    try:
        handover = json.loads(entry.payload)
    except ValueError:
        return None
    said = {
        "id": entry.id,
        "route": entry.route,
        "since": _iso(entry.since),
        "held": stored.error or None,
        "handover": handover,
    }
    return json.dumps(said, separators=(",", ":"))


def _as_json(path: Path, spool: Spool | None, summary: Summary, reasons: Counter[str]) -> dict[str, Any]:
    oldest = summary.oldest
    return {
        "file": str(path),
        "waiting": summary.waiting,
        "held": summary.held,
        "oldest": None if oldest is None else _iso(oldest),
        "age": None if oldest is None else round(max(time.time() - oldest, 0.0), 3),
        "size": summary.size,
        "max_size": spool.size if spool else None,
        "routes": dict(summary.routes),
        "reasons": dict(reasons),
    }


def _iso(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return None  # of a damaged entry it may be anything


def _list(title: str, counts: Mapping[str, int]) -> None:
    if counts:
        _say(title)
    rows = [(f"{number:,}", what) for what, number in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    show(_COUNTS, rows, indent=2)


def _since(oldest: float | None) -> str:
    if oldest is None:
        return ""
    age = max(time.time() - oldest, 0.0)
    size, unit = next((size, unit) for least, size, unit in _AGES if age >= least)
    return f", the oldest for {age / size:.0f} {unit}"


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MB"


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


_ACTIONS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "show": _show,
    "drain": _drain,
    "export": _export,
    "release": _release,
}
