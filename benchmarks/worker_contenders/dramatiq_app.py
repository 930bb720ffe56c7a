"""The jobs as dramatiq's actors, with its defaults."""

from __future__ import annotations

from collections.abc import Iterable

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from . import jobs

broker = RedisBroker(url=jobs.redis_url())
dramatiq.set_broker(broker)
ACTORS = {
    "nothing": dramatiq.actor(jobs.nothing, queue_name="bench"),
    "fetch": dramatiq.actor(jobs.fetch, queue_name="bench"),
}


def enqueue(kind: str, numbers: Iterable[int]) -> None:
    """Put the jobs into the queue."""
    for number in numbers:
        ACTORS[kind].send(number)
