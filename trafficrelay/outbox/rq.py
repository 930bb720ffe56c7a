"""The real outbox: RQ's queues, written by one script in one round trip.

What it writes is what `rq.Queue.enqueue` writes. The hash of a job is made by RQ's own `Job`, so its format stays
RQ's business; only the order and the atomicity of the writes are ours (`accept.lua`).
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, TypeAlias

import redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MaxConnectionsError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Queue, Retry
from rq.defaults import DEFAULT_FAILURE_TTL
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.registry import FailedJobRegistry, ScheduledJobRegistry
from rq.results import Result
from rq.serializers import resolve_serializer

from ..errors import DeclarationError, OutboxCorrupt, OutboxError, OutboxUnavailable
from ..event import now
from ..route import JobOptions
from .clock import RedisClock
from .connection import connect
from .handover import DeadLetter, Handover, Job, Receipt, job_id

KEYS: Final = "trafficrelay:1:"
"""What the names of our own keys begin with; the number is the version of what is in them."""

TRIES: Final = 2
"""How often a write is sent. The script knows an event that it has taken, so the second try cannot double it; it saves
the event whose reply was lost, and the one that met a connection which the server had closed."""

# The first that fits counts: some are subclasses of others further down.
_REASONS: Final = (
    (AuthenticationError, "refused the event (it does not take the name and password)"),
    (BusyLoadingError, "refused the event (it is still loading its data)"),
    (NoPermissionError, "refused the event (its user has no permission for what the script does)"),
    (OutOfMemoryError, "refused the event (it is out of memory)"),
    (ReadOnlyError, "refused the event (it is read-only, a replica perhaps)"),
    (MaxConnectionsError, "was not asked: all connections that its URL allows are in use"),
    (RedisConnectionError, "does not answer"),
    (RedisTimeoutError, "does not answer in time"),
)

_DAY: Final = 86_400.0
_LATE: Final = "TRAFFICRELAYLATE"
_WRONG_TYPE: Final = "TRAFFICRELAYTYPE "

# Templates are kept for jobs and queues that a route names; names that functions choose for each event come and go.
_TEMPLATES: Final = 1024


_Call: TypeAlias = tuple[list[str], list[Any]]
"""A script's keys and arguments."""


@dataclass(frozen=True, slots=True)
class _Template:
    """What is the same for all jobs of one function, queue and options.

    Attributes:
        job: RQ's job, without what differs from event to event.
        queue: the key of its queue.
        target: the key that the job's id goes into.
        how: `R`, `L` or `Z`: appended, prepended, or added with a score.
    """

    job: RQJob
    queue: str
    target: str
    how: str


class RQOutbox:
    """Puts events into RQ's queues.

    Args:
        source: a Redis URL or client (see `connection.connect`).
        serializer: how RQ's payloads are written, as `rq.Queue` takes it; `None` is RQ's default, pickle.

    Raises:
        DeclarationError: the client or the serializer cannot be used.
    """

    def __init__(self, source: str | redis.Redis, *, serializer: Any = None) -> None:
        self._redis = connect(source)
        try:
            self._serializer = resolve_serializer(serializer)
        except Exception as error:
            raise DeclarationError(
                f'RQ knows no serializer {serializer!r}. Say "json", "pickle", or what rq.Queue takes.'
            ) from error
        self._clock = RedisClock(self._redis)
        # How long a try waits for its reply; a URL may say without end.
        self._timeout = float(self._redis.connection_pool.connection_kwargs.get("socket_timeout") or _DAY)
        self._script = self._redis.register_script(files(__package__).joinpath("accept.lua").read_text("utf-8"))
        self._template: Callable[[str, str, JobOptions], _Template] = lru_cache(_TEMPLATES)(self._make_template)

    def accept(self, handover: Handover) -> Receipt:
        """Write the event's jobs, or its dead letter, and its marks: all or nothing, in one round trip.

        Raises:
            OutboxUnavailable: Redis does not answer, or cannot write now.
            OutboxCorrupt: a key that is needed holds something else.
        """
        (result,) = self.accept_each([handover])
        if isinstance(result, OutboxError):
            raise result
        return result

    def accept_each(self, handovers: Sequence[Handover]) -> list[Receipt | OutboxError]:
        """Write several events, each as `accept` does, in one round trip for all."""
        calls = [self._call(handover) for handover in handovers]
        good = [call for call in calls if not isinstance(call, OutboxError)]
        try:
            replies = iter(self._run(good) if good else ())
        except RedisError as error:
            return [call if isinstance(call, OutboxError) else _translated(error) for call in calls]
        return [call if isinstance(call, OutboxError) else _result(next(replies)) for call in calls]

    def check(self) -> None:
        """Return if Redis answers.

        Raises:
            OutboxUnavailable: it does not.
        """
        try:
            self._redis.ping()
        except RedisError as error:
            raise _translated(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._redis.connection_pool.disconnect()

    def _run(self, calls: Sequence[_Call]) -> list[Any]:
        for attempt in range(1, TRIES + 1):
            try:
                deadline = time.monotonic() + self._timeout
                replies = self._send(calls, deadline)
                if any(isinstance(reply, NoScriptError) for reply in replies):
                    # Redis was restarted. Those that it has taken already it knows.
                    self._redis.script_load(self._script.script)
                    replies = self._send(calls, deadline)
                if any(_is_late(reply) for reply in replies) and time.monotonic() < deadline:
                    # It is not late: Redis' clock was set.
                    self._clock.forget()
                    replies = self._send(calls, deadline)
                return replies
            except (RedisConnectionError, RedisTimeoutError) as error:
                if attempt == TRIES or isinstance(error, AuthenticationError):
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _send(self, calls: Sequence[_Call], deadline: float) -> list[Any]:
        until = self._clock.at(deadline)
        with self._redis.pipeline(transaction=False) as pipeline:
            for keys, args in calls:
                pipeline.evalsha(self._script.sha, len(keys), *keys, until, *args)
            return pipeline.execute(raise_on_error=False)

    def _call(self, handover: Handover) -> _Call | OutboxError:
        try:
            return self._keys_and_args(handover)
        except Exception as error:
            # A serializer of the user's own, say. It must not take the rest of a batch with it.
            failure = OutboxError(f"The event cannot be written for RQ ({type(error).__name__}).")
            failure.__cause__ = error
            return failure

    def _keys_and_args(self, handover: Handover) -> _Call:
        mark = KEYS + handover.mark
        dedupe, window = mark, 0
        if handover.dedupe is not None:
            # Hashed: the sender chooses its length, and it may be personal.
            dedupe = f"{KEYS}dedupe:{hashlib.sha256(handover.dedupe.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"
            window = handover.dedupe_window
        receipt = handover.receipt
        writes = [
            self._job_write(job_id(handover.id, number), job, handover.context)
            for number, job in enumerate(handover.jobs, 1)
        ]
        if handover.dead_letter:
            writes.append(self._dead_write(job_id(handover.id, 0), handover.dead_letter, handover.context))
        keys = [mark, dedupe, Queue.redis_queues_keys]
        args: list[Any] = [f"{receipt.id} {receipt.count}", handover.mark_ttl, window, len(writes)]
        for job_keys, job_args in writes:
            keys += job_keys
            args += job_args
        return keys, args

    def _job_write(self, id_: str, job: Job, context: Any) -> _Call:
        template = self._template(job.function, job.queue, job.options)
        made = now()
        rq_job = _filled(template.job, job.data, context, made)
        score = ""
        if template.how == "Z":
            score = str(int((made + timedelta(seconds=job.options.delay)).timestamp()))
        else:
            rq_job.enqueued_at = made
        keys = [RQJob.key_for(id_), template.target, Result.get_key(id_)]
        return keys, [id_, template.queue, template.how, score, 0, 0, *_flat(rq_job.to_dict())]

    def _dead_write(self, id_: str, letter: DeadLetter, context: Any) -> _Call:
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
        head = [id_, template.queue, "Z", score, max(ttl, 0)]
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
        if options.delay:
            if options.at_front:
                job.enqueue_at_front = True
            target = ScheduledJobRegistry(queue, connection=self._redis).key
            return _Template(job, rq_queue.key, target, "Z")
        return _Template(job, rq_queue.key, rq_queue.key, "L" if options.at_front else "R")


def _is_late(reply: Any) -> bool:
    return isinstance(reply, RedisError) and str(reply).startswith(_LATE)


def _result(reply: Any) -> Receipt | OutboxError:
    if isinstance(reply, RedisError):
        return _translated(reply)
    new, receipt = reply
    first, _, count = receipt.decode("ascii").partition(" ")
    return Receipt(first, int(count), duplicate=not new)


def _filled(template: RQJob, data: Any, context: Any, made: datetime) -> RQJob:
    """Copy a template's job and fill in what differs from event to event.

    A shallow copy: all that is changed afterwards is assigned, so the template stays as it is for other threads.
    """
    job = copy.copy(template)
    job.args = (data,)
    job.meta = {"trafficrelay": context}
    job.created_at = made
    return job


def _flat(fields: dict[str, Any]) -> list[Any]:
    """Give the number of arguments and these, a name and a value by turns. RQ leaves out what is `None`."""
    flat = [part for name, value in fields.items() if value is not None for part in (name, value)]
    return [len(flat), *flat]


def _translated(error: RedisError) -> OutboxError:
    """Say what redis-py's error means for the event, which was not taken. Its own words can hold a command's parts."""
    meaning = _meaning(error)
    meaning.__cause__ = error
    return meaning


def _meaning(error: RedisError) -> OutboxError:
    message = str(error)
    if message.startswith(_WRONG_TYPE):
        key, _, rest = message.removeprefix(_WRONG_TYPE).partition(" ")
        return OutboxCorrupt(f"The key {key} {rest}; something else writes to this Redis database.", key=key)
    if message.startswith(_LATE):
        return OutboxUnavailable("Redis came to the event too late.")
    # A rule of Redis' access control that a script met on its way comes without the code that redis-py knows.
    kind = NoPermissionError if message.startswith("ACL failure") else type(error)
    for known, reason in _REASONS:
        if issubclass(kind, known):
            return OutboxUnavailable(f"Redis {reason}.")
    # redis-py keeps the codes that it knows to itself; of others the first word is the code.
    code = message.partition(" ")[0]
    return OutboxUnavailable(f"Redis refused the event ({code if code.isupper() else kind.__name__}).")
