"""Runs one job in the thread that it is called in, and says what there is to write of it."""

from __future__ import annotations

import copy
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeAlias

from rq import Retry
from rq.job import JobStatus
from rq.results import Result
from rq.timeouts import JobTimeoutException
from rq.utils import now, utcformat
from rq.worker import BaseWorker

from .deadlines import Guarded, Watcher, death_penalty
from .ledger import RQ_3, Ended
from .taken import Taken, perform

log: Final = logging.getLogger("rq.worker")

ExcInfo: TypeAlias = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Stopped(BaseException):
    """Thrown into a job's thread when somebody stops the job (`rq.command.send_stop_job_command`).

    It is no `Exception`, so that a job does not catch it by mistake.
    """


class Run:
    """One run of a job.

    Args:
        worker: the worker, whose settings and bookkeeping count.
        taken: the job.
        watcher: what sees that it keeps its time.
        check: raises if the job must not be run; nothing that the job names has been imported by then.
    """

    def __init__(
        self, worker: BaseWorker, taken: Taken, watcher: Watcher, check: Callable[[Taken], None] | None = None
    ) -> None:
        self.taken = taken
        self._worker = worker
        self._watcher = watcher
        self._check = check
        self._guarded: Guarded | None = None
        self._stopped = False
        self._rqs: Any = None
        # Whoever has it says what becomes of the job: its own thread, or one that gives it up.
        self._says = threading.Lock()

    def __call__(self) -> Ended | None:
        """Run it, and give what it has come to; `None` if it has been given up meanwhile."""
        if self.taken.own_way:
            return self._run_rqs_way()
        try:
            value = self._perform()
        except BaseException:  # whatever a job raises, SystemExit too, as RQ does
            return self._said(lambda: self._fail(sys.exc_info()))
        if isinstance(value, Retry):
            retry = value
            return self._said(lambda: self._retry(retry))
        return self._succeeded(value) if self._says.acquire(blocking=False) else None

    def stop(self) -> bool:
        """Stop the job, if it runs and nothing has stopped it before."""
        self._stopped = True
        if self._rqs is not None:
            self._rqs._stopped_job_id = self.taken.job.id
        return self._guarded is not None and self._guarded.throw(Stopped)

    @property
    def overdue(self) -> float:
        """Seconds since it should have ended; 0 if its time has not passed."""
        return self._guarded.overdue if self._guarded is not None else 0.0

    def give_up(self) -> Ended | None:
        """Fail the job as one that took too long, although its thread hangs on; `None` if it has just ended."""
        seconds = self.taken.timeout
        error = JobTimeoutException(
            f"Task exceeded maximum timeout value ({seconds} seconds) and could not be interrupted: its thread waits "
            "in code that is not Python. The thread was left behind."
        )
        ended = self._said(lambda: self._fail((type(error), error, None)))
        if ended is not None and self._rqs is not None:
            for said in ("handle_execution_ended", "handle_job_success", "handle_job_failure", "handle_job_retry"):
                setattr(self._rqs, said, lambda *_, **__: None)
        return ended

    def finish_rqs_way(self) -> Ended:
        """Have RQ write a success that `__call__` gave: somebody has made jobs that depend on this one."""
        taken = self.taken

        def write() -> None:
            more = {"execution": taken.execution} if RQ_3 else {}
            self._for_rq().handle_job_success(
                job=taken.job, queue=taken.queue, started_job_registry=taken.queue.started_job_registry, **more
            )

        return self._written(write)

    def _perform(self) -> Any:
        taken = self.taken
        if self._check is not None:
            self._check(taken)
        job = taken.job
        job.started_at = now()
        guarded = self._guarded = self._watcher.guard(taken.timeout)
        try:
            try:
                return perform(job)
            finally:
                guarded.close()
        finally:
            # Once more: what was thrown may have arrived in the middle of it.
            guarded.close()
            job.ended_at = now()

    def _succeeded(self, value: Any) -> Ended:
        taken, job = self.taken, self.taken.job
        job._result = value
        ttl = job.get_result_ttl(self._worker.default_result_ttl)
        ended = job.ended_at or now()
        started = job.started_at or ended
        result = Result(
            job.id,
            Result.Type.SUCCESSFUL,
            connection=job.connection,
            return_value=value,
            worker_name=self._worker.name,
            serializer=job.serializer,
            execution_id=taken.execution.id,
            execution_started_at=taken.execution.created_at,
            execution_ended_at=ended,
        )
        flat = [part for pair in result.serialize().items() for part in pair]
        written = (utcformat(started), utcformat(ended), ttl, len(flat), *flat)
        seconds = (ended - started).total_seconds()
        job._status = JobStatus.FINISHED
        return Ended(taken.held.id, taken.held.execution, job.origin, seconds, written)

    def _run_rqs_way(self) -> Ended | None:
        taken = self.taken
        worker = self._rqs = self._for_rq()
        # The job itself is RQ's; that it wants to be run later, RQ does not know.
        taken.job.perform = lambda: perform(taken.job)  # type: ignore[method-assign]
        worker.death_penalty_class = death_penalty(self._guard)

        def write() -> None:
            if self._check is not None:
                try:
                    self._check(taken)
                except Exception:
                    self._fail(sys.exc_info())
                    return
            worker.perform_job(taken.job, taken.queue, *([taken.execution] if RQ_3 else []))

        ended = self._written(write)
        del taken.job.perform
        return ended if self._says.acquire(blocking=False) else None

    def _guard(self, seconds: float, error: type[BaseException]) -> Guarded:
        self._guarded = self._watcher.guard(seconds, error)
        return self._guarded

    def _retry(self, retry: Retry) -> None:
        taken = self.taken
        self._for_rq().handle_job_retry(
            job=taken.job,
            queue=taken.queue,
            retry=retry,
            started_job_registry=taken.queue.started_job_registry,
            execution=taken.execution,
        )

    def _fail(self, exc_info: ExcInfo) -> None:
        """Write a failure as RQ does at the end of `perform_job`."""
        taken, job, worker = self.taken, self.taken.job, self._for_rq()
        job._status = JobStatus.FAILED
        worker.handle_execution_ended(job, taken.queue, job.failure_callback_timeout)
        text = "".join(traceback.format_exception(*exc_info))
        if self._stopped and exc_info[0] is Stopped:
            text = "Job stopped by user."
            log.warning("Worker %s: job %s stopped by user, moving job to FailedJobRegistry", worker.name, job.id)
        else:
            worker.handle_exception(job, *exc_info)
        more = {"execution": taken.execution} if RQ_3 else {}
        worker.handle_job_failure(
            job=job,
            queue=taken.queue,
            started_job_registry=taken.queue.started_job_registry,
            exc_string=text,
            **more,
        )

    def _said(self, write: Callable[[], None]) -> Ended | None:
        """Write something by RQ's code, unless the job has been given up, or has just ended."""
        return self._written(write) if self._says.acquire(blocking=False) else None

    def _written(self, write: Callable[[], None]) -> Ended:
        try:
            write()
        except BaseException:
            # Redis is away, say. The ledger sees that nothing was written, and puts the job back.
            log.exception("Worker %s: what job %s came to could not be written", self._worker.name, self.taken.job.id)
        return Ended(self.taken.held.id, self.taken.held.execution, self.taken.job.origin)

    def _for_rq(self) -> Any:
        """Give a worker that runs this job alone: RQ's code keeps what it runs in the worker itself."""
        one = copy.copy(self._worker)
        if RQ_3:
            one.executions = {self.taken.execution.id: self.taken.execution}
        else:
            one.execution = self.taken.execution
        one._stopped_job_id = self.taken.job.id if self._stopped else None
        return one
