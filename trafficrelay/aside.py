"""The job whose argument is kept aside: what workers run where an argument is larger than its route's `aside=`.

A queue stays small then, and so does the job. Its data lie under a key of their own, just as they would stand in the
job, and are fetched when it runs. The function that is called with them is the user's own, and knows nothing of this.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from redis.exceptions import RedisError
from rq import Retry, get_current_job
from rq.job import Job
from rq.utils import import_attribute

from .current import ARGUMENTS
from .errors import ArgumentGone, DeadLetterError, JobBroken, JobError
from .outbox.names import ASIDE
from .outbox.payload import ASIDE_STAYS, Aside, read_job_data


def call(stored: dict[str, Any]) -> Any:
    """Fetch what is kept aside of the job that runs, and call its function with it.

    Args:
        stored: what stands in its place: see `outbox.payload.Aside`.

    Returns:
        What the function gives; of a coroutine another one, for RQ to run.

    Raises:
        ArgumentGone: it is not there any more.
        JobBroken: it cannot be read, or belongs to another function.
        JobError: no worker runs this.
        Exception: whatever the function raises.
    """
    job = get_current_job()
    if job is None:
        raise JobError("A job whose argument is kept aside is run by a worker; outside of one nothing can be fetched.")
    try:
        aside = Aside.from_dict(stored)
    except DeadLetterError as error:
        raise JobBroken(str(error), job=job.id) from error
    result = import_attribute(aside.function)(*fetch(job, aside))
    if asyncio.iscoroutine(result):
        return _awaited(job, result)
    _done(job, result)
    return result


def fetch(job: Job, aside: Aside) -> tuple[Any, ...]:
    """Give what a job's function is called with; kept with the job once it has been fetched.

    Raises:
        ArgumentGone: it is not there any more.
        JobBroken: it cannot be read, or belongs to another function.
        RedisError: Redis does not answer.
    """
    known: tuple[Any, ...] | None = getattr(job, ARGUMENTS, None)
    if known is not None:
        return known
    key = ASIDE + job.id
    with job.connection.pipeline() as pipe:
        pipe.get(key)
        # An earlier run may have ended well, and nobody have noted that: now it has to last as long as the job again.
        pipe.persist(key)
        raw, _ = pipe.execute()
    if raw is None:
        raise ArgumentGone(
            f"The argument of this job, {aside.size:,} bytes kept aside as {key}, is gone. Somebody deleted it, Redis "
            "evicted it, or the job ended well long ago. It cannot run again: have the event sent once more.",
            job=job.id,
            size=aside.size,
        )
    try:
        function, arguments = read_job_data(raw, job.serializer)
    except DeadLetterError as error:
        raise JobBroken(
            "What is kept aside of this job cannot be read: the worker has another serializer than the relay, or "
            "somebody else wrote there.",
            job=job.id,
        ) from error
    if function != aside.function:
        raise JobBroken("What is kept aside of this job belongs to another function.", job=job.id)
    # For current_event(). Not as RQ's own arguments: those it would write into the job when that ends.
    setattr(job, ARGUMENTS, arguments)
    return arguments


async def _awaited(job: Job, coroutine: Coroutine[Any, Any, Any]) -> Any:
    result = await coroutine
    _done(job, result)
    return result


def _done(job: Job, result: Any) -> None:
    """See that what was kept aside goes some time after a success. After a failure it stays, as the job does."""
    # A result that is kept for ever has its job kept for ever, and with it what the job would hold.
    if isinstance(result, Retry) or job.result_ttl == -1:
        return
    # The job has done its work; the sweep removes what stays because Redis did not answer just now.
    with contextlib.suppress(RedisError):
        job.connection.expire(ASIDE + job.id, max(job.result_ttl or 0, ASIDE_STAYS))
