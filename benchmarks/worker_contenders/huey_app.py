"""The jobs as huey's tasks, with its defaults."""

from __future__ import annotations

import os

if os.environ.get("BENCH_GREENLETS"):
    # Before all else, as huey's documentation says (consumer.rst, "Using gevent").
    from gevent import monkey

    monkey.patch_all()

from collections.abc import Iterable

from huey import RedisHuey

from . import jobs

huey = RedisHuey("bench", url=jobs.redis_url())
TASKS = {"nothing": huey.task()(jobs.nothing), "fetch": huey.task()(jobs.fetch)}


def enqueue(kind: str, numbers: Iterable[int]) -> None:
    """Put the jobs into the queue."""
    for number in numbers:
        TASKS[kind](number)
