"""Runs one job in the thread that it is called in, and says what there is to write of it."""

from __future__ import annotations

import copy
import logging
import operator
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeAlias

from redis.exceptions import RedisError
from rq import Retry
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.results import Result
from rq.timeouts import JobTimeoutException
from rq.utils import now, utcformat
from rq.worker import BaseWorker

from ..errors import RetryLater
from ..outbox.names import BEGUN
from .deadlines import Guarded, Watcher, death_penalty
from .ledger import RQ_3, Ended, Held
from .taken import Taken, perform

log: Final = logging.getLogger("rq.worker")

ExcInfo: TypeAlias = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


_STOPPED: Final = "Job stopped by user, work-horse terminated."
"""RQ's own words."""

# What RQ saves of a job when it has ended well, and a job can change in `rq.get_current_job()`.
_saved: Final = operator.attrgetter(
    *("description", "timeout", "result_ttl", "failure_ttl", "ttl", "origin", "group_id", "_exc_info"),
    *("retries_left", "retry_intervals", "repeats_left", "enqueued_at", "created_at"),
    *("allow_dependency_failures", "enqueue_at_front"),
)


_SAYING: Final = ("handle_job_success", "handle_job_failure", "handle_job_retry")
"""What RQ's worker writes of a job that has ended."""


class Stopped(BaseException):
    """Thrown into a job's thread when somebody stops the job (`rq.command.send_stop_job_command`).

    It is no `Exception`, so that a job does not catch it by mistake.
    """


class Run:
    """One run of a job.

    Attributes:
        taken: the job.
        taken_at: when it came here, on the monotonic clock.
        seconds: how long it took, with what RQ's own code wrote of it.

    Args:
        worker: the worker, whose settings and bookkeeping count.
        taken: the job.
        watcher: what sees that it keeps its time.
        holds: whether the worker holds it still.
        turn: what the worker's runs have in common. RQ puts dependents off for ten minutes if two jobs that end at once
            want to enqueue some.
        check: raises if the job must not be run; nothing that the job names has been imported by then.
    """

    def __init__(
        self,
        worker: BaseWorker,
        taken: Taken,
        watcher: Watcher,
        holds: Callable[[Held], bool],
        turn: threading.Lock,
        check: Callable[[RQJob], None] | None = None,
    ) -> None:
        self.taken = taken
        self._worker = worker
        self._watcher = watcher
        self._holds = holds
        self._turn = turn
        self._check = check
        self._guarded: Guarded | None = None
        self._stopped = False
        self._dropped = False
        self._rqs: Any = None
        self._begun = threading.Lock()
        self._before = _saved(taken.job)
        self.taken_at = time.monotonic()
        self.seconds = 0.0
        # Whoever has it says what becomes of the job: its own thread, or one that gives it up.
        self._says = threading.Lock()

    def begin(self) -> bool:
        """Say that it is begun, or that it will not be; whoever says so first may."""
        return self._begun.acquire(blocking=False)

    @property
    def waits(self) -> bool:
        """Whether no thread has begun it."""
        return not self._begun.locked()

    def __call__(self) -> Ended | None:
        """Run it, and give what it has come to; `None` if it has been given up meanwhile."""
        began = time.monotonic()
        try:
            return self._run()
        finally:
            self.seconds = time.monotonic() - began

    def _run(self) -> Ended | None:
        if self.taken.own_way:
            return self._run_rqs_way()
        try:
            value = self._perform()
        except BaseException:  # whatever a job raises, SystemExit too, as RQ does
            return self._said(lambda: self._fail(sys.exc_info()))
        if isinstance(value, Retry):
            retry = value
            return self._said(lambda: self._retry_or_fail(retry))
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
        return self._written(lambda: self._fail((type(error), error, None))) if self.drop() else None

    def drop(self) -> bool:
        """Have nothing written of what it comes to, unless that has begun."""
        dropped = self._says.acquire(blocking=False)
        self._dropped = self._dropped or dropped
        if dropped and self._rqs is not None:
            _mute(self._rqs, self.taken.job)
        return dropped

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
        job = taken.job
        if self._check is not None:
            self._check(job)
        if taken.once:
            # Who finds it when this worker is dead may run it only if this has not been written.
            job.connection.hset(job.key, BEGUN, taken.held.execution)
        job.started_at = now()
        guarded = self._guarded = self._watcher.guard(taken.timeout)
        try:
            try:
                if self._stopped:
                    raise Stopped  # before it was begun
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
        if ttl == 0 or ttl < -1 or _saved(job) != self._before:
            # RQ deletes it; or the job has changed what RQ saves of it.
            return self.finish_rqs_way()
        ended = job.ended_at or now()
        started = job.started_at or ended
        result = Result(
            job.id,
            Result.Type.SUCCESSFUL,
            connection=job.connection,
            return_value=value,
            worker_name=self._worker.name,
            execution_id=taken.execution.id,
            execution_started_at=taken.execution.created_at,
            execution_ended_at=ended,
        )
        result.serializer = job.serializer
        flat = [part for pair in result.serialize().items() for part in pair]
        seconds = (ended - started).total_seconds()
        written = (utcformat(started), utcformat(ended), seconds, ttl, len(flat), *flat)
        job._status = JobStatus.FINISHED
        return Ended(taken.held.id, taken.held.execution, job.origin, written)

    def _run_rqs_way(self) -> Ended | None:
        taken = self.taken
        worker = self._rqs = self._for_rq()
        # The job itself is RQ's; that it wants to be run later, or was stopped, RQ does not know.
        taken.job.perform = self._perform_rqs_way  # type: ignore[method-assign]
        worker.death_penalty_class = death_penalty(self._guard)

        def write() -> None:
            if self._check is not None:
                try:
                    self._check(taken.job)
                except Exception:
                    self._fail(sys.exc_info())
                    return
            if taken.once:
                taken.job.connection.hset(taken.job.key, BEGUN, taken.held.execution)
            worker.perform_job(taken.job, taken.queue, *([taken.execution] if RQ_3 else []))

        ended = self._written(write, fenced=False)
        del taken.job.perform
        return None if self._dropped else ended

    def _perform_rqs_way(self) -> Any:
        try:
            if self._stopped:
                raise Stopped
            return perform(self.taken.job)
        except Stopped:
            self._say_stopped(self._rqs)
            raise
        finally:
            if not self._says.acquire(blocking=False) or not self._is_ours():
                _mute(self._rqs, self.taken.job)

    def _say_stopped(self, worker: Any) -> None:
        """Have RQ write that somebody stopped the job, where it would write that it failed: as its `Worker` does."""
        job = self.taken.job
        job._failure_callback_name = None
        worker.handle_exception = lambda *_: None
        fail = worker.handle_job_failure
        worker.handle_job_failure = lambda **said: fail(**(said | {"exc_string": _STOPPED}))
        log.warning("Worker %s: job %s stopped by user, moving job to FailedJobRegistry", worker.name, job.id)
        try:
            if (callback := job.stopped_callback) is not None:
                with worker.death_penalty_class(job.stopped_callback_timeout, JobTimeoutException, job_id=job.id):
                    callback(job, job.connection)
        except Exception:
            log.exception("Worker %s: stopped callback for job %s raised", worker.name, job.id)

    def _guard(self, seconds: float, error: type[BaseException]) -> Guarded:
        self._guarded = self._watcher.guard(seconds, error)
        return self._guarded

    def _retry_or_fail(self, retry: Retry) -> None:
        try:
            self._retry(retry)
        except RedisError:
            raise
        except Exception:
            self._fail(sys.exc_info())  # one without intervals, say

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
            text = _STOPPED
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

    def _written(self, write: Callable[[], None], *, fenced: bool = True) -> Ended:
        try:
            # RQ's code does not look whose the job is. A worker that was frozen must not write over what others have.
            if not fenced or self._is_ours():
                write()
        except BaseException:
            # Redis is away, say. The ledger sees that nothing was written, and puts the job back.
            log.exception("Worker %s: what job %s came to could not be written", self._worker.name, self.taken.job.id)
        return Ended(self.taken.held.id, self.taken.held.execution, self.taken.job.origin)

    def _in_turn(self, say: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **options: Any) -> None:
            if "exc_string" in options:
                # It can hold surrogates, of a file's name, say, which nothing that writes UTF-8 takes.
                options["exc_string"] = options["exc_string"].encode("utf-8", "backslashreplace").decode()
            with self._turn:
                say(*args, **options)

        return call

    def _handling(self, handle: Callable[..., None]) -> Callable[..., None]:
        """Have RQ's code handle an exception, unless it is a request to be run later, or its handling fails."""
        name = self._worker.name

        def call(job: RQJob, *exc_info: Any) -> None:
            if isinstance(exc_info[1], RetryLater) and job.should_retry:
                log.info("Worker %s: job %s: %s", name, job.id, exc_info[1])
                return
            try:
                handle(job, *exc_info)
            except Exception:
                log.exception("Worker %s: an exception handler failed on job %s", name, job.id)

        return call

    def _is_ours(self) -> bool:
        try:
            return self._holds(self.taken.held)
        except RedisError:
            return True  # then RQ's code fails too, and the ledger sees that nothing was written

    def _for_rq(self) -> Any:
        """Give a worker that runs this job alone: RQ's code keeps what it runs in the worker itself."""
        one: Any = copy.copy(self._worker)
        if RQ_3:
            one.executions = {self.taken.execution.id: self.taken.execution}
        else:
            one.execution = self.taken.execution
        one._stopped_job_id = self.taken.job.id if self._stopped else None
        for name in _SAYING:
            setattr(one, name, self._in_turn(getattr(one, name)))
        one.handle_exception = self._handling(one.handle_exception)
        return one


def _mute(worker: Any, job: RQJob) -> None:
    """Have RQ's code write and call nothing more of the one job that this copy of the worker runs."""
    job._success_callback_name = job._failure_callback_name = None
    job.webhooks = []
    for name in (*_SAYING, "handle_execution_ended", "handle_exception"):
        setattr(worker, name, lambda *_, **__: None)
