"""Runs one job in the thread that it is called in, and says what there is to write of it."""

from __future__ import annotations

import logging
import operator
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import RedisError
from rq import Retry
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.results import Result
from rq.timeouts import JobTimeoutException
from rq.utils import now, utcformat
from rq.worker import BaseWorker

from ..errors import JobError
from ..outbox.names import BEGUN
from .bookkeeping import Bookkeeping, ExcInfo, Stopped
from .deadlines import Guarded, Watcher, death_penalty
from .held import Ended
from .ledger import Ledger
from .taken import Taken, perform

log: Final = logging.getLogger("rq.worker")

# The ledger sees that nothing was written, and puts the job back.
_UNWRITTEN: Final = "Worker %s: what job %s came to could not be written"

_TRIES: Final = 3
"""How often RQ's code is asked to write what Redis, which answers, does not take."""

_LONGEST_PAUSE: Final = 30.0

# What RQ saves of a job when it has ended well, and a job can change in `rq.get_current_job()`.
_saved: Final = operator.attrgetter(
    *("description", "timeout", "result_ttl", "failure_ttl", "ttl", "origin", "group_id", "_exc_info"),
    *("retries_left", "retry_intervals", "repeats_left", "enqueued_at", "created_at"),
    *("allow_dependency_failures", "enqueue_at_front"),
)


class Run:
    """One run of a job.

    Attributes:
        taken: the job.
        taken_at: when it came here, on the monotonic clock.
        seconds: how long it took, with what RQ's own code wrote of it.
        unheard: whether Redis did not answer when RQ's code wrote.

    Args:
        worker: the worker, whose settings and bookkeeping count.
        taken: the job.
        watcher: what sees that it keeps its time.
        ledger: says whose the job is.
        turn: see `Bookkeeping`.
        check: raises if the job must not be run; nothing that the job names has been imported by then.
    """

    def __init__(
        self,
        worker: BaseWorker,
        taken: Taken,
        watcher: Watcher,
        ledger: Ledger,
        turn: threading.Lock,
        check: Callable[[RQJob], None] | None = None,
    ) -> None:
        self.taken = taken
        self._worker = worker
        self._watcher = watcher
        self._ledger = ledger
        self._turn = turn
        self._check = check
        self._guarded: Guarded | None = None
        self._stopped = self._dropped = self._mine = False
        self._book: Bookkeeping | None = None
        self._begun = threading.Lock()
        self._before = _saved(taken.job)
        self.taken_at = time.monotonic()
        self.seconds = 0.0
        self.unheard = False
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
            return self._run_rqs_way() if self.taken.own_way else self._run()
        finally:
            self.seconds = time.monotonic() - began

    def stop(self) -> bool:
        """Stop the job, if it runs and nothing has stopped it before."""
        self._stopped = True
        return self._guarded is not None and self._guarded.throw(Stopped)

    @property
    def is_at_work(self) -> bool:
        """Whether its function runs just now: nothing is written of it yet."""
        return self._guarded is not None and not self._guarded.is_over and not self._says.locked()

    @property
    def overdue(self) -> float:
        """Seconds since it should have ended; 0 if its time has not passed."""
        return self._guarded.overdue if self._guarded is not None else 0.0

    def give_up(self) -> Ended:
        """Fail a job that was dropped as one that took too long: its thread hangs on."""
        seconds = self.taken.timeout
        error = JobTimeoutException(
            f"Task exceeded maximum timeout value ({seconds} seconds) and could not be interrupted: its thread waits "
            "in code that is not Python. The thread was left behind."
        )
        return self._failed((type(error), error, None))

    def drop(self) -> bool:
        """Have nothing written of what it comes to, unless that has begun."""
        dropped = self._says.acquire(blocking=False)
        self._dropped = self._dropped or dropped
        if dropped and self._book is not None:
            self._book.mute()
        return dropped

    def finish_rqs_way(self) -> Ended:
        """Have RQ write a success that `__call__` gave: somebody has made jobs that depend on this one."""
        return self._written(lambda book: book.succeed())

    def fail_unstorable(self, size: int) -> Ended:
        """Fail the job, although it ended well: Redis does not take its result."""
        error = JobError(f"The job ended well, but Redis did not take its result of some {size} bytes.")
        return self._failed((type(error), error, None))

    def _run(self) -> Ended | None:
        ended: Ended | None = None
        try:
            value = self._perform()
            if not isinstance(value, Retry):
                ended = self._succeeded(value)
        except BaseException:  # whatever a job raises, SystemExit too, as RQ does
            return self._failed(sys.exc_info()) if self._says.acquire(blocking=False) else None
        if not self._says.acquire(blocking=False):
            return None
        if isinstance(value, Retry):
            return self._retried(value)
        return ended or self.finish_rqs_way()

    def _perform(self) -> Any:
        job = self.taken.job
        if self._check is not None:
            self._check(job)
        self._say_begun()
        job.started_at = now()
        guarded = self._guard(self.taken.timeout)
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

    def _succeeded(self, value: Any) -> Ended | None:
        """Say what there is to write of a success; `None` if RQ has to write it."""
        taken, job = self.taken, self.taken.job
        job._result = value
        ttl = job.get_result_ttl(self._worker.default_result_ttl)
        if ttl == 0 or ttl < -1 or _saved(job) != self._before:
            # RQ deletes it; or the job has changed what RQ saves of it.
            return None
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
        book = self._book = Bookkeeping(self._worker, taken, self._turn, self._may_say)
        book.worker.death_penalty_class = death_penalty(self._guard)
        # The job itself is RQ's; that it wants to be run later, or was stopped, RQ does not know.
        taken.job.perform = self._perform_rqs_way  # type: ignore[method-assign]
        try:
            if self._check is not None:
                self._check(taken.job)
            self._say_begun()
        except Exception:
            return self._failed(sys.exc_info())
        try:
            book.perform()
        except BaseException:
            log.exception(_UNWRITTEN, self._worker.name, taken.job.id)
        del taken.job.perform
        self.unheard = self._is_written() is None
        return None if self._dropped else self._ended()

    def _perform_rqs_way(self) -> Any:
        book = self._book
        assert book is not None  # noqa: S101 - set before RQ is asked
        try:
            if self._stopped:
                raise Stopped
            return perform(self.taken.job)
        except Stopped:
            book.say_stopped()
            raise
        finally:
            if not self._is_ours():
                book.mute()

    def _may_say(self) -> bool:
        """Say whether this thread says what becomes of the job; not if it has been dropped meanwhile."""
        self._mine = self._mine or self._says.acquire(blocking=False)
        return self._mine

    def _say_begun(self) -> None:
        """Note of a job that must not run twice that it has begun. Who finds it then does not run it."""
        if self.taken.once:
            self.taken.job.connection.hset(self.taken.job.key, BEGUN, self.taken.held.execution)

    def _guard(self, seconds: float, error: type[BaseException] = JobTimeoutException) -> Guarded:
        guarded = self._guarded = self._watcher.guard(seconds, error)
        return guarded

    def _failed(self, exc_info: ExcInfo) -> Ended:
        return self._written(lambda book: book.fail(exc_info))

    def _retried(self, retry: Retry) -> Ended:
        def write(book: Bookkeeping) -> None:
            try:
                book.retry(retry)
            except RedisError:
                raise
            except Exception:
                book.fail(sys.exc_info())  # one without intervals, say

        return self._written(write)

    def _written(self, write: Callable[[Bookkeeping], None]) -> Ended:
        """Have RQ's code write something. While Redis does not answer this thread waits; it has nothing else to do."""
        book = Bookkeeping(self._worker, self.taken, self._turn)
        pause, tries = 0.5, 0
        # RQ's code does not look whose the job is. A worker that was frozen must not write over what others have.
        while self._is_ours():
            try:
                write(book)
            except RedisError:
                pass  # it is looked at below, because RQ's code mostly keeps these to itself
            except BaseException:
                log.exception(_UNWRITTEN, self._worker.name, self.taken.job.id)
                break
            written = self._is_written()
            tries += written is False
            if written or tries >= _TRIES:
                break
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)
            book.begin_again()
        return self._ended()

    def _ended(self) -> Ended:
        return Ended(self.taken.held.id, self.taken.held.execution, self.taken.job.origin)

    def _is_ours(self) -> bool:
        try:
            return self._ledger.holds(self.taken.held)
        except RedisError:
            return True  # then RQ's code fails too

    def _is_written(self) -> bool | None:
        """Say whether RQ's code has written what the job has come to; `None` if Redis takes nothing now."""
        try:
            return self._ledger.is_written(self.taken.held, self.taken.job.origin)
        except RedisError:
            return None
