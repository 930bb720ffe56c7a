"""The pure part: orders, what was noted, what was killed and what Redis holds give lost, doubled and late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .corrupt import GONE, VISIBLE
from .notes import Ran
from .orders import Order

ASIDE: Final = "aside"
"""Where the relay's worker sets jobs that cannot be read."""

MOST_RUNS: Final = 25
"""How often a damaged job may run before it counts as one that never comes to an end."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that was killed.

    Attributes:
        pid: its process.
        at: when, in seconds since 1970.
        held: the ids of the jobs that it held in that moment.
    """

    pid: int
    at: float
    held: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of the jobs.

    Attributes:
        lost: undamaged jobs that did not come to what they had to, and where each lies instead.
        doubled: undamaged jobs that ran more often than kills explain, and how often more.
        misplaced: undamaged jobs that lie in more places than one, and in which.
        extra: how many runs there were beyond the first of each try, all explained or not.
        invisible: damaged jobs that lie nowhere, or where nobody looks.
        endless: damaged jobs that ran again and again.
        damaged: how many damaged jobs lie where.
        in_flight: how many jobs were in a worker's hands when it was killed, added up over all kills.
        waits: for each of these that ran again, the seconds from the kill to that.
    """

    lost: Sequence[str]
    doubled: Sequence[str]
    misplaced: Sequence[str]
    extra: int
    invisible: Sequence[str]
    endless: Sequence[str]
    damaged: Mapping[str, int]
    in_flight: int
    waits: Sequence[float]

    @property
    def good(self) -> bool:
        """Whether nothing is lost, doubled or out of sight."""
        return not (self.lost or self.doubled or self.misplaced or self.invisible or self.endless)


def judge(
    orders: Iterable[Order],
    runs: Mapping[str, Sequence[Ran]],
    kills: Sequence[Kill],
    places: Mapping[str, Sequence[str]],
    *,
    exact: bool = True,
) -> Verdict:
    """Compare what was ordered with what happened.

    Args:
        orders: the jobs.
        runs: how they ran.
        kills: which workers were killed, with SIGKILL.
        places: where each job lies.
        exact: whether it is known what a worker held when it was killed, so that each run beyond the first can be
            explained.
    """
    orders = list(orders)
    held = Counter(job for kill in kills for job in kill.held)
    good = [order for order in orders if not order.damage]
    damaged = [order for order in orders if order.damage]
    more = {order.id: len(runs.get(order.id, ())) - order.kind.runs for order in good}
    return Verdict(
        lost=[
            f"{order.id} ({order.kind.name}, {order.queue}) lies in {_named(places, order.id)}, ran "
            f"{len(runs.get(order.id, ()))} times"
            for order in good
            if order.kind.status not in places.get(order.id, ()) or not _ended(runs.get(order.id, ()))
        ],
        doubled=[
            f"{order.id} ({order.kind.name}): {more[order.id]} more, in flight at {held[order.id]} kills"
            for order in good
            if exact and more[order.id] > held[order.id]
        ],
        misplaced=[
            f"{order.id} ({order.kind.name}) lies in {_named(places, order.id)}"
            for order in good
            if len(places.get(order.id, ())) > 1
        ],
        extra=sum(max(0, count) for count in more.values()),
        invisible=[
            f"{order.id}: {order.damage}, lies in {_named(places, order.id)}"
            for order in damaged
            if not set(places.get(order.id, ())) & {ASIDE, "failed", "finished", *VISIBLE.get(order.damage, ())}
            and order.damage not in GONE
        ],
        endless=[
            f"{order.id}: {order.damage}, ran {len(runs[order.id])} times"
            for order in damaged
            if len(runs.get(order.id, ())) > MOST_RUNS + held[order.id]
        ],
        damaged=Counter(_named(places, order.id) for order in damaged),
        in_flight=sum(held.values()),
        waits=sorted(_waits(kills, runs)),
    )


def at_share(values: Sequence[float], share: float) -> float:
    """Give the value that this share of sorted values does not exceed; 0 of none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def _waits(kills: Iterable[Kill], runs: Mapping[str, Sequence[Ran]]) -> Iterable[float]:
    for kill in kills:
        for job in kill.held:
            # One whose outcome was just written is held still, and does not run again.
            later = [ran.begin for ran in runs.get(job, ()) if ran.begin > kill.at and ran.pid != kill.pid]
            if later:
                yield min(later) - kill.at


def _ended(runs: Iterable[Ran]) -> bool:
    return any(ran.end is not None for ran in runs)


def _named(places: Mapping[str, Sequence[str]], job: str) -> str:
    return " and ".join(places.get(job, ())) or "nothing"
