"""All that is in Redis as single facts, so that what two workers leave can be compared, and each difference named.

What must differ between two runs is made equal: times, executions' and streams' ids, and through which of RQ's or our
functions an exception passed. Lifetimes and scores of registries are seconds after the end of the job they are about.
"""

from __future__ import annotations

import re
import time
import zlib
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import redis
from rq.job import Job
from rq.utils import str_to_date
from rq.worker import BaseWorker

Fact = tuple[str, ...]
Facts = dict[Fact, Any]

JOB: Final = re.compile(r"[a-z][a-z0-9]*-\d+(?:-[a-z0-9]+)?")
"""A job's id as tests make them: what kind it is, a number, and which part of a family it is."""

_TIMES: Final = ("created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat")
_RESULT_TIMES: Final = ("execution_id", "execution_started_at", "execution_ended_at")
_OF_THE_PROCESS: Final = ("birth", "death", "last_heartbeat", "pid", "hostname", "ip_address", "total_working_time")
_SLACK: Final = 10.0


@dataclass(frozen=True)
class Moment:
    """A moment.

    Attributes:
        at: in seconds.
        since: how long after the end of its job it is, if there is one.
        ahead: how long it is still to come; 0 if it has passed.
    """

    at: float
    since: float | None
    ahead: float

    def is_like(self, other: Moment) -> bool:
        """Say whether both were set at the same time, or are equally long after their job, or from now on."""
        if abs(self.at - other.at) <= _SLACK:
            return True
        if self.since is None or other.since is None:
            return self.since is other.since and abs(self.ahead - other.ahead) <= _SLACK
        return abs(self.since - other.since) <= _SLACK


def facts(client: redis.Redis) -> Facts:
    """Read all that is in Redis."""
    found = _read(client)
    ends = {key.removeprefix("rq:job:"): _last_time(value) for key, (kind, value, _) in found.items() if kind == "hash"}
    told: Facts = {}
    for key, (kind, value, expires) in found.items():
        told.update(_TELL[kind](key, value, ends))
        if expires > 0:
            told[(key, "expires")] = _moment(expires / 1000, key, ends)
    return told


def differences(first: Facts, second: Facts) -> list[tuple[Fact, Any, Any]]:
    """Give what is not the same: the fact, and what each says of it (`None`: nothing)."""
    return [
        (fact, first.get(fact), second.get(fact))
        for fact in sorted(first.keys() | second.keys())
        if not _agree(first.get(fact), second.get(fact))
    ]


def kind_of(fact: Fact) -> str:
    """Say which kind of job a fact is about; nothing, if about none."""
    for part in fact:
        if found := JOB.search(part):
            return found[0].partition("-")[0]
    return ""


def without_frames(text: str) -> str:
    """Leave of a traceback what was raised, and where in the tests' jobs: the rest is the worker's business."""
    kept: list[str] = []
    for line in text.splitlines():
        if found := re.match(r'  File ".*worker_jobs\.py", line \d+, in (\w+)', line):
            kept.append(f"  in {found[1]}")
        elif not line.startswith("  "):
            kept.append(line)
    return "\n".join(kept)


def _read(client: redis.Redis) -> dict[str, tuple[str, Any, int]]:
    keys = sorted(client.scan_iter(count=1000))
    found = {}
    for at in range(0, len(keys), 1000):
        page = keys[at : at + 1000]
        with client.pipeline(transaction=False) as pipeline:
            for key in page:
                pipeline.type(key)
            kinds = [kind.decode() for kind in pipeline.execute()]
            # Some have gone since: results that are kept for a minute, say.
            there = [(key, kind) for key, kind in zip(page, kinds, strict=True) if kind != "none"]
            for key, kind in there:
                _ASK[kind](pipeline, key)
                pipeline.pexpiretime(key)
            replies = pipeline.execute()
        for number, (key, kind) in enumerate(there):
            found[key.decode()] = (kind, replies[2 * number], replies[2 * number + 1])
    return found


_ASK: Final[Mapping[str, Any]] = {
    "string": lambda ask, key: ask.get(key),
    "hash": lambda ask, key: ask.hgetall(key),
    "list": lambda ask, key: ask.lrange(key, 0, -1),
    "set": lambda ask, key: ask.smembers(key),
    "zset": lambda ask, key: ask.zrange(key, 0, -1, withscores=True),
    "stream": lambda ask, key: ask.xrange(key),
}


def _last_time(fields: Mapping[bytes, bytes]) -> float | None:
    for names in (("ended_at",), _TIMES):
        times = [str_to_date(value).timestamp() for name in names if (value := fields.get(name.encode()))]
        if times:
            return max(times)
    return None


def _moment(at: float, about: str, ends: Mapping[str, float | None]) -> Moment:
    found = JOB.search(about)
    end = ends.get(found[0]) if found else None
    return Moment(at, None if end is None else at - end, max(0.0, at - time.time()))


def _tell_hash(key: str, value: Mapping[bytes, bytes], _: Any) -> Iterator[tuple[Fact, Any]]:
    for raw, content in value.items():
        name = raw.decode()
        said: Any = content
        if key.startswith(Job.redis_job_namespace_prefix) and name in _TIMES:
            said = _is_time(content)
        elif key.startswith(BaseWorker.redis_worker_namespace_prefix) and name in _OF_THE_PROCESS:
            said = bool(content)
        yield (key, name), said


def _is_time(content: bytes) -> str:
    return "a time" if content and isinstance(str_to_date(content), datetime) else repr(content)


def _tell_zset(key: str, value: Any, ends: Mapping[str, float | None]) -> Iterator[tuple[Fact, Any]]:
    for member, score in value:
        said: Any = score
        if 1e9 < score < float("inf"):
            # Somebody's clock as it happened to be, or so long after a job's end.
            timeless = key.startswith(("rq:canceled:", "rq:rl:"))
            said = "a time" if timeless else _moment(score, member.decode(), ends)
        yield (key, member.decode()), said


def _tell_stream(key: str, value: Any, _: Any) -> Iterator[tuple[Fact, Any]]:
    for number, (_id, fields) in enumerate(value):
        for raw, content in fields.items():
            name, said = raw.decode(), content
            if name in _RESULT_TIMES:
                said = bool(content)
            elif name == "exc_string":
                said = without_frames(zlib.decompress(b64decode(content)).decode())
            yield (key, str(number), name), said


def _tell_list(key: str, value: Any, _: Any) -> Iterator[tuple[Fact, Any]]:
    yield from (((key, member.decode()), count) for member, count in Counter(value).items())


_TELL: Final[Mapping[str, Any]] = {
    "string": lambda key, value, ends: [((key,), value)],
    "hash": _tell_hash,
    "list": _tell_list,
    "set": lambda key, value, ends: [((key, member.decode()), True) for member in value],
    "zset": _tell_zset,
    "stream": _tell_stream,
}


def _agree(first: Any, second: Any) -> bool:
    if isinstance(first, Moment) and isinstance(second, Moment):
        return first.is_like(second)
    return bool(first == second)
