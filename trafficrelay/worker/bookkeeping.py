"""RQ's own bookkeeping of one job, where the worker's fast way does not know all that the job uses."""

from __future__ import annotations

import copy
import logging
import threading
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Final, TypeAlias

from rq import Retry
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.timeouts import JobTimeoutException
from rq.worker import BaseWorker

from ..errors import DeliveryError, JobError, RetryLater
from .ledger import RQ_3
from .taken import Taken

log: Final = logging.getLogger("rq.worker")

ExcInfo: TypeAlias = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

_STOPPED: Final = "Job stopped by user, work-horse terminated."
"""RQ's own words."""

_SAYING: Final = ("handle_job_success", "handle_job_failure", "handle_job_retry")
"""What RQ's worker writes of a job that has ended."""

_COUNTS: Final = ("retries_left", "number_of_retries", "repeats_left", "repeat_intervals", "retry_intervals", "_status")
"""What RQ's code changes in a job while it writes."""


class Stopped(BaseException):
    """Thrown into a job's thread when somebody stops the job (`rq.command.send_stop_job_command`).

    It is no `Exception`, so that a job does not catch it by mistake.
    """


class Bookkeeping:
    """Has RQ's code write what a job has come to, by a copy of the worker: RQ keeps what it runs in the worker itself.

    Args:
        worker: the worker.
        taken: the job.
        turn: what all of the worker's jobs have in common. RQ puts dependents off for ten minutes if two jobs that end
            at once want to enqueue some; so of those that have some, one at a time is written.

        may: whether anything may be written; asked when it is.

    Attributes:
        worker: the copy, which runs this job alone.
    """

    def __init__(
        self, worker: BaseWorker, taken: Taken, turn: threading.Lock, may: Callable[[], bool] = lambda: True
    ) -> None:
        self._taken = taken
        self._turn = turn
        self._may = may
        self._handled = False
        self._counts = {name: getattr(taken.job, name) for name in _COUNTS}
        one: Any = copy.copy(worker)
        if RQ_3:
            one.executions = {taken.execution.id: taken.execution}
        else:
            one.execution = taken.execution
        for name in _SAYING:
            setattr(one, name, self._in_turn(getattr(one, name)))
        self.worker: Any = one
        one.handle_exception = self._handling(one.handle_exception)

    def perform(self) -> None:
        """Have RQ do all that it does with a job."""
        taken = self._taken
        self.worker.perform_job(taken.job, taken.queue, *([taken.execution] if RQ_3 else []))

    def succeed(self) -> None:
        """Have RQ write that the job has ended well; its result is in it."""
        self.worker.handle_job_success(**self._of_job())

    def retry(self, retry: Retry) -> None:
        """Have RQ run the job again, as it has asked for."""
        taken = self._taken
        self.worker.handle_job_retry(
            job=taken.job,
            queue=taken.queue,
            retry=retry,
            started_job_registry=taken.queue.started_job_registry,
            execution=taken.execution,
        )

    def fail(self, exc_info: ExcInfo) -> None:
        """Have RQ write a failure, as it does at the end of `perform_job`."""
        taken, job = self._taken, self._taken.job
        job._status = JobStatus.FAILED
        self.worker.handle_execution_ended(job, taken.queue, job.failure_callback_timeout)
        text = "".join(traceback.format_exception(*exc_info))
        if exc_info[0] is Stopped:
            self.worker._stopped_job_id = job.id
            text = _STOPPED
            log.warning("Worker %s: job %s stopped by user, moving job to FailedJobRegistry", self.worker.name, job.id)
        else:
            self.worker.handle_exception(job, *exc_info)
        self.worker.handle_job_failure(**self._of_job(), exc_string=text)

    def say_stopped(self) -> None:
        """Have RQ write that somebody stopped the job, where it would write that it failed: as its `Worker` does."""
        job, worker = self._taken.job, self.worker
        worker._stopped_job_id = job.id
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

    def mute(self) -> None:
        """Have RQ's code write and call nothing more of the job."""
        job = self._taken.job
        job._success_callback_name = job._failure_callback_name = None
        job.webhooks = []
        for name in (*_SAYING, "handle_execution_ended", "handle_exception"):
            setattr(self.worker, name, lambda *_, **__: None)

    def begin_again(self) -> None:
        """Take back what RQ's code has changed in the job, to write it once more."""
        for name, value in self._counts.items():
            setattr(self._taken.job, name, value)

    def _of_job(self) -> dict[str, Any]:
        taken = self._taken
        said = {"job": taken.job, "queue": taken.queue, "started_job_registry": taken.queue.started_job_registry}
        return said | ({"execution": taken.execution} if RQ_3 else {})

    def _in_turn(self, say: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **options: Any) -> None:
            if "exc_string" in options:
                # It can hold surrogates, of a file's name, say, which nothing that writes UTF-8 takes.
                options["exc_string"] = options["exc_string"].encode("utf-8", "backslashreplace").decode()
            job = self._taken.job
            if not self._may():
                return
            with self._turn if job.connection.exists(job.dependents_key) else nullcontext():
                say(*args, **options)

        return call

    def _handling(self, handle: Callable[..., None]) -> Callable[..., None]:
        """Have RQ's code handle an exception, once; not if it is a request to be run later, or its handling fails.

        Of errors of our own one line is logged: their sentence says what there is to say, and there may be many.
        """
        worker, name = self.worker, self._taken.job.id

        def call(job: RQJob, *exc_info: Any) -> None:
            if self._handled:
                return
            self._handled = True
            if isinstance(exc_info[1], RetryLater) and job.should_retry:
                log.info("job %s: %s", name, exc_info[1])
                return
            try:
                if isinstance(exc_info[1], DeliveryError | JobError):
                    log.error("job %s of %s failed: %s", name, job.origin, exc_info[1])
                    # As RQ does in the same place: one that says no ends it.
                    all(handler(job, *exc_info) in (None, True) for handler in worker._exc_handlers)
                else:
                    handle(job, *exc_info)
            except Exception:
                log.exception("an exception handler failed on job %s", name)

        return call
