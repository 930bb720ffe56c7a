"""Counters that all processes of a relay share: counted here, and added up in Redis every now and then.

What is refused must cost Redis nothing for each request: a flood of it is what somebody who wants to do harm sends. So
each process counts by itself, and sends its sums when the first of them is `EVERY` seconds old.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from ..errors import OutboxError

log = logging.getLogger("trafficrelay")

EVERY: Final = 2.0
"""Seconds after which what was counted is sent."""

MOST: Final = 2_000
"""How many different counters a process keeps: the names of keys may come from a function of the event."""

MOST_SUMS: Final = 20_000
"""How many Redis keeps, for the same reason; more are not begun."""


class Counter(NamedTuple):
    """What is counted.

    Attributes:
        what: `refused` or `verified`.
        why: of what was refused the cause, of what was verified which of several secrets it was.
        route: the route's rule.
    """

    what: str
    why: str
    route: str


class Counters:
    """Counts in this process, and sends the sums. Safe in threads.

    Args:
        send: adds to the sums of all processes; raises an `OutboxError` when it cannot.
    """

    def __init__(self, send: Callable[[Mapping[Counter, int]], None]) -> None:
        self._send = send
        self._counts: dict[Counter, int] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def add(self, counts: Mapping[Counter, int]) -> None:
        """Count; it is sent a little later, by a thread that ends then."""
        with self._lock:
            self._sum(counts)
            if self._timer is None:
                self._timer = timer = threading.Timer(EVERY, self.flush)
                timer.daemon = True
                timer.name = "trafficrelay-counters"
                timer.start()

    def flush(self) -> None:
        """Send what was counted. What cannot be sent now goes with what is counted next."""
        with self._lock:
            counts, self._counts = self._counts, {}
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        if not counts:
            return
        try:
            self._send(counts)
        except OutboxError as error:
            log.debug("counters could not be sent: %s", error)
            with self._lock:
                self._sum(counts)

    def _sum(self, counts: Mapping[Counter, int]) -> None:
        for counter, count in counts.items():
            if counter in self._counts or len(self._counts) < MOST:
                self._counts[counter] = self._counts.get(counter, 0) + count
