"""The sweep in a thread of a program that does something else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from random import SystemRandom
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from ..errors import OutboxUnavailable, RelayError

if TYPE_CHECKING:
    from .sweeper import Report, Sweeper

log: Final = logging.getLogger("trafficrelay.sweep")

_FIRST: Final = (1.0, 4.0)
_JITTER: Final = 0.1
_LEAST: Final = 0.5
_AWAY: Final = 30.0


class SweepThread:
    """Sweeps again and again. Of several on one Redis, one sweeps at a time.

    As a context manager it runs as long as the block does.

    Args:
        make: makes the sweeper, in the thread: what that imports does not hold the program up.
        tell: told in a sentence what a sweep did, if it did anything; a warning in the log unless given.
        first: seconds between which the first sweep begins.
        away: seconds to wait after one that failed.
    """

    def __init__(
        self,
        make: Callable[[], Sweeper],
        *,
        tell: Callable[[str], None] = log.warning,
        first: tuple[float, float] = _FIRST,
        away: float = _AWAY,
    ) -> None:
        self._make = make
        self._tell = tell
        self._first = first
        self._away = away
        self._sweeper: Sweeper | None = None
        self._stopping = threading.Event()
        self._broken = 0
        self._thread = threading.Thread(target=self._run, name="trafficrelay-sweep", daemon=True)

    def start(self) -> None:
        """Start sweeping."""
        self._thread.start()

    def stop(self, timeout: float = 3.0) -> bool:
        """Stop sweeping.

        Args:
            timeout: seconds to wait for the thread, which may wait for a reply of Redis.

        Returns:
            Whether it has ended.
        """
        self._stopping.set()
        if self._sweeper is not None:
            self._sweeper.halt()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        # Not the numbers that the host may have seeded: this is a thread of its process.
        wait = SystemRandom().uniform(*self._first)
        said = ""
        while not self._stopping.wait(wait):
            try:
                wait = self._sweep() * SystemRandom().uniform(1, 1 + _JITTER)
                said = ""
            except OutboxUnavailable:
                # Whoever needs Redis says that it is away.
                wait = self._away
            except RelayError as error:
                self._tell(f"Lost jobs are not looked for: {error}")
                return
            except Exception as error:
                # Whatever is wrong with one sweep, another time it may not be. Its words can hold what was read.
                wait = self._away
                if type(error).__name__ != said:
                    said = type(error).__name__
                    self._tell(f"A sweep for lost jobs ended with {said}; it is tried again.")

    def _sweep(self) -> float:
        if self._sweeper is None:
            self._sweeper = self._make()
        report = self._sweeper.sweep(due_or_not=False)
        if report.swept:
            self._say(report)
        return max(report.next_in, _LEAST)

    def _say(self, report: Report) -> None:
        parts = [
            f"{number:,} {what}"
            for number, what in (
                (report.back + report.reclaimed, "put back into their queues"),
                (report.failed, "not run again and among the failed ones"),
                (report.broken if report.broken > self._broken else 0, "broken and left alone"),
            )
            if number
        ]
        self._broken = report.broken
        if parts:
            self._tell(f"Jobs that workers lost: {', '.join(parts)}.")
        if report.cleared:
            self._tell(f"{report.cleared:,} arguments are kept aside of jobs that are gone. They go in an hour.")
        if report.refused:
            self._tell(f"Redis does not let lost jobs be put back ({report.refused}); that is tried again.")
