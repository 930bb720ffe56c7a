"""Time limits of jobs that run in threads: one watcher for all of them.

RQ's own way needs the main thread (signals), or a timer thread for each job that patches the exception's class for
all. Here one thread sleeps until the next deadline and raises the exception in the thread that is over it.
"""

from __future__ import annotations

import ctypes
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from rq.timeouts import BaseTimeoutException, JobTimeoutException

_CLEAR: Final = 256

_AGAIN: Final = 10.0
"""Seconds after which a time-out is thrown again. A fifth of them ends up in an `except Exception` of somebody's code,
that of `logging` for one; and a `finally` has that long to clean up."""

_raise_in: Final = ctypes.pythonapi.PyThreadState_SetAsyncExc


class Guarded:
    """A stretch of one thread's work that an exception may be thrown into from outside. Made by `Watcher.guard`.

    What is thrown arrives at the thread's next step in Python: not while it sleeps or waits in C.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends_at = time.monotonic() + seconds
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._over = False
        self._thrown = False

    def throw(self, error: type[BaseException]) -> bool:
        """Raise an exception in the thread, if the work goes on."""
        with self._lock:
            if self._over:
                return False
            self._thrown = True
            _raise_in(ctypes.c_ulong(self._thread), ctypes.py_object(error))
            return True

    @property
    def overdue(self) -> float:
        """Seconds since the work should have ended; 0 if it has, or has time left."""
        return 0.0 if self._over or self.seconds <= 0 else max(0.0, time.monotonic() - self._ends_at)

    @property
    def is_over(self) -> bool:
        """Whether the work has ended."""
        return self._over

    def close(self) -> None:
        """End it: nothing arrives after this. Called by the thread itself, again after whatever has arrived."""
        with self._lock:
            self._over = True
            if self._thrown:
                # Thrown and not yet arrived: it would hit whatever the thread does next.
                _raise_in(ctypes.c_ulong(self._thread), None)


class Watcher:
    """Throws a time-out into work that takes too long.

    Args:
        name: of its thread.
    """

    def __init__(self, name: str = "trafficrelay-deadlines") -> None:
        self._deadlines: list[tuple[float, int, Guarded, type[BaseException]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._clear_at = _CLEAR
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)
        self._thread.start()

    def guard(self, seconds: float, error: type[BaseException] = JobTimeoutException) -> Guarded:
        """Begin a stretch of the calling thread's work; its `close` ends it.

        Args:
            seconds: after which `error` is raised in it; 0 or less for never.
            error: a class that can be called without arguments.
        """
        guarded = Guarded(seconds)
        if seconds > 0:
            self._push(seconds, guarded, error)
        return guarded

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _push(self, seconds: float, guarded: Guarded, error: type[BaseException]) -> None:
        with self._changed:
            entry = (time.monotonic() + seconds, next(self._numbers), guarded, error)
            heapq.heappush(self._deadlines, entry)
            if len(self._deadlines) > self._clear_at:
                # Jobs mostly end long before their time, which may be hours.
                self._deadlines = [entry for entry in self._deadlines if not entry[2].is_over]
                heapq.heapify(self._deadlines)
                self._clear_at = 2 * len(self._deadlines) + _CLEAR
            if self._deadlines[0] is entry:
                self._changed.notify()

    def _watch(self) -> None:
        while True:
            with self._changed:
                while not self._closed:
                    wait = self._deadlines[0][0] - time.monotonic() if self._deadlines else None
                    if wait is not None and wait <= 0:
                        break
                    # Not for ever: a wait of centuries is more than Python takes.
                    self._changed.wait(None if wait is None else min(wait, 3600.0))
                if self._closed:
                    return
                _, _, guarded, error = heapq.heappop(self._deadlines)
            if guarded.throw(_with_text(error, guarded.seconds)):
                self._push(_AGAIN, guarded, error)


def _with_text(error: type[BaseException], seconds: float) -> type[BaseException]:
    """Make a class of an exception that says how long it was: only a class can be thrown, and without arguments."""

    def init(self: BaseException, *_: object) -> None:
        BaseException.__init__(self, f"Task exceeded maximum timeout value ({seconds:g} seconds)")

    names = {"__init__": init, "__module__": error.__module__, "__qualname__": error.__qualname__}
    return type(error.__name__, (error,), names)


def death_penalty(guard: Callable[[float, type[BaseException]], Guarded]) -> type[Any]:
    """Make what RQ takes as its `death_penalty_class`: it limits callbacks, and jobs that take RQ's own way."""

    class DeathPenalty:
        def __init__(
            self, timeout: float, exception: type[BaseException] = BaseTimeoutException, **_options: Any
        ) -> None:
            self._timeout = timeout
            self._exception = exception

        def __enter__(self) -> Self:
            self._guarded = guard(self._timeout, self._exception)
            return self

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            self._guarded.close()

    return DeathPenalty
