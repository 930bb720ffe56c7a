"""Makes handovers, and reads what an outbox made of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from typing import Any

import redis
from rq import Queue

from trafficrelay.outbox import DeadLetter, Handover, Job
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.target import JobOptions

# Key to (type, value, seconds to live or -1).
Dump = dict[bytes, tuple[str, Any, int]]


def dump(client: redis.Redis) -> Dump:
    """Read all that is in Redis."""
    read: dict[str, Callable[[bytes], Any]] = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "stream": client.xrange,
    }
    found: Dump = {}
    for key in client.scan_iter():
        kind = client.type(key).decode()
        found[key] = (kind, read[kind](key), client.ttl(key))
    return found


def entries(written: Dump) -> dict[bytes, tuple[str, Any]]:
    """Leave out the lifetimes, which the clock changes."""
    return {key: (kind, value) for key, (kind, value, _) in written.items()}


def keys(client: redis.Redis, part: str) -> list[bytes]:
    return sorted(client.keys(f"*{part}*"))


def a_job(data: Any = "data", *, function: str = "tests.jobs.echo", queue: str = "hooks", **options: Any) -> Job:
    return Job(function=function, queue=queue, data=data, options=JobOptions(**options))


def a_letter(ttl: int | None = None, queue: str = "hooks") -> DeadLetter:
    return DeadLetter(function="tests.jobs.fail", queue=queue, data={"v": 1}, traceback="Traceback: é\n", ttl=ttl)


def a_handover(*jobs: Job, event: str | None = None, **more: Any) -> Handover:
    context = {"v": 1, "headers": {"x-a": "ä"}}
    return Handover(id=event or uuid.uuid4().hex, context=context, jobs=jobs or (a_job(),), **more)


def a_dead_one(letter: DeadLetter, event: str | None = None, **more: Any) -> Handover:
    return replace(a_handover(event=event, **more), jobs=(), dead_letter=letter)


def opened(source: str | redis.Redis, **more: Any) -> AbstractContextManager[RQOutbox]:
    return closing(RQOutbox(source, **more))


def queued(client: redis.Redis, queue: str = "hooks") -> list[str]:
    return Queue(queue, connection=client).job_ids
