"""How many jobs a worker takes beyond those that its threads run."""

from __future__ import annotations

from typing import Final

PATIENCE: Final = 0.25
"""Seconds that a job waits at most for a thread of this worker; then it goes back, for others to take."""

_SHORT: Final = 0.01
"""Seconds: of jobs that take less, as many more than there are threads are taken as the threads do in this time. The
threads have something to do then while Redis is talked to."""

_MOST: Final = 64
_WEIGHT: Final = 1 / 16


class Pace:
    """Knows how long jobs take.

    Args:
        threads: how many jobs run at once.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._mean = PATIENCE

    @property
    def ahead(self) -> int:
        """How many jobs may wait for a thread."""
        return min(_MOST, int(self._threads * _SHORT / max(self._mean, 1e-6))) if self._mean <= _SHORT else 0

    def took(self, seconds: float) -> None:
        """Note how long a job took."""
        self._mean += (seconds - self._mean) * _WEIGHT

    def slow(self) -> None:
        """Note that jobs had to wait: those before them turned out to be long ones."""
        self._mean = PATIENCE
