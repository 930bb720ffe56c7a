"""What the script is given to write: the keys and arguments of an event's jobs, marks and dead letter.

What is written is what `rq.Queue.enqueue` writes. The hash of a job is made by RQ's own `Job`, so its format stays
RQ's business; only the order and the atomicity of the writes are ours (`accept.lua`).
"""

from __future__ import annotations

import copy
import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeAlias

import redis
from rq import Queue, Retry
from rq.defaults import DEFAULT_FAILURE_TTL
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.registry import FailedJobRegistry, ScheduledJobRegistry
from rq.results import Result

from ..backoff import Retries
from ..event import now
from ..target import JobOptions
from .handover import DeadLetter, Handover, Job, job_id
from .names import KEYS, ONCE, PAUSED_KEY
from .payload import CALL, Aside

# Templates are kept for jobs and queues that a route names; names that functions choose for each event come and go.
_TEMPLATES: Final = 1024

Call: TypeAlias = tuple[list[str], list[Any]]
"""A script's keys and arguments."""


@dataclass(frozen=True, slots=True)
class _Template:
    """What is the same for all jobs of one function, queue and options.

    Attributes:
        job: RQ's job, without what differs from event to event.
        queue: the key of its queue.
        target: the key that the job's id goes into.
        how: `R`, `L` or `Z`: appended, prepended, or added with a score.
        retries: what the waits of each job are drawn from; `None` where they are the same for all.
        more: fields of our own in its hash, which RQ passes over: a name and a value by turns.
    """

    job: RQJob
    queue: str
    target: str
    how: str
    retries: Retries | None
    more: tuple[str, ...]


class Writes:
    """Makes the calls of `accept.lua`.

    Args:
        client: a client, for RQ's objects; nothing is sent.
        serializer: a serializer of RQ's.
        waits: whether replicas or the disk are waited for after the script.
    """

    def __init__(self, client: redis.Redis, serializer: Any, *, waits: bool) -> None:
        self._redis = client
        self._serializer = serializer
        self._waits = int(waits)
        self._template: Callable[[str, str, JobOptions], _Template] = lru_cache(_TEMPLATES)(self._make_template)

    def call(self, group: Sequence[Handover]) -> Call:
        """Give the keys, and the arguments without the first, which is the deadline."""
        keys = [Queue.redis_queues_keys, PAUSED_KEY]
        args: list[Any] = [self._waits, len(group)]
        for handover in group:
            event_keys, event_args = self._event(handover)
            keys += event_keys
            args += event_args
        return keys, args

    def _event(self, handover: Handover) -> Call:
        mark = KEYS + handover.mark
        dedupe, window = mark, 0
        if handover.dedupe is not None:
            dedupe, window = f"{KEYS}dedupe:{handover.dedupe_hash}", handover.dedupe_window
        limits, rate_key, interval, burst = handover.limits, mark, 0, 0
        if limits.rate is not None:
            rate_key = f"{KEYS}rate:{hashed(handover.route, limits.rate.policy, handover.rate_key)}"
            interval, burst = limits.rate.interval_us, limits.rate.burst
        receipt = handover.receipt
        writes = [
            self._job_write(job_id(handover.id, number), job, handover.context)
            for number, job in enumerate(handover.jobs, 1)
        ]
        if handover.dead_letter:
            writes.append(self._dead_write(job_id(handover.id, 0), handover.dead_letter, handover.context))
        keys = [mark, dedupe, rate_key]
        args: list[Any] = [
            f"{receipt.id} {receipt.count}",
            handover.mark_ttl,
            window,
            handover.route,
            interval,
            burst,
            limits.max_queued or 0,
            (limits.max_lag or 0) * 1000,
            handover.settles,
            handover.earlier,
            int(handover.dead_letter is not None),
            len(writes),
        ]
        for job_keys, job_args in writes:
            keys += job_keys
            args += job_args
        return keys, args

    def _job_write(self, id_: str, job: Job, context: Any) -> Call:
        template = self._template(job.function, job.queue, job.options)
        made = now()
        rq_job = _filled(template.job, job.data, context, made)
        if template.retries is not None:
            rq_job.retry_intervals = template.retries.draw()
        score = ""
        if template.how == "Z":
            score = str(int((made + timedelta(seconds=job.options.delay)).timestamp()))
        else:
            rq_job.enqueued_at = made
        aside = _put_aside(rq_job, job) if job.options.aside else ""
        keys = [RQJob.key_for(id_), template.target, Result.get_key(id_)]
        return keys, [id_, template.queue, template.how, score, 0, aside, 0, *_flat(rq_job.to_dict(), template.more)]

    def _dead_write(self, id_: str, letter: DeadLetter, context: Any) -> Call:
        template = self._template(letter.function, letter.queue, JobOptions(failure_ttl=letter.ttl))
        made = now()
        rq_job = _filled(template.job, letter.data, context, made)
        rq_job._status = JobStatus.FAILED  # RQ's set_status would write it to Redis by itself
        rq_job.enqueued_at = rq_job.ended_at = made
        ttl = DEFAULT_FAILURE_TTL if letter.ttl is None else letter.ttl
        score = str(int(made.timestamp()) + ttl if ttl > 0 else ttl)
        result = Result(
            id_,
            Result.Type.FAILED,
            connection=self._redis,
            exc_string=letter.traceback,
            serializer=rq_job.serializer,
        )
        registry = FailedJobRegistry(letter.queue, connection=self._redis).key
        keys = [RQJob.key_for(id_), registry, Result.get_key(id_)]
        head = [id_, template.queue, "Z", score, max(ttl, 0), ""]
        return keys, head + _flat(result.serialize()) + _flat(rq_job.to_dict())

    def _make_template(self, function: str, queue: str, options: JobOptions) -> _Template:
        rq_queue = Queue(queue, connection=self._redis, serializer=self._serializer)
        retries = options.retries
        job = rq_queue.create_job(
            function,
            timeout=options.timeout,
            result_ttl=options.result_ttl,
            failure_ttl=options.failure_ttl,
            retry=Retry(retries.max, list(retries.intervals), retries.at_front) if retries else None,
            status=JobStatus.SCHEDULED if options.delay else JobStatus.QUEUED,
            # RQ's own description holds the arguments, and its workers log it: payloads do not belong there.
            description=f"{function}(...)",
        )
        drawn = retries if retries is not None and retries.jitter else None
        more = () if options.at_least_once else (ONCE, "1")
        if options.delay:
            if options.at_front:
                job.enqueue_at_front = True
            target = ScheduledJobRegistry(queue, connection=self._redis).key
            return _Template(job, rq_queue.key, target, "Z", drawn, more)
        return _Template(job, rq_queue.key, rq_queue.key, "L" if options.at_front else "R", drawn, more)


def retries_again(options: JobOptions | None) -> tuple[str, str]:
    """Give what `requeue.lua` is told of a job's retries: how many it has again, and its waits as RQ writes them.

    Two empty strings leave both as they are.
    """
    if options is None or options.retries is None:
        return "", ""
    return str(options.retries.max), json.dumps(options.retries.draw())


def hashed(*parts: str) -> str:
    """Make a name of parts of any length."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def _filled(template: RQJob, data: Any, context: Any, made: datetime) -> RQJob:
    """Copy a template's job and fill in what differs from event to event.

    A shallow copy: all that is changed afterwards is assigned, so the template stays as it is for other threads.
    """
    job = copy.copy(template)
    job.args = (data,)
    job.meta = {"trafficrelay": context}
    job.created_at = made
    return job


def _put_aside(rq_job: RQJob, job: Job) -> bytes | str:
    """Take the data out of a job where they are larger than its route says, and give them as RQ would store them.

    RQ keeps what it has serialised, so a job whose data stay is not serialised twice.
    """
    data = rq_job.data
    if len(data) <= job.options.aside:
        return ""
    rq_job.func_name = CALL
    rq_job.args = (Aside(job.function, len(data)).to_dict(),)
    return zlib.compress(data)


def _flat(fields: dict[str, Any], more: tuple[str, ...] = ()) -> list[Any]:
    """Give the number of arguments and these, a name and a value by turns. RQ leaves out what is `None`."""
    flat = [part for name, value in fields.items() if value is not None for part in (name, value)]
    flat += more
    return [len(flat), *flat]
