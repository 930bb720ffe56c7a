"""The pure part: what was promised and what was found give lost, doubled and wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from .payload import is_bare, parts_of

Promised: TypeAlias = Mapping[int, Collection[int]]
"""The numbers of the events that were acknowledged, and the jobs that each of them has."""


@dataclass(frozen=True, slots=True)
class Found:
    """One job as it lies in Redis.

    Attributes:
        id: its id.
        number: the number of the event that it is of; -1 if nobody sent such a thing.
        part: which of the event's jobs it is, see `payload.Recognised`.
        intact: whether its payload is the one that was sent.
        places: in how many places it lies (a queue may hold an id twice); 0 means that no worker will ever see it.
        runs: how often it ran.
    """

    id: str
    number: int
    part: int
    intact: bool
    places: int
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the events.

    Attributes:
        lost: number and part of each job that was promised and is nowhere.
        doubled: number and part of each job that is there, or ran, more than once; and how often more.
        wrong: what is wrong with a payload, or with an event of which only some jobs are there.
    """

    lost: tuple[tuple[int, int], ...]
    doubled: tuple[tuple[int, int, int], ...]
    wrong: tuple[str, ...]

    @property
    def extra(self) -> int:
        """How many runs or entries there are beyond the first of each job."""
        return sum(more for _, _, more in self.doubled)


class Account:
    """Adds up what is found of each event, over several readings.

    What one reading found is taken away from Redis before the next, as workers do; so each entry is read once, and one
    that comes later is one too many.
    """

    def __init__(self) -> None:
        self._entries: Counter[tuple[int, int]] = Counter()
        self._wrong: list[str] = []

    def take(self, found: Iterable[Found]) -> None:
        """Add what a reading found."""
        for one in found:
            if one.number < 0:
                self._wrong.append(f"job {one.id} is of no event that was sent")
                continue
            if not one.intact:
                self._wrong.append(f"job {one.id} of event {one.number} has another payload than was sent")
            if not is_bare(one.number) and one.part not in parts_of(one.number):
                self._wrong.append(f"job {one.id} is no part of event {one.number}")
                continue
            self._entries[one.number, one.part] += max(one.places, one.runs)

    def missing(self, promised: Promised) -> list[tuple[int, int]]:
        """Give number and part of what was promised and has not been found yet."""
        each = ((number, part) for number, parts in sorted(promised.items()) for part in parts)
        return [one for one in each if not self._entries[one]]

    def found(self, tries: Iterable[tuple[int, int]]) -> int:
        """Say how many of these were found."""
        return sum(self._entries[one] > 0 for one in tries)

    def verdict(self, promised: Promised) -> Verdict:
        """Compare with what was acknowledged."""
        lost = self.missing(promised)
        doubled = [(*key, count - 1) for key, count in sorted(self._entries.items()) if count > 1]
        return Verdict(tuple(lost), tuple(doubled), (*self._wrong, *self._halves(promised)))

    def _halves(self, promised: Promised) -> Iterable[str]:
        """Find events that nobody promised and of which only some jobs were taken."""
        for number in sorted({number for (number, _), count in self._entries.items() if count} - promised.keys()):
            there = [part for part in parts_of(number) if self._entries[number, part]]
            if len(there) < len(parts_of(number)):
                yield f"event {number} was taken in part: {there} of {list(parts_of(number))}"
