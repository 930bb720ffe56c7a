"""The real outbox: RQ's queues, written by one script in one round trip."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import redis
from redis.exceptions import AuthenticationError, NoScriptError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.serializers import resolve_serializer
from rq.utils import utcformat

from ..errors import DeclarationError, OutboxError, OutboxUnavailable
from ..event import now
from . import brought
from .clock import RedisClock
from .connection import connect
from .counters import MOST_SUMS, Counter
from .handover import Handover, JobState, Receipt, job_id
from .names import COUNTS_KEY, RQ_NAMES
from .replies import doubtful, is_late, result, translated
from .states import job_states, shared_secret
from .writes import Call, Writes, retries_again

TRIES: Final = 2
"""How often a write is sent. The script knows an event that it has taken, so the second try cannot double it; it saves
the event whose reply was lost, and the one that met a connection which the server had closed."""

_DAY: Final = 86_400.0

# Of the time that a reply may take, what replicas and the disk are waited for. The rest is the reply's own.
_WAIT_SHARE: Final = 0.75


class _NotSent(Exception):
    """Connecting failed, so nothing can have been written; `error` is redis-py's."""

    def __init__(self, error: RedisError) -> None:
        super().__init__(str(error))
        self.error = error


class RQOutbox:
    """Puts events into RQ's queues.

    Args:
        source: a Redis URL or client (see `connection.connect`).
        serializer: how RQ's payloads are written, as `rq.Queue` takes it; `None` is RQ's default, pickle.
        wait_replicas: how many replicas must have an event before it counts as taken (Redis' WAIT).
        fsync: whether it must be on the server's disk (Redis' WAITAOF, of Redis 7.2).

    Raises:
        DeclarationError: the client or the serializer cannot be used.
    """

    def __init__(
        self,
        source: str | redis.Redis,
        *,
        serializer: Any = None,
        wait_replicas: int = 0,
        fsync: bool = False,
    ) -> None:
        self._redis = connect(source)
        try:
            resolved = resolve_serializer(serializer)
        except Exception as error:
            raise DeclarationError(
                f'RQ knows no serializer {serializer!r}. Say "json", "pickle", or what rq.Queue takes.'
            ) from error
        self._serializer = resolved
        self._clock = RedisClock(self._redis)
        # How long a try waits for its reply; a URL may say without end.
        self._timeout = float(self._redis.connection_pool.connection_kwargs.get("socket_timeout") or _DAY)
        self._waits = _wait_commands(wait_replicas, fsync, int(self._timeout * 1000 * _WAIT_SHARE))
        self._writes = Writes(self._redis, resolved, waits=bool(self._waits))
        self._accept = self._redis.register_script(_script("accept.lua"))
        self._requeue = self._redis.register_script(_script("requeue.lua"))

    def accept(self, handover: Handover) -> Receipt:
        """Write the event's jobs, or its dead letter, and its marks: all or nothing, in one round trip.

        Raises:
            OutboxUnavailable: Redis does not answer, or cannot write now.
            OutboxCorrupt: a key that is needed holds something else.
            Declined: a limit of its route turns it away.
            LetterGone: what it settles is not there any more.
        """
        (taken,) = self.accept_groups([[handover]])
        if isinstance(taken, OutboxError):
            raise taken
        return taken[0]

    def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        """Write several groups, each as `accept` does an event, in one round trip for all."""
        calls = [self._call(group) for group in groups]
        good = [call for call in calls if not isinstance(call, OutboxError)]
        try:
            replies = iter(self._run(good) if good else [])
        except OutboxError as error:
            return [call if isinstance(call, OutboxError) else error for call in calls]
        said: list[Any] = [call if isinstance(call, OutboxError) else next(replies) for call in calls]
        results = [_result(group, reply) for group, reply in zip(groups, said, strict=True)]
        # Repeated events of which a job failed for good: whoever sends them again wants them to run.
        dead = [
            _dead(group, result, reply) if isinstance(result, list) else []
            for group, result, reply in zip(groups, results, said, strict=True)
        ]
        failure = self._revive([one for some in dead for one in some]) if any(dead) else None
        if failure is None:
            return results
        return [failure if some else result for some, result in zip(dead, results, strict=True)]

    def states(self, event_id: str, count: int) -> list[JobState]:
        """Give how each job of an event is.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        return job_states(self._redis, self._serializer, event_id, count)

    def secret(self) -> bytes:
        """Give the secret that is kept in this Redis.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        return shared_secret(self._redis)

    def keep_secret(self, route: str, name: str, value: bytes) -> bytes | None:
        """Keep a secret that a challenge brought, unless there is one already; see `Outbox.keep_secret`.

        Raises:
            OutboxError: Redis does not answer, cannot write now, or the key holds something else.
        """
        try:
            found, replies = brought.keep(self._redis, route, name, value, [command for command, _ in self._waits])
        except RedisError as error:
            away = translated(error)
            away.__cause__ = None  # redis-py's words may quote the command, and so the secret
            raise away from None
        if missing := _missing(replies, [wanted for _, wanted in self._waits]):
            raise missing
        return found

    def kept_secret(self, route: str, name: str) -> bytes | None:
        """Give such a secret.

        Raises:
            OutboxError: Redis does not answer, or the key holds something else.
        """
        try:
            return brought.kept(self._redis, route, name)
        except RedisError as error:
            raise translated(error) from error

    def add_counts(self, counts: Mapping[Counter, int]) -> None:
        """Add to the sums of all processes.

        Raises:
            OutboxUnavailable: Redis does not answer, or cannot write now.
        """
        names = [json.dumps(counter) for counter in counts]
        pipeline = self._redis.pipeline(transaction=False)
        try:
            pipeline.hlen(COUNTS_KEY)
            pipeline.hmget(COUNTS_KEY, names)
            sums, known = pipeline.execute()
            for name, count, old in zip(names, counts.values(), known, strict=True):
                if old is not None or sums < MOST_SUMS:
                    pipeline.hincrby(COUNTS_KEY, name, count)
            pipeline.execute()
        except RedisError as error:
            raise translated(error) from error

    def counts(self) -> dict[Counter, int]:
        """Give the sums of all processes.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        try:
            found: Any = self._redis.hgetall(COUNTS_KEY)
        except RedisError as error:
            raise translated(error) from error
        return {Counter(*json.loads(name)): int(count) for name, count in found.items()}

    def check(self) -> None:
        """Return if Redis takes events: by writing one that becomes nothing and is forgotten at once.

        A Redis that is full, or a replica, answers everything else.

        Raises:
            OutboxUnavailable: it does not.
        """
        self.accept(Handover(id=f"probe{secrets.token_hex(8)}", context={}, mark_ttl=1))

    def close(self, timeout: float = 0.0) -> None:
        """Close the connections."""
        self._redis.connection_pool.disconnect()

    def _run(self, calls: Sequence[Call]) -> list[Any]:
        """Send the calls until there is a reply for each, `TRIES` times at most.

        Raises:
            OutboxUnavailable: there is none. It is doubtful if any try got as far as sending them.
        """
        sent = False
        for attempt in range(1, TRIES + 1):
            try:
                replies = self._replies(calls, time.monotonic() + self._timeout)
            except (RedisError, _NotSent) as raised:
                error = raised.error if isinstance(raised, _NotSent) else raised
                sent = sent or error is raised
                # It may be another server by the next time.
                self._clock.forget()
                again = isinstance(error, RedisConnectionError | RedisTimeoutError)
                if attempt == TRIES or not again or isinstance(error, AuthenticationError):
                    raise (doubtful(translated(error)) if sent else translated(error)) from error
            else:
                # What an earlier try has done, an error of this one does not tell.
                return [doubtful(translated(r)) if sent and isinstance(r, RedisError) else r for r in replies]
        raise AssertionError("unreachable: the last try returns or raises")

    def _replies(self, calls: Sequence[Call], deadline: float) -> list[Any]:
        replies = self._send(calls, deadline)
        try:
            if any(isinstance(reply, NoScriptError) for reply in replies):
                # Redis was restarted. Those that it has taken already it knows.
                self._redis.script_load(self._accept.script)
                replies = self._send(calls, deadline)
            if any(is_late(reply) for reply in replies) and time.monotonic() < deadline:
                # It is not late: Redis' clock was set.
                self._clock.forget()
                replies = self._send(calls, deadline)
        except _NotSent as again:
            raise again.error from again  # the first time they were sent
        return replies

    def _send(self, calls: Sequence[Call], deadline: float) -> list[Any]:
        with self._redis.pipeline(transaction=False) as pipeline:
            try:
                until = self._clock.at(deadline)
                pipeline.connection = self._redis.connection_pool.get_connection()
            except RedisError as error:
                raise _NotSent(error) from error
            for keys, args in calls:
                pipeline.evalsha(self._accept.sha, len(keys), *keys, until, *args)
            for command, _ in self._waits:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            replies = pipeline.execute(raise_on_error=False)
        if not self._waits:
            return replies
        missing = _missing(replies[len(calls) :], [wanted for _, wanted in self._waits])
        # What was turned away wrote nothing.
        return [missing if missing and _is_taken(reply) else reply for reply in replies[: len(calls)]]

    def _revive(self, dead: Sequence[tuple[Handover, Receipt]]) -> OutboxError | None:
        """Requeue the failed jobs of events, all in one more round trip.

        Args:
            dead: each event as it came again, and the receipt of the first.
        """
        jobs: list[str] = []
        for handover, receipt in dead:
            # It may have become other jobs then, of another declaration.
            same = len(handover.jobs) == receipt.count
            for number in range(1, receipt.count + 1):
                options = handover.jobs[number - 1 if same else 0].options if handover.jobs else None
                jobs += [job_id(receipt.id, number), *retries_again(options)]
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                self._requeue(args=[utcformat(now()), *jobs], client=pipeline)
                for command, _ in self._waits:
                    pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
                replies = pipeline.execute()
        except RedisError as error:
            return doubtful(translated(error))
        return _missing(replies[1:], [wanted for _, wanted in self._waits])

    def _call(self, group: Sequence[Handover]) -> Call | OutboxError:
        try:
            return self._writes.call(group)
        except Exception as error:
            # A serializer of the user's own, say. It must not take the rest of a batch with it.
            failure = OutboxError(f"The event cannot be written for RQ ({type(error).__name__}).")
            failure.__cause__ = error
            return failure


def _result(group: Sequence[Handover], reply: Any) -> list[Receipt] | OutboxError:
    if isinstance(reply, OutboxError):
        return reply
    try:
        return result(group, reply)
    except Exception as error:
        # It must not take the rest of a batch with it, which Redis has taken.
        failure = OutboxUnavailable(f"Redis' reply cannot be read ({type(error).__name__}).", doubtful=True)
        failure.__cause__ = error
        return failure


def _dead(group: Sequence[Handover], receipts: Sequence[Receipt], reply: Any) -> list[tuple[Handover, Receipt]]:
    return [
        (handover, receipt)
        for handover, receipt, one in zip(group, receipts, reply, strict=True)
        if receipt.duplicate and len(one) > 2 and one[2]
    ]


def _is_taken(reply: Any) -> bool:
    return isinstance(reply, list) and isinstance(reply[0], list)


def _script(name: str) -> str:
    return RQ_NAMES + files(__package__).joinpath(name).read_text("utf-8")


def _wait_commands(replicas: int, fsync: bool, milliseconds: int) -> list[tuple[tuple[Any, ...], list[int]]]:
    """Give what is sent after the scripts, each command with the counts that it has to answer."""
    commands: list[tuple[tuple[Any, ...], list[int]]] = []
    if replicas:
        commands.append((("WAIT", replicas, milliseconds), [replicas]))
    if fsync:
        commands.append((("WAITAOF", 1, 0, milliseconds), [1, 0]))
    return commands


def _missing(replies: list[Any], wanted: list[list[int]]) -> OutboxUnavailable | None:
    """Say what an event that was written lacks; the same event sent again may find it there."""
    for reply, counts in zip(replies, wanted, strict=True):
        if isinstance(reply, RedisError):
            refused = f"Redis cannot say whether the event is safe ({str(reply).partition(' ')[0]}); is appendonly on?"
            return OutboxUnavailable(refused, doubtful=True)
        got = reply if isinstance(reply, list) else [reply]
        if any(has < want for has, want in zip(got, counts, strict=True)):
            place = "the disk" if isinstance(reply, list) else f"{counts[0]} replicas ({got[0]} have it)"
            return OutboxUnavailable(f"Redis took the event but could not bring it to {place} in time.", doubtful=True)
    return None
