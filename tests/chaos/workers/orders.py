"""Makes the jobs, and says what each is to come to."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import redis
from rq import Callback, Queue
from rq.job import Job

from . import jobs

QUEUES: Final = ("alpha", "beta", "gamma")

_KEPT: Final = 86_400
_LONGEST: Final = 0.4


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job.

    Attributes:
        name: what it is called.
        share: how many of a hundred are of it.
        function: what runs.
        status: what it comes to.
        runs: how often it runs if nothing is killed.
        retries: how many tries RQ has left for it.
        callback: whether it has one, which makes it RQ's own business.
    """

    name: str
    share: int
    function: str
    status: str = "finished"
    runs: int = 1
    retries: int | None = None
    callback: bool = False


KINDS: Final = (
    Kind("plain", 70, "plain"),
    Kind("callback", 10, "plain", callback=True),
    Kind("failing", 8, "fails", "failed"),
    Kind("retried", 6, "fails_once", runs=2, retries=2),
    Kind("asking again", 6, "asks_again", runs=2),
)


@dataclass(frozen=True, slots=True)
class Order:
    """A job that was enqueued.

    Attributes:
        id: its id, as the outbox gives them: so the sweep knows it for an accepted one.
        kind: what it is.
        queue: where.
        seconds: how long a run takes.
        damage: how it was damaged; "" for not.
    """

    id: str
    kind: Kind
    queue: str
    seconds: float
    damage: str = ""


def draw(dice: random.Random, damage: str = "") -> Order:
    """Make up a job. Most take milliseconds, some half a second."""
    (kind,) = dice.choices(KINDS, [one.share for one in KINDS])
    seconds = round(min(_LONGEST, dice.expovariate(1 / 0.08)), 4)
    return Order(f"{dice.getrandbits(128):032x}-1", kind, dice.choice(QUEUES), seconds, damage)


def job_of(order: Order, client: redis.Redis) -> Job:
    """Make RQ's job of an order."""
    job = Job.create(
        f"{jobs.__name__}.{order.kind.function}",
        (order.seconds,),
        connection=client,
        id=order.id,
        origin=order.queue,
        timeout=180,
        result_ttl=_KEPT,
        failure_ttl=_KEPT,
        on_success=Callback(jobs.called_back) if order.kind.callback else None,
    )
    job.retries_left = order.kind.retries
    return job


def enqueue(orders: Iterable[Order], client: redis.Redis) -> None:
    """Enqueue undamaged jobs, all in one transaction."""
    with client.pipeline() as pipeline:
        for order in orders:
            Queue(order.queue, connection=client).enqueue_job(job_of(order, client), pipeline=pipeline)
        pipeline.execute()


def in_bursts(orders: Sequence[Order], count: int) -> list[Sequence[Order]]:
    """Cut into so many parts of about the same size."""
    cuts = [round(len(orders) * at / count) for at in range(count + 1)]
    return [orders[start:end] for start, end in itertools.pairwise(cuts)]
