"""The jobs in RQ's queue; RelayWorker takes the same."""

from __future__ import annotations

import os
from collections.abc import Iterable

from redis import Redis
from rq import Queue


def enqueue(kind: str, numbers: Iterable[int]) -> None:
    """Put the jobs into the queue, with RQ's defaults."""
    queue = Queue("bench", connection=Redis.from_url(os.environ["BENCH_REDIS"]))
    function = f"worker_contenders.jobs.{kind}"
    queue.enqueue_many([Queue.prepare_data(function, (number,)) for number in numbers])
