"""Running jobs on the spot, as a worker would: RQ's own job calls the function, with no Redis behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final, NoReturn

import redis
import rq.job
from rq.job import Job as RQJob

from ..errors import ClientError
from ..importing import fault_of
from .outbox import Waiting
from .tracebacks import users_part

__tracebackhide__ = True  # pytest shows the line of the test, and not those here


_RQ: Final = str(Path(rq.job.__file__).parent)


class _Nowhere(redis.Connection):
    """A connection to no Redis, which says so."""

    def connect(self) -> NoReturn:
        raise ClientError(
            "A job asked Redis for something, and a test client has none. Jobs that need it are tested under a worker."
        )

    def connect_check_health(self, *_: Any, **__: Any) -> NoReturn:
        self.connect()


class _InlineJob(RQJob):
    """A job whose progress, as it notes it in `job.meta`, nobody reads."""

    def save_meta(self) -> None:
        """Keep it to itself."""


class Runner:
    """Runs jobs.

    Args:
        serializer: the relay's: a job's argument goes through it, as it does on its way to a worker.
    """

    def __init__(self, serializer: Any) -> None:
        self._serializer = serializer
        self._redis = redis.Redis(connection_pool=redis.ConnectionPool(connection_class=_Nowhere))

    def run(self, waiting: Waiting) -> Any:
        """Run a job and give what it returned. `current_event()` and `rq.get_current_job()` are there for it.

        Raises:
            ClientError: its function cannot be imported.
            Exception: whatever it raises.
        """
        name = waiting.job.function
        if fault := fault_of(name):
            raise ClientError(f"The job {name} would fail in every worker. {fault}")
        job = self._job(waiting)
        try:
            return _perform(job)
        except Exception as error:
            error.__traceback__ = users_part(error.__traceback__, _RQ)
            raise

    def _job(self, waiting: Waiting) -> RQJob:
        written = _InlineJob.create(
            waiting.job.function,
            args=(waiting.job.data,),
            connection=self._redis,
            serializer=self._serializer,
            description=waiting.job.function,
        )
        job = _InlineJob(waiting.id, connection=self._redis, serializer=self._serializer)
        job.data = written.data  # bytes, as they lie in Redis
        job.origin = waiting.job.queue
        job.meta = {"trafficrelay": waiting.handover.context}
        job.timeout = waiting.job.options.timeout
        return job


def _perform(job: RQJob) -> Any:
    stack: Any = getattr(rq.job, "_job_stack", None)
    if stack is None:  # a contextvar takes its place in RQ 3
        return job.perform()
    # RQ 2 begins by telling Redis that the job is not to vanish, and leaves the loop of a coroutine open.
    stack.push(job)
    try:
        result: Any = job.func(*job.args, **job.kwargs)
        return asyncio.run(result) if asyncio.iscoroutine(result) else result
    finally:
        stack.pop()
