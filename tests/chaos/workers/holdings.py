"""Reads where in Redis each job lies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import redis
from rq import Queue
from rq.job import Job
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)

from trafficrelay.outbox.names import BROKEN_KEY, HELD_KEY

from .account import ASIDE
from .orders import QUEUES

_REGISTRIES: Final[dict[str, Any]] = {
    "finished": FinishedJobRegistry,
    "failed": FailedJobRegistry,
    "started": StartedJobRegistry,
    "scheduled": ScheduledJobRegistry,
    "deferred": DeferredJobRegistry,
    "canceled": CanceledJobRegistry,
}
_ALL_QUEUES: Final = (*QUEUES, "elsewhere", "")


def read_places(client: redis.Redis) -> dict[str, Sequence[str]]:
    """Give for each job the names of the places where it lies."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in _ALL_QUEUES:
        for id_ in _ids(client.lrange(Queue(name, connection=client).key, 0, -1)):
            found[id_].append("a queue")
        for place, registry in _REGISTRIES.items():
            # RQ's own methods clean up what they read.
            for id_ in _ids(client.zrange(registry(name, connection=client).key, 0, -1)):
                found[id_.partition(":")[0] if place == "started" else id_].append(place)
    for id_ in _ids(client.hkeys(BROKEN_KEY)):
        found[id_].append(ASIDE)
    for id_ in held_jobs(client):
        found[id_].append("a worker's hands")
    return found


def held_jobs(client: redis.Redis, worker: str = "") -> frozenset[str]:
    """Give the ids of the jobs that a worker of the relay holds, or any."""
    held: Any = client.hgetall(HELD_KEY)
    return frozenset(
        id_.decode("utf-8", "replace")
        for id_, by in held.items()
        if by.startswith(f"{worker}:".encode() if worker else b"")
    )


def statuses(client: redis.Redis, ids: Iterable[str]) -> Iterator[str]:
    """Give each job's status, "" where there is none."""
    with client.pipeline(transaction=False) as pipe:
        for id_ in ids:
            pipe.hget(Job.key_for(id_), "status")
        for one in pipe.execute(raise_on_error=False):
            yield one.decode("utf-8", "replace") if isinstance(one, bytes) else ""


def queued(client: redis.Redis) -> int:
    """Count what waits in the queues that somebody works on."""
    with client.pipeline(transaction=False) as pipe:
        for name in QUEUES:
            pipe.llen(Queue(name, connection=client).key)
        return sum(pipe.execute())


def leftovers(client: redis.Redis) -> dict[str, int]:
    """Count what ought to be gone when all jobs have ended."""
    executions = sum(1 for _ in client.scan_iter("rq:execution:*", count=1000))
    return {"jobs that are held": len(held_jobs(client)), "executions": executions}


def _ids(found: Any) -> Iterator[str]:
    for one in found:
        yield one.decode("utf-8", "replace")
