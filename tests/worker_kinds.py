"""Every kind of job that RQ knows, to be given to two workers and compared.

A kind is a function that puts one or several jobs of that kind into Redis. Their ids begin with the kind's name.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import redis
from rq import Callback, Queue, Repeat, Retry
from rq import job as rq_job
from rq.group import Group
from rq.job import Dependency
from rq.utils import now
from rq.webhook import Webhook

from . import worker_jobs as jobs
from .worker_jobs import Thing

try:
    from rq.rate_limit import RateLimit
except ImportError:  # before 3.0
    RateLimit = None

QUEUES: Final = ("high", "default", "low")
PARKED: Final = "parked"
"""A queue that no worker listens to."""


@dataclass(frozen=True)
class Mix:
    """What a kind makes its jobs with.

    Attributes:
        connection: to Redis.
        prefix: what all its jobs' ids begin with.
        queue: one of the queues that the workers listen to.
        other: another one.
        webhooks: the URL of a server that counts.
    """

    connection: redis.Redis
    prefix: str
    queue: Queue
    other: Queue
    webhooks: str

    def add(self, function: Any, *args: Any, part: str = "", queue: Queue | None = None, **options: Any) -> rq_job.Job:
        job_id = f"{self.prefix}-{part}" if part else self.prefix
        job: rq_job.Job = (queue or self.queue).enqueue(function, *args, job_id=job_id, **options)
        return job

    @property
    def parked(self) -> Queue:
        return Queue(PARKED, connection=self.connection)


Kind = Callable[[Mix], Any]


def _one(function: Any, *args: Any, **options: Any) -> Kind:
    return lambda mix: mix.add(function, *args, **options)


def _callback(function: Any, timeout: int = 60) -> Callback:
    return Callback(function, timeout=timeout)


# Dependents


def _family(parent: Any, *args: Any, children: int = 1, cross: bool = False, **options: Any) -> Kind:
    child_options = options.pop("child", {})
    allow = options.pop("allow_failure", False)
    front = options.pop("at_front_then", False)

    def make(mix: Mix) -> None:
        first = mix.add(parent, *args, part="parent", **options)
        for number in range(children):
            dependency = Dependency(jobs=[first], allow_failure=allow, enqueue_at_front=front)
            queue = mix.other if cross else mix.queue
            mix.add(jobs.count, part=f"child{number}", depends_on=dependency, queue=queue, **child_options)

    return make


def _two_parents(mix: Mix) -> None:
    parents = [mix.add(jobs.nothing, part="a"), mix.add(jobs.give, 1, part="b", queue=mix.other)]
    mix.add(jobs.count, part="child", depends_on=parents)


def _one_parent_of_two_fails(mix: Mix) -> None:
    parents = [mix.add(jobs.nothing, part="a"), mix.add(jobs.fail, part="b", queue=mix.other)]
    mix.add(jobs.count, part="child", depends_on=parents)


def _one_parent_of_two_may_fail(mix: Mix) -> None:
    parents = [mix.add(jobs.nothing, part="a"), mix.add(jobs.fail, part="b", queue=mix.other)]
    mix.add(jobs.count, part="child", depends_on=Dependency(jobs=parents, allow_failure=True))


def _chain(mix: Mix) -> None:
    last = mix.add(jobs.count, part="0")
    for number in range(1, 4):
        last = mix.add(jobs.count, part=str(number), depends_on=last, queue=(mix.queue, mix.other)[number % 2])


def _dependent_added_by_its_parent(mix: Mix) -> None:
    mix.add(jobs.add_dependent, f"{mix.prefix}-child", mix.queue.name, part="parent")


def _dependent_added_elsewhere_by_its_parent(mix: Mix) -> None:
    mix.add(jobs.add_dependent, f"{mix.prefix}-child", mix.other.name, part="parent")


def _cancelled_child(mix: Mix) -> None:
    parent = mix.add(jobs.nothing, part="parent")
    mix.add(jobs.count, part="child", depends_on=parent).cancel()


def _cancelled_parent(mix: Mix) -> None:
    parent = mix.add(jobs.nothing, part="parent")
    mix.add(jobs.count, part="child", depends_on=parent)
    parent.cancel()


def _cancelled_parent_lets_its_child_go(mix: Mix) -> None:
    parent = mix.add(jobs.nothing, part="parent")
    mix.add(jobs.count, part="child", depends_on=parent)
    parent.cancel(enqueue_dependents=True)


def _dependency_in_a_queue_nobody_works(mix: Mix) -> None:
    parent = mix.add(jobs.nothing, part="parent", queue=mix.parked)
    mix.add(jobs.count, part="child", depends_on=parent)


# Jobs that are changed from outside, or by each other


def _cancelled(mix: Mix) -> None:
    mix.add(jobs.count).cancel()


def _deleted(mix: Mix) -> None:
    mix.add(jobs.count).delete()


def _hash_gone(mix: Mix) -> None:
    mix.connection.delete(mix.add(jobs.count).key)


def _cancelled_but_still_queued(mix: Mix) -> None:
    job = mix.add(jobs.count)
    job.cancel()
    mix.connection.rpush(mix.queue.key, job.id)


def _in_another_queue(mix: Mix) -> None:
    """The id lies in a queue that is not the one its hash names."""
    job = mix.add(jobs.count)
    mix.connection.lrem(mix.queue.key, 1, job.id)
    mix.connection.rpush(mix.other.key, job.id)


def _cancels_another(mix: Mix) -> None:
    other = mix.add(jobs.count, part="other", queue=mix.parked)
    mix.add(jobs.cancel_other, other.id)


def _deletes_another(mix: Mix) -> None:
    other = mix.add(jobs.count, part="other", queue=mix.parked)
    mix.add(jobs.delete_other, other.id)


def _cancels_a_parent(mix: Mix) -> None:
    other = mix.add(jobs.count, part="other", queue=mix.parked)
    mix.add(jobs.count, part="child", depends_on=other)
    mix.connection.hset(f"seen:{mix.prefix}", "made", 1)
    job = mix.queue.create_job(
        jobs.cancel_other, args=(other.id,), kwargs={"with_dependents": True}, job_id=f"{mix.prefix}-cancels"
    )
    mix.queue.enqueue_job(job)


def _adds_another(mix: Mix) -> None:
    mix.add(jobs.add_job, f"{mix.prefix}-other", mix.other.name)


def _garbage(mix: Mix) -> None:
    mix.connection.hset(mix.add(jobs.nothing).key, "data", b"no pickle")


def _garbage_with_callback(mix: Mix) -> None:
    job = mix.add(jobs.nothing, on_failure=_callback(jobs.failed))
    mix.connection.hset(job.key, "data", b"no pickle")


def _unreadable_meta(mix: Mix) -> None:
    mix.connection.hset(mix.add(jobs.nothing, meta={"a": 1}).key, "meta", b"no pickle")


def _requeued(mix: Mix) -> None:
    """It failed before, and somebody put it back."""
    job = mix.add(jobs.give, 1, queue=mix.queue)
    mix.connection.lrem(mix.queue.key, 1, job.id)
    mix.connection.hset(job.key, "status", "failed")
    job.failed_job_registry.add(job, ttl=1000)
    job.requeue()


def _group(mix: Mix) -> None:
    functions = [jobs.nothing, jobs.fail, jobs.count]
    datas = [Queue.prepare_data(one, job_id=f"{mix.prefix}-{n}") for n, one in enumerate(functions)]
    datas.append(Queue.prepare_data(jobs.nothing, job_id=f"{mix.prefix}-gone", result_ttl=0))
    Group.create(connection=mix.connection, name=mix.prefix).enqueue_many(mix.queue, datas)


def _webhook(function: Any, *states: str, **options: Any) -> Kind:
    def make(mix: Mix) -> None:
        # The method says what is counted.
        hooks = [Webhook(f"{mix.webhooks}/{mix.prefix}/{state}", state, method="POST") for state in states]
        mix.add(function, webhooks=hooks, **options)

    return make


def _scheduled(mix: Mix) -> None:
    mix.queue.enqueue_in(timedelta(hours=1), jobs.count, job_id=mix.prefix)


def _due(mix: Mix) -> None:
    mix.queue.enqueue_at(now() - timedelta(seconds=5), jobs.count, job_id=mix.prefix)


def _rate_limited(concurrency: int, functions: Sequence[Any], **options: Any) -> Kind:
    def make(mix: Mix) -> None:
        limit = RateLimit(mix.prefix, concurrency)
        for number, function in enumerate(functions):
            mix.add(function, part=str(number), rate_limit=limit, **options)

    return make


KINDS: Final[dict[str, Kind]] = {
    # What ends well
    "nothing": _one(jobs.nothing),
    "value": _one(jobs.give, {"a": [1, 2.5, None, True, "ä"]}),
    "keywords": _one(jobs.give, 1, more="ü"),
    "big": _one(jobs.big, 100_000),
    "unserialisable": _one(jobs.unserialisable),
    "named": _one("tests.worker_jobs.give", "by name"),
    "described": _one(jobs.nothing, description="what it does"),
    "async": _one(jobs.coroutine, "later"),
    "method": lambda mix: mix.add(Thing(21).double),
    "static": _one(Thing.alone, 3),
    "builtin": _one("builtins.len", [1, 2]),
    "self": _one(jobs.know_itself, job_timeout=77, retry=Retry(max=2)),
    "metakept": _one(jobs.keep_meta, "kept", meta={"given": 1}),
    "metaforgotten": _one(jobs.forget_meta, "x", meta={"given": 1}),
    "result0": _one(jobs.give, 1, result_ttl=0),
    "resultforever": _one(jobs.give, 1, result_ttl=-1),
    "result60": _one(jobs.give, 1, result_ttl=60),
    "resultless": _one(jobs.give, 1, result_ttl=-5),
    "lives": _one(jobs.give, 1, ttl=4000),
    "livesforever": _one(jobs.give, 1, ttl=4000, result_ttl=-1),
    "livesfails": _one(jobs.fail, ttl=4000),
    "untimed": _one(jobs.nothing, job_timeout=-1),
    "front": _one(jobs.nothing, at_front=True),
    # What fails
    "fails": _one(jobs.fail),
    "failsfrom": _one(jobs.fail_from),
    "failsasync": _one(jobs.fail_later),
    "failure60": _one(jobs.fail, failure_ttl=60),
    "failure0": _one(jobs.fail, failure_ttl=0),
    "failureforever": _one(jobs.fail, failure_ttl=-1),
    "exits": _one(jobs.leave, 3),
    "interrupted": _one(jobs.interrupt),
    "nomodule": _one("tests.no_such_module.job"),
    "noname": _one("tests.worker_jobs.no_such_job"),
    "wrongarguments": _one(jobs.give),
    "garbage": _garbage,
    "garbagecallback": _garbage_with_callback,
    "nometa": _unreadable_meta,
    "requeued": _requeued,
    # Tries
    "retry0": _one(jobs.fail_until, 1, retry=Retry(max=2)),
    "retryfront": _one(jobs.fail_until, 2, retry=Retry(max=3, enqueue_at_front=True)),
    "retryused": _one(jobs.fail, retry=Retry(max=2)),
    "retrywaits": _one(jobs.fail, retry=Retry(max=2, interval=600)),
    "retryincreasing": _one(jobs.fail, retry=Retry(max=3, interval=[0, 600, 1200])),
    "again": _one(jobs.ask_again, most=5, times=2),
    "againfront": _one(jobs.ask_again, most=5, times=1, at_front=True),
    "againwaits": _one(jobs.ask_again, most=5, interval=600),
    "againtoooften": _one(jobs.ask_again, most=2),
    "againresult0": _one(jobs.ask_again, most=5, times=1, result_ttl=0),
    "againafter": _one(jobs.ask_again, most=5, times=1, retry=Retry(max=1)),
    # Callbacks
    "onsuccess": _one(jobs.give, 7, on_success=_callback(jobs.succeeded)),
    "onsuccessnamed": _one(jobs.give, 7, on_success=Callback("tests.worker_jobs.succeeded")),
    "onsuccessfails": _one(jobs.give, 7, on_success=_callback(jobs.raise_in_callback)),
    "onsuccessasync": _one(jobs.give, 7, on_success=_callback(jobs.wait_in_callback)),
    "onsuccessmissing": _one(jobs.give, 7, on_success=Callback("tests.worker_jobs.no_such_callback")),
    "onsuccessboth": _one(
        jobs.give, 7, on_success=_callback(jobs.raise_in_callback), on_failure=_callback(jobs.failed)
    ),
    "onsuccess0": _one(jobs.give, 7, on_success=_callback(jobs.succeeded), result_ttl=0),
    "onsuccessagain": _one(jobs.ask_again, most=3, times=1, on_success=_callback(jobs.succeeded)),
    "onfailure": _one(jobs.fail, on_failure=_callback(jobs.failed)),
    "onfailurefails": _one(jobs.fail, on_failure=_callback(jobs.raise_in_callback)),
    "onfailureasync": _one(jobs.fail, on_failure=_callback(jobs.wait_in_callback)),
    "onfailureretry": _one(jobs.fail, on_failure=_callback(jobs.failed), retry=Retry(max=1)),
    "onfailuredefault": _one(jobs.give, 7, on_failure=_callback(jobs.failed)),
    "onstopped": _one(jobs.give, 7, on_stopped=_callback(jobs.stopped)),
    "oneach": _one(
        jobs.leave,
        1,
        on_success=_callback(jobs.succeeded),
        on_failure=_callback(jobs.failed),
        on_stopped=_callback(jobs.stopped),
    ),
    # Dependents
    "child": _family(jobs.give, 1),
    "children": _family(jobs.give, 1, children=3),
    "childelsewhere": _family(jobs.give, 1, cross=True),
    "childfront": _family(jobs.give, 1, children=2, at_front_then=True),
    "childof0": _family(jobs.give, 1, result_ttl=0),
    "childofforever": _family(jobs.give, 1, result_ttl=-1),
    "child0": _family(jobs.give, 1, child={"result_ttl": 0}),
    "childwithcallback": _family(jobs.give, 1, child={"on_success": _callback(jobs.succeeded)}),
    "childofcallback": _family(jobs.give, 1, on_success=_callback(jobs.succeeded)),
    "childoffailed": _family(jobs.fail),
    "childoffailedallowed": _family(jobs.fail, allow_failure=True),
    "childofretried": _family(jobs.fail_until, 1, retry=Retry(max=1)),
    "childofused": _family(jobs.fail, retry=Retry(max=1), allow_failure=True),
    "childofasking": _family(jobs.ask_again, most=3, times=1),
    "childofaskingtoooften": _family(jobs.ask_again, most=1, allow_failure=True),
    "childofcancelling": _family(jobs.cancel_itself),
    "childofdeleting": _family(jobs.delete_itself),
    "childofrepeated": _family(jobs.give, 1, repeat=Repeat(times=1)),
    "twoparents": _two_parents,
    "twoparentsonefails": _one_parent_of_two_fails,
    "twoparentsonemayfail": _one_parent_of_two_may_fail,
    "chain": _chain,
    "latechild": _dependent_added_by_its_parent,
    "latechildelsewhere": _dependent_added_elsewhere_by_its_parent,
    "childcancelled": _cancelled_child,
    "parentcancelled": _cancelled_parent,
    "parentcancelledletsgo": _cancelled_parent_lets_its_child_go,
    "parentparked": _dependency_in_a_queue_nobody_works,
    # Repeats and times
    "repeat": _one(jobs.count, repeat=Repeat(times=2)),
    "repeatlater": _one(jobs.count, repeat=Repeat(times=2, interval=600)),
    "repeatmixed": _one(jobs.count, repeat=Repeat(times=3, interval=[0, 600])),
    "repeatfails": _one(jobs.fail, repeat=Repeat(times=2)),
    "repeat0": _one(jobs.count, repeat=Repeat(times=2), result_ttl=0),
    "repeatforever": _one(jobs.count, repeat=Repeat(times=1), result_ttl=-1),
    "repeatretry": _one(jobs.fail_until, 1, repeat=Repeat(times=1), retry=Retry(max=1)),
    "scheduled": _scheduled,
    "due": _due,
    # What others, or it itself, do to it
    "cancelled": _cancelled,
    "deleted": _deleted,
    "hashgone": _hash_gone,
    "cancelledqueued": _cancelled_but_still_queued,
    "elsewhere": _in_another_queue,
    "deletesitself": _one(jobs.delete_itself),
    "deletesitselffails": _one(jobs.delete_itself, and_fail=True),
    "deletesitself0": _one(jobs.delete_itself, result_ttl=0),
    "cancelsitself": _one(jobs.cancel_itself),
    "cancelsitselffails": _one(jobs.cancel_itself, and_fail=True),
    "cancelsanother": _cancels_another,
    "cancelsaparent": _cancels_a_parent,
    "deletesanother": _deletes_another,
    "addsanother": _adds_another,
    "changesitself": _one(jobs.change_itself, description="new words", failure_ttl=5, result_ttl=80),
    "changesto0": _one(jobs.change_itself, result_ttl=0),
    "changestoforever": _one(jobs.change_itself, result_ttl=-1),
    # Groups, webhooks
    "group": _group,
    "webhook": _webhook(jobs.nothing, "finished"),
    "webhookfailed": _webhook(jobs.fail, "failed"),
    "webhooks": _webhook(jobs.give, "finished", "failed"),  # it lacks an argument
    "webhookretried": _webhook(jobs.fail_until, "finished", "failed", args=(1,), retry=Retry(max=2)),
    "webhookused": _webhook(jobs.ask_again, "finished", "failed", kwargs={"most": 1}),
}

SLOW: Final[dict[str, Kind]] = {
    # Each takes a second of a processor: there are few of these.
    "timeout": _one(jobs.spin, job_timeout=1),
    "timeoutretry": _one(jobs.spin, job_timeout=1, retry=Retry(max=1, interval=600)),
    "timeoutcallback": _one(jobs.spin, job_timeout=1, on_failure=_callback(jobs.failed)),
    "slowonsuccess": _one(jobs.give, 7, on_success=_callback(jobs.spin_in_callback, 1)),
    "slowonfailure": _one(jobs.fail, on_failure=_callback(jobs.spin_in_callback, 1)),
}

if RateLimit is not None:
    KINDS.update(
        {
            "limited": _rate_limited(1, [jobs.count, jobs.nothing, jobs.fail, jobs.count]),
            "limitedtwo": _rate_limited(2, [jobs.count] * 4 + [jobs.fail]),
            "limited0": _rate_limited(1, [jobs.count] * 2, result_ttl=0),
            "limitedretry": _rate_limited(1, [jobs.fail, jobs.count], retry=Retry(max=1)),
            "limitedretrylater": _rate_limited(1, [jobs.fail, jobs.count], retry=Retry(max=1, interval=600)),
            "limitedcallback": _rate_limited(1, [jobs.nothing, jobs.fail], on_success=_callback(jobs.succeeded)),
            "limiteddeletes": _rate_limited(1, [jobs.delete_itself, jobs.count]),
            "limitedcancels": _rate_limited(1, [jobs.cancel_itself, jobs.count]),
        }
    )

_OFTEN: Final = {"nothing": 40, "value": 20, "fails": 6, "retry0": 4, "child": 4, "repeat": 3, "onsuccess": 3}


def fill(connection: redis.Redis, webhooks: str, *, jobs: int, seed: int) -> int:
    """Put at least so many jobs of every kind into Redis, each kind at least once, and give how many there are."""
    chosen = random.Random(seed)
    names = list(KINDS)
    weights = [_OFTEN.get(name, 1) for name in names]
    queues = [Queue(name, connection=connection) for name in QUEUES]
    made = 0
    todo = [*names, *SLOW]
    chosen.shuffle(todo)
    while todo or _count(connection) < jobs:
        name = todo.pop() if todo else chosen.choices(names, weights)[0]
        queue, other = chosen.sample(queues, 2)
        (KINDS | SLOW)[name](Mix(connection, f"{name}-{made}", queue, other, webhooks))
        made += 1
    return _count(connection)


def _count(connection: redis.Redis) -> int:
    """Count the jobs that lie in some queue, or wait for another one. (What scripts do is not asked for each time.)"""
    queues = [*QUEUES, PARKED]
    with connection.pipeline(transaction=False) as pipeline:
        for name in queues:
            queue = Queue(name, connection=connection)
            pipeline.llen(queue.key)
            pipeline.zcard(queue.deferred_job_registry.key)
        return sum(pipeline.execute())


def kind_of(job_id: str) -> str:
    """Say which kind a job's id is of."""
    return job_id.partition("-")[0]
