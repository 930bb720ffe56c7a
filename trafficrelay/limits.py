"""How much of a route is taken, for the outbox to decide in its one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from .errors import DeclarationError
from .options import seconds
from .rate import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may turn an event away. A repeated event is answered before they are looked at.

    Attributes:
        rate: how many events may come in a time.
        max_queued: how many jobs may wait in the queue.
        max_lag: how many seconds the oldest of them may have waited.
    """

    rate: Rate | None = None
    max_queued: int | None = None
    max_lag: int | None = None


NO_LIMITS: Final = Limits()


def limits(rate: Any, max_queued: Any, max_lag: Any) -> Limits:
    """Read a route's options.

    Raises:
        DeclarationError: one of them is wrong.
    """
    if max_queued is not None and (not isinstance(max_queued, int) or isinstance(max_queued, bool) or max_queued < 1):
        raise DeclarationError(f"max_queued is a number of jobs, 1 or more, not {max_queued!r}.", option="max_queued")
    if rate is not None and not isinstance(rate, Rate):
        rate = Rate(rate)
    lag = None if max_lag is None else seconds(max_lag, "max_lag", least=1)
    return Limits(rate=rate, max_queued=max_queued, max_lag=lag)
