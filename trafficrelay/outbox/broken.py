"""What workers have set aside: jobs whose hash nobody can read, so that no worker takes them again.

They lie in one hash of Redis: the job's id, and JSON of what is known of it, with nothing of the job's own fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import redis
from redis.exceptions import RedisError

from .names import BROKEN_KEY
from .replies import translated

_PAGE: Final = 64
_NEVER: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Broken:
    """A job that was set aside.

    Attributes:
        job: its id.
        queue: the name of the queue that it was taken from.
        why: what is wrong with it, in a sentence without anything of what stands in it.
        at: when it was set aside; 1970 where that cannot be read.
    """

    job: str
    queue: str
    why: str
    at: datetime


def set_aside(broken: Broken) -> tuple[str, str, str]:
    """Give the arguments of the HSET that sets a job aside: the key, the field and the value."""
    value = {"queue": broken.queue, "why": broken.why, "at": broken.at.isoformat()}
    return BROKEN_KEY, broken.job, json.dumps(value, separators=(",", ":"))


def each_broken(client: redis.Redis) -> Iterator[Broken]:
    """Give what was set aside, in no order, read in pages. One may come twice: that is how Redis scans.

    Raises:
        OutboxUnavailable: Redis does not answer, or the key holds something else.
    """
    try:
        for job, value in client.hscan_iter(BROKEN_KEY, count=_PAGE):
            yield _read(job.decode("utf-8", "replace"), value)
    except RedisError as error:
        raise translated(error) from error


def _read(job: str, value: bytes) -> Broken:
    try:
        said: dict[str, Any] = json.loads(value)
        at = datetime.fromisoformat(said["at"])
        return Broken(job, str(said["queue"]), str(said["why"]), at if at.tzinfo else at.replace(tzinfo=UTC))
    except (KeyError, TypeError, ValueError):
        # Somebody else wrote there. It is shown all the same: it may be all that is left of a job.
        return Broken(job, "", "What is noted of it cannot be read.", _NEVER)
