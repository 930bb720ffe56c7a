"""The threads that jobs run in."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from queue import SimpleQueue


class JobThreads:
    """Runs tasks, each in the next thread that is free.

    Args:
        count: how many threads there are.
    """

    def __init__(self, count: int) -> None:
        self._tasks: SimpleQueue[Callable[[], bool] | None] = SimpleQueue()
        self._numbers = itertools.count(1)
        for _ in range(count):
            self.add()

    def add(self) -> None:
        """Add a thread, for one that hangs."""
        # Daemons, because a job that hangs must not keep the process.
        name = f"trafficrelay-job-{next(self._numbers)}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, task: Callable[[], bool]) -> None:
        """Have a task run. It must not raise, and says whether its thread is to go on."""
        self._tasks.put(task)

    def close(self, count: int) -> None:
        """Let so many threads end when they are free."""
        for _ in range(count):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if not task():
                return
            del task  # it holds a job and what that gave
