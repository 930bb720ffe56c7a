"""Brings the outbox back: tries Redis until it takes events again, and has the spool drained."""

from __future__ import annotations

import logging
import threading
import time
from random import SystemRandom
from typing import Final

from ..errors import OutboxError, OutboxUnavailable, SpoolError
from ..failures import without_words
from .breaker import Breaker
from .drain import Drain
from .handover import Outbox

log: Final = logging.getLogger("trafficrelay.outbox")

FIRST_WAIT: Final = 0.05
"""Seconds until Redis is tried for the first time; each further wait is twice as long."""

MAX_WAIT: Final = 5.0
"""Seconds that a wait becomes at most."""

LOOK_EVERY: Final = 2.0
"""Seconds between looks at the spool: a process that died may have left something in it."""


class Recovery:
    """Works in a thread that runs when it is needed: while Redis is away and, where there is a spool, all the time.

    Args:
        outbox: what is tried.
        breaker: is closed when it takes an event.
        drain: is run while it does; `None` without a spool.
    """

    def __init__(self, outbox: Outbox, breaker: Breaker, drain: Drain | None) -> None:
        self._outbox = outbox
        self._breaker = breaker
        self._drain = drain
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        # When the thread has to be done; none while it may go on.
        self._deadline: float | None = None
        self._told = ""

    def start(self) -> None:
        """Start the thread, or have it look at once if it runs."""
        self._wake.set()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._deadline = None
                self._thread = threading.Thread(target=self._run, name="trafficrelay-recovery", daemon=True)
                self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread. If Redis is there, the spool is drained first, as far as that goes in the time."""
        thread = self._thread
        if thread is None:
            return
        self._deadline = time.monotonic() + timeout
        self._wake.set()
        # A call to Redis that is on its way has a time-out of its own; nothing is lost by not waiting for it.
        thread.join(timeout + 0.5)

    def abandon(self) -> None:
        """Have the thread end soon, without waiting for it: whose it was is not there any more."""
        self._deadline = 0.0
        self._wake.set()

    def _run(self) -> None:
        wait = FIRST_WAIT
        while True:
            ending = self._deadline is not None
            if self._breaker.error is None:
                if self._drained():
                    wait = FIRST_WAIT
                    self._pause(LOOK_EVERY)
            elif not ending and self._takes_events():
                self._breaker.close()
            else:
                # Not all relays at once, when Redis comes back.
                # Not the numbers that the host may have seeded: this is a thread of its process.
                self._pause(wait * SystemRandom().uniform(0.5, 1.0))
                wait = min(wait * 2, MAX_WAIT)
            with self._lock:
                idle = self._drain is None and self._breaker.error is None
                if idle or ending:
                    self._thread = None
                    return

    def _takes_events(self) -> bool:
        try:
            self._outbox.check()
        except OutboxError:
            return False
        except Exception as error:
            # The thread has to go on, whatever it was: nobody else closes the breaker.
            log.error("Redis could not be tried\n%s", without_words(error))
            return False
        return True

    def _drained(self) -> bool:
        if self._drain is None:
            return True
        began = time.monotonic()
        try:
            count = self._drain.run(self._go_on)
        except OutboxUnavailable as error:
            self._breaker.trip(error, since=began)
            return False
        except SpoolError as error:
            if str(error) != self._told:
                log.error("%s", error)
            self._told = str(error)
            return True
        except Exception as error:
            # The thread has to go on, whatever it was: events lie in the spool.
            log.error("the spool could not be drained\n%s", without_words(error))
            return True
        self._told = ""
        if count:
            log.info("%d events were moved from the spool to Redis", count)
        return True

    def _go_on(self, took: float) -> bool:
        if self._deadline is not None:
            return time.monotonic() < self._deadline
        # Requests get half of the time.
        self._wake.wait(min(took, 1.0))
        return True

    def _pause(self, seconds: float) -> None:
        self._wake.wait(seconds)
        if self._deadline is None:
            self._wake.clear()
