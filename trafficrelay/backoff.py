"""When a failing job is run again: what `retry=` of a route may say, and what RQ is told of it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

from .errors import DeclarationError
from .options import Duration, seconds

_MOST_TRIES: Final = 1_000  # each wait stands in the hash of each job
_MOST_FACTOR: Final = 100


@dataclass(frozen=True, slots=True)
class Retries:
    """How often RQ runs a failing job again.

    Attributes:
        max: how many times beyond the first.
        intervals: seconds before each. Of fewer than `max` RQ takes the first several times, and then the others; of
            more it takes the last `max` (`rq.job.Job.get_retry_interval`).
        at_front: whether it then goes to the front of its queue.
        jitter: whether the intervals are only the most, and each job's own are drawn, from 1 s on.
    """

    max: int
    intervals: tuple[int, ...]
    at_front: bool = False
    jitter: bool = False

    def draw(self) -> list[int]:
        """Give the waits of one job, in whole seconds: RQ knows no fractions, and runs what waits 0 s at once."""
        if not self.jitter:
            return list(self.intervals)
        chance = random.random  # what is drawn here is no secret
        return [int(chance() * most) + 1 for most in self.intervals]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow from try to try: `retry=Backoff(8, first="10s", longest="1h")`.

    The waits of a job are drawn when its event is accepted, and stand in the job; so they hold under any worker of RQ's
    that has a scheduler (`rq worker --with-scheduler`; RelayWorker has one).

    Attributes:
        tries: how often a failing job is run again, 1 to 1,000 times.
        first: the most that is waited before the first of these.
        factor: by what the most grows from try to try, 1 to 100.
        longest: what it does not grow over.
        jitter: whether each wait is drawn, from 1 s to the most, all being as likely ("full jitter"), so that what
            failed together does not come back together. Otherwise the most is waited.
        at_front: whether the job then goes to the front of its queue.

    Durations are as a route's. Nothing is waited for less than a second.

    Raises:
        DeclarationError: one of these is something else.
    """

    tries: int = 10
    _: KW_ONLY
    first: Duration = 10
    factor: float = 2
    longest: Duration = "1h"
    jitter: bool = True
    at_front: bool = False

    def __post_init__(self) -> None:
        if not _is_number(self.tries, 1, _MOST_TRIES) or self.tries != int(self.tries):
            raise DeclarationError(f"tries is a number from 1 to {_MOST_TRIES:,}, not {self.tries!r}.", option="retry")
        if not _is_number(self.factor, 1, _MOST_FACTOR):
            raise DeclarationError(f"factor is a number from 1 to {_MOST_FACTOR}, not {self.factor!r}.", option="retry")
        first, longest = seconds(self.first, "first", least=1), seconds(self.longest, "longest", least=1)
        if longest < first:
            raise DeclarationError(
                f"longest is at least first, which is {first} s, not {self.longest!r}.", option="retry"
            )
        for name in ("jitter", "at_front"):
            if not isinstance(getattr(self, name), bool):
                raise DeclarationError(f"{name} is True or False, not {getattr(self, name)!r}.", option="retry")

    @property
    def retries(self) -> Retries:
        """What RQ is told of it."""
        wait, longest = float(seconds(self.first, "first", least=1)), seconds(self.longest, "longest", least=1)
        most = []
        for _ in range(self.tries):
            most.append(round(wait))
            wait = min(wait * self.factor, longest)
        return Retries(self.tries, tuple(most), self.at_front, self.jitter)


def retries(value: Any) -> Retries | None:
    """Read `retry=`: a number, the waits before each try (`[10, 60, "15m"]`), a `Backoff` or an `rq.Retry`.

    Raises:
        DeclarationError: it is none of these.
    """
    if value is None or value == 0:
        return None
    if isinstance(value, Backoff):
        return value.retries
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return Retries(value, (0,))
    if isinstance(value, list | tuple) and value:
        waits = tuple(seconds(wait, "retry", least=0) for wait in value)
        return Retries(len(waits), waits)
    # An rq.Retry, known by its shape: importing rq here would cost every host its import.
    most, intervals = getattr(value, "max", None), getattr(value, "intervals", None)
    if isinstance(most, int) and isinstance(intervals, Iterable):
        # RQ takes an empty list, and its worker then fails on the failure.
        return Retries(most, tuple(intervals) or (0,), bool(getattr(value, "enqueue_at_front", False)))
    raise DeclarationError(
        "retry is a number of tries, the seconds before each such as [10, 60, 300], a Backoff or an rq.Retry, "
        f"not {value!r}.",
        option="retry",
    )


def _is_number(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
