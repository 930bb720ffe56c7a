"""What goes into the ledger and comes out of it: jobs that a worker holds, and what has become of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Held:
    """A job in a worker's hands.

    Attributes:
        id: the job's id.
        execution: the id of this run of it.
    """

    id: str
    execution: str


@dataclass(frozen=True, slots=True)
class Begun(Held):
    """A job that was taken and begun.

    Attributes:
        place: the number of its queue, from 1, in the order in which they were asked.
        fields: its hash as it was.
    """

    place: int
    fields: dict[bytes, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended(Held):
    """A job that has ended.

    Attributes:
        queue: the name of its queue.
        written: what is written of one that ended well: when it began, when it ended, how long it ran, how long its
            result is kept, and the names and values of that; empty if RQ has written it.
    """

    queue: str
    written: tuple[Any, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Living(Held):
    """A job that runs.

    Attributes:
        queue: the name of its queue.
        ttl: seconds until its next heartbeat has to come.
        revive: whether RQ may have taken it for abandoned: it runs, and nobody could say so for long.
    """

    queue: str
    ttl: int
    revive: bool


WRITTEN: Final = 0
NOT_OURS: Final = 1
HAS_DEPENDENTS: Final = 2
UNWRITTEN: Final = 3


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What an exchange gave.

    Attributes:
        outcomes: for each job that had ended: `WRITTEN`, `NOT_OURS`, `HAS_DEPENDENTS`, `UNWRITTEN`, or what Redis
            says is wrong.
        suspended: whether workers are suspended.
        begun: the jobs that were taken.
        more: whether there may be more of them, although there are fewer than were wanted.
    """

    outcomes: Sequence[int | bytes]
    suspended: bool
    begun: Sequence[Begun]
    more: bool


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What became of jobs that were put back.

    Attributes:
        back: how many are in their queues again.
        failed: the ids of those that are not run again: poison, and those that must not run twice.
        aside: the ids of those that cannot be read.
        ended: the ids of those that had failed already, whose worker may not have got any further.
    """

    back: int = 0
    failed: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()

    def __add__(self, other: Reclaimed) -> Reclaimed:
        """Count both."""
        return Reclaimed(
            self.back + other.back,
            self.failed + other.failed,
            self.aside + other.aside,
            self.ended + other.ended,
        )
