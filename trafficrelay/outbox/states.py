"""What has become of an event's jobs, as far as Redis still knows."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, Final

import redis
from redis.exceptions import RedisError
from rq.job import Job as RQJob
from rq.results import Result

from ..errors import DeadLetterError
from .handover import JobState, job_id
from .names import KEYS
from .payload import read_result
from .replies import translated

_SECRET_KEY: Final = f"{KEYS}secret"

_AT_ONCE: Final = 64
"""Jobs that one round trip asks for."""

# RQ's words (rq.job.JobStatus) in those of somebody who waits for an answer.
_WORDS: Final = {
    "created": "queued",
    "queued": "queued",
    "deferred": "queued",
    "scheduled": "queued",
    "started": "running",
    "finished": "finished",
    "failed": "failed",
    "stopped": "failed",
    "canceled": "failed",
}


def shared_secret(client: redis.Redis) -> bytes:
    """Give the secret that all processes on this Redis share; the first that asks makes it.

    Raises:
        OutboxUnavailable: Redis does not answer.
    """
    try:
        with client.pipeline(transaction=False) as pipeline:
            pipeline.set(_SECRET_KEY, secrets.token_bytes(32), nx=True)
            pipeline.get(_SECRET_KEY)
            _, kept = pipeline.execute()
    except RedisError as error:
        raise translated(error) from error
    return bytes(kept)


def job_states(client: redis.Redis, serializer: Any, event_id: str, count: int) -> list[JobState]:
    """Give the state of each job of an event, in order; of one that became a dead letter that of the letter.

    Args:
        client: a client of the Redis that the jobs are in.
        serializer: the relay's, as `rq.Queue` takes it.
        event_id: the event's id.
        count: how many jobs it became; 0 for a dead letter.

    Raises:
        OutboxError: Redis does not answer.
    """
    try:
        if count:
            return [state for _, state in _asked(client, serializer, event_id, range(1, count + 1))]
        # The letter may have become jobs since; how many, they alone tell.
        found: list[JobState] = []
        while len(found) % _AT_ONCE == 0:
            some = range(len(found) + 1, len(found) + _AT_ONCE + 1)
            there = list(takewhile(lambda one: one[0], _asked(client, serializer, event_id, some)))
            found += [state for _, state in there]
            if not there:
                break
        return found or [state for _, state in _asked(client, serializer, event_id, range(1))]
    except RedisError as error:
        raise translated(error) from error


def _asked(
    client: redis.Redis, serializer: Any, event_id: str, numbers: Sequence[int]
) -> Iterator[tuple[bool, JobState]]:
    """Give for each job whether it is there, and how it is."""
    for start in range(0, len(numbers), _AT_ONCE):
        some = [job_id(event_id, number) for number in numbers[start : start + _AT_ONCE]]
        with client.pipeline(transaction=False) as pipeline:
            for id_ in some:
                pipeline.hget(RQJob.key_for(id_), "status")
                pipeline.xrevrange(Result.get_key(id_), count=1)
            replies = pipeline.execute()
        for id_, status, results in zip(some, replies[::2], replies[1::2], strict=True):
            yield status is not None, _state(id_, status, results, serializer)


def _state(id_: str, status: bytes | None, results: Any, serializer: Any) -> JobState:
    word = _WORDS.get(status.decode("ascii", "replace"), "unknown") if status is not None else "unknown"
    if word != "finished":
        return JobState(id_, word)
    # RQ writes none for a job that gave back nothing.
    written = results[0][1].get(b"return_value") if results else None
    if written is None:
        return JobState(id_, word, has_result=True)
    try:
        return JobState(id_, word, read_result(base64.b64decode(written), serializer), has_result=True)
    except (DeadLetterError, binascii.Error):
        return JobState(id_, word)  # an object of somebody's class: nothing here may make one
