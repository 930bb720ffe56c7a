"""Brings the events of a spool that was set aside to Redis, as dead letters.

Such a file is a copy of unknown age: what it holds may have been handed over before it was damaged, by another process
since, or by this command an hour ago. Whether an event has run cannot be told once Redis has forgotten it. So none of
them is run again. An event that Redis knows, by its mark or by a job of it that is still there, is left alone; every
other one becomes a dead letter, which somebody who knows looks at and requeues. The file is only read: another run
changes nothing.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from ..errors import DeadLetterError, OutboxError, OutboxUnavailable
from ..limits import NO_LIMITS
from .drain import MAX_BATCH
from .handover import Handover, Outbox, each
from .spool_file import DAMAGED, Stored
from .stored import as_letter, unpack

_WHY = (
    "This event is of a spool that was set aside. Whether it was handed over before cannot be told. Requeue it if it "
    "has not run."
)


@dataclass(slots=True)
class Salvaged:
    """What became of the events of a file.

    Attributes:
        letters: how many became dead letters.
        known: how many Redis knew.
        unreadable: the places in the file of those that cannot be read.
        refused: why others were not taken, and how many of them.
    """

    letters: int = 0
    known: int = 0
    unreadable: list[int] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)


def salvage(stored: Iterable[Stored], outbox: Outbox, *, mark_ttl: int) -> Iterator[Salvaged]:
    """Hand events over as dead letters, a batch at a time. Gives what has become of them so far after each.

    Args:
        stored: the entries.
        outbox: where they go.
        mark_ttl: seconds for which their ids are remembered.

    Raises:
        SpoolError: the file cannot be read on.
        OutboxUnavailable: Redis is away.
    """
    total, rest = Salvaged(), iter(stored)
    yield total
    while batch := list(islice(rest, MAX_BATCH)):
        letters = []
        for one in batch:
            try:
                letters.append(_letter(one, mark_ttl))
            except DeadLetterError:
                total.unreadable.append(one.seq)
        results = each(outbox, letters)
        away = None
        for result in results:
            if isinstance(result, OutboxUnavailable):
                away = result
            elif isinstance(result, OutboxError):
                total.refused[str(result)] = total.refused.get(str(result), 0) + 1
            elif result.duplicate:
                total.known += 1
            else:
                total.letters += 1
        yield total
        if away is not None:
            raise away


def set_aside(path: Path) -> list[Path]:
    """Give the spools that lie set aside beside a spool's file, oldest first."""
    found = (one for kind in ("corrupt", "foreign") for one in path.parent.glob(f"{glob.escape(path.name)}.{kind}-*"))
    return sorted(one for one in found if not one.name.endswith(("-wal", "-shm", "-journal")))


def _letter(stored: Stored, mark_ttl: int) -> Handover:
    if stored.error == DAMAGED:
        raise DeadLetterError("This entry is damaged.")
    letter = as_letter(unpack(stored.entry.payload), _WHY)
    # Without its duplicate key: by that a failed job of a later delivery would be requeued.
    return replace(letter, dedupe=None, limits=NO_LIMITS, mark_ttl=mark_ttl)
