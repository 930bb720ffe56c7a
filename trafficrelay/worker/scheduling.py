"""RQ's scheduler in a thread: it forks otherwise, which a process with many threads must not."""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from typing import Any, Final

from redis.exceptions import RedisError
from rq.job import Job as RQJob
from rq.scheduler import RQScheduler

from ..event import now
from ..outbox.broken import Broken, set_aside

_LOCKS_SECONDS: Final = 15.0

log: Final = logging.getLogger("rq.worker")


class ThreadScheduler(RQScheduler):
    """RQ's scheduler, whose `start` starts a thread. It outlives a Redis that is away, and jobs that cannot be read."""

    _process: Any = None
    _thread: threading.Thread | None = None

    def start(self) -> Any:
        """Start the thread."""
        self._status = self.Status.STARTED
        self._stopping = threading.Event()
        self._thread = self._process = threading.Thread(target=self._run, name="trafficrelay-scheduler", daemon=True)
        self._thread.start()
        return self._thread

    @property
    def should_reacquire_locks(self) -> bool:
        """Whether to try for locks that another scheduler has: it may be dead. RQ tries every ten minutes."""
        if self._queue_names == self.acquired_locks:
            return False
        last = self.lock_acquisition_time
        return not last or (datetime.now() - last).total_seconds() > _LOCKS_SECONDS

    def stop_thread(self, timeout: float = 5.0) -> None:
        """End the thread, and release the locks."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join(timeout)

    def enqueue_scheduled_jobs(self) -> None:
        """Enqueue what is due. One job that cannot be read does not keep the others from it."""
        try:
            super().enqueue_scheduled_jobs()
        except RedisError:
            raise
        except Exception:
            for registry in self._scheduled_job_registries:
                self._set_aside_unreadable(registry)
            super().enqueue_scheduled_jobs()

    def _set_aside_unreadable(self, registry: Any) -> None:
        for job_id in registry.get_jobs_to_schedule():
            try:
                RQJob.fetch(job_id, connection=self.connection, serializer=self.serializer)
            except RedisError:
                raise
            except Exception as error:
                log.error("job %s is due and cannot be read (%s); it was set aside", job_id, type(error).__name__)
                why = f"It was due, and cannot be read ({type(error).__name__})."
                self.connection.hset(*set_aside(Broken(job_id, registry.name, why, now())))
                registry.remove(job_id)

    def _run(self) -> None:
        wait = 0.0
        while not self._stopping.wait(wait):
            wait = float(self.interval)
            try:
                self._once()
            except RedisError as error:
                wait = 5.0
                log.debug("scheduler: Redis does not answer (%s); trying again", type(error).__name__)
            except Exception:
                wait = 30.0
                log.exception("scheduler: failed; trying again")
        try:
            self.stop()
        except RedisError:
            log.warning("scheduler: its locks could not be released; they end by themselves")

    def _once(self) -> None:
        if self.last_heartbeat is None:
            self.register_birth()
        if self.should_reacquire_locks:
            self.acquire_locks()
        self.heartbeat()
        self.enqueue_scheduled_jobs()
