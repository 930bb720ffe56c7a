"""What a worker does beside its jobs, in a thread: it says that it lives, and looks after what others left."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from redis.exceptions import RedisError
from rq.utils import now
from rq.worker import BaseWorker

from .held import Reclaimed
from .ledger import Ledger

log: Final = logging.getLogger("rq.worker")

BEAT: Final = 5.0
"""Seconds between two signs of life: a third of the lease, so that one may get lost."""

LOOKS: Final = 8.0
"""Seconds for which a worker must have been seen dead. After an outage of Redis all look dead for a moment."""


ADOPTS: Final = 60.0
"""Seconds between two looks for jobs whose holder is not known at all."""

_NAMED: Final = 10


class Watch:
    """Puts back what dead workers held.

    Since when a worker is seen dead stands in Redis: one that looks may not live for long enough itself.

    Args:
        ledger: where.
        failed: is told the ids of jobs that have failed; others may wait for them.
    """

    def __init__(self, ledger: Ledger, failed: Callable[[Sequence[str]], None] | None = None) -> None:
        self._ledger = ledger
        self._failed = failed
        self._adopt_at = float("-inf")

    def look(self) -> Reclaimed:
        """Look once; workers that were seen dead for long enough lose their jobs.

        Raises:
            RedisError: Redis does not answer.
        """
        total = Reclaimed()
        if time.monotonic() >= self._adopt_at:
            self._ledger.adopt()
            self._adopt_at = time.monotonic() + ADOPTS
        for worker, until in self._ledger.dead_for(LOOKS).items():
            got = self._ledger.reclaim(worker, until)
            total += got
            if got.back or got.failed or got.aside:
                log.warning(
                    "the worker %s is dead: %d of its jobs are in their queues again, %d failed (%s), %d set aside",
                    worker, got.back, len(got.failed), ", ".join(got.failed[:_NAMED]) or "none", len(got.aside),
                )  # fmt: skip
            if (got.failed or got.ended) and self._failed is not None:
                self._failed(got.failed + got.ended)
        return total


def maintain(worker: BaseWorker) -> None:
    """Have RQ clean up. A job that cannot be read, say, must not end the worker; others clean up too."""
    try:
        worker.run_maintenance_tasks()
    except Exception:
        worker.last_cleaned_at = now()  # type: ignore[assignment]
        log.exception("Worker %s: maintenance failed", worker.name)


class Keeper:
    """Does some things again and again, each at its own pace, in one thread.

    Args:
        tasks: pairs of seconds and what is called that often, the first time at once.
    """

    def __init__(self, tasks: Sequence[tuple[float, Callable[[], object]]]) -> None:
        self._tasks = tasks
        self._away = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="trafficrelay-keeper", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """End the thread; what it is at is finished first, within a time."""
        self._stop.set()
        self._thread.join(timeout)

    def _keep(self) -> None:
        due = [0.0] * len(self._tasks)
        while True:
            for place, (seconds, task) in enumerate(self._tasks):
                if time.monotonic() >= due[place]:
                    self._do(task)
                    due[place] = time.monotonic() + seconds
            if self._stop.wait(max(0.05, min(due) - time.monotonic())):
                return

    def _do(self, task: Callable[[], object]) -> None:
        try:
            task()
        except RedisError as error:
            if not self._away:
                log.warning("Redis does not answer (%s); this is tried again", type(error).__name__)
            self._away = True
            return
        except Exception:
            log.exception("%s failed; trying again", getattr(task, "__name__", task))
        if self._away:
            log.warning("Redis answers again")
        self._away = False
