"""Jobs that wait for others, where RQ leaves them lying until its maintenance comes by."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import redis
from rq import Queue
from rq.job import Job as RQJob

from .ledger import RQ_3

log: Final = logging.getLogger("rq.worker")


def tell_dependents(ids: Sequence[str], connection: redis.Redis, serializer: Any) -> None:
    """Have RQ enqueue what waits for jobs that failed without a worker, if it may run all the same."""
    for job_id in ids:
        try:
            job = RQJob.fetch(job_id, connection=connection, serializer=serializer)
            Queue(job.origin, connection=connection, serializer=serializer).enqueue_dependents(job)
        except Exception:
            log.exception("the dependents of job %s could not be enqueued", job_id)


def enqueue_ready(connection: redis.Redis, serializer: Any) -> int:
    """Enqueue jobs whose dependencies have been met, and which RQ 3 has put off because two workers were at it at once.

    It does so itself every ten minutes.

    Returns:
        How many there were.
    """
    if not RQ_3:
        return 0
    queues = Queue.all(connection=connection, serializer=serializer)
    with connection.pipeline(transaction=False) as pipeline:
        for queue in queues:
            pipeline.zcard(queue.ready_job_registry.key)
        counts = pipeline.execute()
    return sum(
        len(queue.ready_job_registry.cleanup() or ()) for queue, count in zip(queues, counts, strict=True) if count
    )
