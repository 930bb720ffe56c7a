"""The jobs as Celery's tasks; no result backend, which is its default."""

from __future__ import annotations

import os
from collections.abc import Iterable

from celery import Celery

from . import jobs

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.task_default_queue = "bench"
app.conf.task_ignore_result = True
app.conf.worker_prefetch_multiplier = int(os.environ.get("BENCH_PREFETCH", "4"))
TASKS = {"nothing": app.task(jobs.nothing, name="nothing"), "fetch": app.task(jobs.fetch, name="fetch")}


def enqueue(kind: str, numbers: Iterable[int]) -> None:
    """Put the jobs into the queue."""
    with app.producer_pool.acquire(block=True) as producer:
        for number in numbers:
            TASKS[kind].apply_async((number,), producer=producer)
