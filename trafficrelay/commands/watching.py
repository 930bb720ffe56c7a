"""Which workers and schedulers there are, and what a relay's queues would need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
from redis.exceptions import RedisError
from rq.scheduler import RQScheduler
from rq.worker import BaseWorker
from rq.worker_registration import REDIS_WORKER_KEYS

from ..checkup import Finding, waits
from ..errors import OutboxUnavailable
from ..outbox.names import LEASES_KEY
from ..outbox.sentinel import trouble
from ..relay import Relay

_FEW: Final = 3


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, as RQ registers it. Which serializer it has is not among what it says of itself.

    Attributes:
        name: its name.
        queues: the queues that it listens on, in order.
        ours: whether it is a RelayWorker.
    """

    name: str
    queues: tuple[str, ...]
    ours: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen at one moment.

    Attributes:
        workers: the workers that live.
        scheduled: the queues, of those that were asked for, that have a scheduler.
    """

    workers: tuple[Worker, ...] = ()
    scheduled: frozenset[str] = frozenset()


def look(client: redis.Redis, queues: Sequence[str]) -> Seen:
    """Ask which workers there are, and which of some queues have a scheduler. Nothing is written.

    `rq.Worker.all` would take those that it does not find out of the set.

    Raises:
        OutboxUnavailable: Redis does not answer.
    """
    try:
        keys = sorted(_text(key) for key in client.smembers(REDIS_WORKER_KEYS))
        with client.pipeline(transaction=False) as pipeline:
            pipeline.zrange(LEASES_KEY, 0, -1)
            for key in keys:
                pipeline.hmget(key, "queues", "death")
            for queue in queues:
                pipeline.exists(RQScheduler.get_locking_key(queue))
            leases, *replies = pipeline.execute()
    except RedisError as error:
        raise OutboxUnavailable(f"Redis {trouble(error)}.") from error
    ours = {_text(name) for name in leases}
    workers = tuple(
        Worker(name, tuple(_text(listens).split(",")), name in ours)
        for key, (listens, death) in zip(keys, replies, strict=False)
        # A hash that is gone is of a worker that was killed some minutes ago.
        if listens is not None
        and death is None
        and (name := key.removeprefix(BaseWorker.redis_worker_namespace_prefix))
    )
    locks = replies[len(keys) :]
    return Seen(workers, frozenset(queue for queue, lock in zip(queues, locks, strict=True) if lock))


def of_workers(relay: Relay, target: str, seen: Seen) -> list[Finding]:
    """Say what a relay's queues lack.

    Args:
        relay: the relay.
        target: how it was named.
        seen: what was seen of its queues.
    """
    return [*_of_queues(relay, target, seen), *_of_kinds(relay, target, seen)]


def _of_queues(relay: Relay, target: str, seen: Seen) -> Iterator[Finding]:
    waiting = waits(relay)
    for queue in relay.queues:
        listening = [worker for worker in seen.workers if queue in worker.queues]
        scheduler = " --with-scheduler" if queue in waiting else ""
        if not listening:
            yield Finding(
                "warning",
                f"queue {queue}",
                f"No worker listens on it, so its jobs wait: run `trafficrelay worker {target}`, or "
                f"`rq worker{scheduler} {queue}`.",
            )
        elif scheduler and queue not in seen.scheduled and not any(worker.ours for worker in listening):
            yield Finding(
                "warning",
                f"queue {queue}",
                f"Jobs of {' and '.join(waiting[queue])} wait for a scheduler, and none runs on this queue: they would "
                f"wait for ever. Run `trafficrelay worker {target}`, or give the worker --with-scheduler.",
            )
    if relay.dynamic_queues:
        yield Finding(
            "note", "workers", "A route chooses its queue for each event: whether those have workers cannot be told."
        )


def _of_kinds(relay: Relay, target: str, seen: Seen) -> Iterator[Finding]:
    stock = [
        worker
        for worker in seen.workers
        if not worker.ours and (relay.dynamic_queues or set(worker.queues) & set(relay.queues))
    ]
    wide = [worker for worker in stock if len(worker.queues) > 1]
    if wide:
        yield Finding(
            "warning",
            "workers",
            f"{_named(wide)} of RQ's own on several queues: a job that such a worker has just taken is lost with it, "
            "until a sweep finds it. Give each queue a worker of its own, or run "
            f"`trafficrelay worker {target}`; `trafficrelay sweep {target}` puts back what was lost.",
        )
    if stock and relay.serializer_name is not None:
        yield Finding(
            "note",
            "workers",
            f"{_named(stock)} of RQ's own: give --serializer {relay.serializer_name}. Whether that was done cannot be "
            "seen from here.",
        )


def _named(workers: Sequence[Worker]) -> str:
    names = ", ".join(worker.name for worker in workers[:_FEW])
    more = f" and {len(workers) - _FEW} more" if len(workers) > _FEW else ""
    return f"{names}{more} {'is a worker' if len(workers) == 1 else 'are workers'}"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
