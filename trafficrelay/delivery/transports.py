"""The connections of a process: one pool for all deliveries that may connect to the same addresses."""

from __future__ import annotations

import threading

from .guard import Guard
from .transport import Transport


class Transports:
    """Holds a `Transport` for each guard. A relay has one, so its connections live as long as its process uses it.

    All threads of a RelayWorker share them, so that connections are kept alive from job to job. What is kept belongs to
    the relay's declaration, which each worker process imports once; so no global is needed, and two relays in one
    process share nothing. The horses that a stock worker forks import the relay for themselves, each for one job.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Guard, Transport] = {}

    def of(self, guard: Guard) -> Transport:
        """Give the transport that a guard's destinations share."""
        with self._lock:
            if guard not in self._made:
                self._made[guard] = Transport(guard)
            return self._made[guard]

    def close(self) -> None:
        """Close all connections; the next delivery opens new ones."""
        with self._lock:
            made, self._made = self._made, {}
        for transport in made.values():
            transport.close()
