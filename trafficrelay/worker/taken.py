"""A job in a worker's hands: RQ's objects of it, and whether the worker's fast way knows all that it uses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import rq.job
from rq import Queue, Retry
from rq.executions import Execution
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.utils import utcparse
from rq.version import VERSION

from ..errors import JobBroken, RetryLater
from ..outbox.names import DEATHS, ONCE
from .held import Begun, Held
from .ledger import RQ_3

# A contextvar takes its place in RQ 3.
_job_stack: Final[Any] = getattr(rq.job, "_job_stack", None)

# What is written for a job without RQ's own code is known to be what these versions write. With others RQ does it all.
_KNOWN: Final = tuple(int(part) for part in VERSION.split(".")[:2]) >= (2, 12) and VERSION.partition(".")[0] in (
    "2",
    "3",
)


_TIMES: Final = (b"created_at", b"enqueued_at", b"started_at", b"ended_at", b"last_heartbeat")
_TIME_LENGTH: Final = len("2026-01-31T12:00:00.000000Z")


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that a worker has begun.

    Attributes:
        held: its id and its execution's.
        job: RQ's job.
        queue: the queue that it came from.
        execution: RQ's record of this run.
        own_way: whether RQ's own code has to run it and write what it comes to.
        deaths: how many workers have died with it.
        once: whether it must not run twice.
    """

    held: Held
    job: RQJob
    queue: Queue
    execution: Execution
    own_way: bool
    deaths: int
    once: bool

    @property
    def timeout(self) -> int:
        """Seconds that it may run; -1 for ever."""
        return int(self.job.timeout or Queue.DEFAULT_TIMEOUT)


def read(begun: Begun, queue: Queue, job_class: type[RQJob], worker: str, moment: datetime, serializer: Any) -> Taken:
    """Make RQ's objects of a job that was taken.

    Raises:
        JobBroken: its hash cannot be read.
    """
    fields = begun.fields
    try:
        # The serializer is set and not given: RQ checks what it is given against a protocol, in half of all this takes.
        job = job_class(begun.id, connection=queue.connection)
        job.serializer = serializer
        _restore(job, fields)
        deaths = int(fields.get(DEATHS.encode()) or 0)
        # RQ asks for these in the middle of its bookkeeping, where an error would leave the job half done.
        job.timeout = int(job.timeout) if job.timeout is not None else None
        own_way = not _KNOWN or _needs_rq(job)
    except Exception as error:
        # Its kind alone: an error's words may hold pieces of what stands there.
        raise JobBroken(f"It cannot be read ({type(error).__name__}).", job=begun.id) from error
    job.origin = job.origin or queue.name
    job.worker_name = worker
    job.last_heartbeat = job.started_at = moment
    job._status = JobStatus.STARTED  # set_status would write it to Redis by itself
    execution = Execution(begun.execution, begun.id, queue.connection, worker_name=worker)
    execution.created_at = execution.last_heartbeat = moment
    execution._job = job
    return Taken(begun, job, queue, execution, own_way, deaths, fields.get(ONCE.encode()) == b"1")


def _restore(job: RQJob, fields: Mapping[bytes, bytes]) -> None:
    if type(job) is not RQJob:
        job.restore(fields)
        return
    # RQ reads times with strptime, which takes a fifth of all that the worker does for a job.
    job.restore({name: value for name, value in fields.items() if name not in _TIMES})
    for name in _TIMES:
        if value := fields.get(name):
            setattr(job, name.decode(), _time(value.decode()))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text) if len(text) == _TIME_LENGTH and text[-1] == "Z" else utcparse(text)


def _needs_rq(job: RQJob) -> bool:
    return bool(
        type(job) is not RQJob
        or job._success_callback_name
        or job._failure_callback_name
        or job._stopped_callback_name
        or job.webhooks
        or job.repeats_left
        or job.result_ttl == 0
        or job._dependency_ids
        or getattr(job, "rate_limit_key", None)
    )


def perform(job: RQJob) -> Any:
    """Run a job, and let it say that it wants to be run later."""
    try:
        return _execute(job)
    except RetryLater as later:
        seconds = math.ceil(later.seconds)
        if job.retries_left is None:
            # RQ counts these by itself. What it says when they are used up is nothing; the error says what was wanted.
            if (job.number_of_retries or 0) >= later.tries:
                raise
            return Retry(max=later.tries, interval=seconds)
        job.get_retry_interval = _constant(seconds)  # type: ignore[method-assign]
        raise


def _execute(job: RQJob) -> Any:
    if RQ_3 or type(job) is not RQJob:
        return type(job).perform(job)
    # RQ 2 begins each job with a command of its own, PERSIST, which the ledger has sent for all.
    _job_stack.push(job)
    try:
        job._result = job._execute()
    finally:
        _job_stack.pop()
    return job._result


def _constant(value: int) -> Callable[[], int]:
    return lambda: value
