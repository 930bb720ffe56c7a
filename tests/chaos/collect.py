"""Reads what RQ holds, takes it away, and has jobs run: those of the small queue by a stock worker."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import redis
from rq import Queue
from rq.job import Job
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)

from ..standalone_support import environment
from .account import Found
from .payload import Recognised, recognise

QUEUES: Final = ("hooks", "small")

_REGISTRIES: Final = (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
_JOB: Final = Job.redis_job_namespace_prefix
_EATEN: Final = "chaos:eaten"
_EATEN_DATA: Final = "chaos:eaten:data"

# KEYS: the queue, the counts, the payloads, what the hashes of jobs begin with. ARGV: how many.
_EAT: Final = """
for _ = 1, ARGV[1] do
  local id = redis.call('LPOP', KEYS[1])
  if not id then return end
  redis.call('HINCRBY', KEYS[2], id, 1)
  local data = redis.call('HGET', KEYS[4] .. id, 'data')
  if data then redis.call('HSET', KEYS[3], id, data) end
  redis.call('DEL', KEYS[4] .. id)
end
"""

_CHUNK: Final = 500
_WORKER_SECONDS: Final = 120.0


def eat(client: redis.Redis, count: int) -> None:
    """Run some jobs of the queue `hooks`, in so far as they leave it and their hash goes.

    All in one script that counts them, so nothing is lost whenever it is that Valkey goes away.
    """
    with contextlib.suppress(redis.RedisError):
        client.eval(_EAT, 4, Queue("hooks", connection=client).key, _EATEN, _EATEN_DATA, _JOB, count)


def collect(client: redis.Redis, seed: int) -> list[Found]:
    """Read every job: those in queues and registries, those whose hash is there alone, and those that were eaten."""
    places = Counter(_listed(client))
    eaten: Any = client.hgetall(_EATEN)
    payloads: Any = client.hgetall(_EATEN_DATA)
    for id_, count in eaten.items():
        places[_text(id_)] += int(count)
    runs = {_text(key).removeprefix("runs:"): key for key in client.scan_iter("runs:*", count=1000)}
    hashes = {_text(key).removeprefix(_JOB) for key in _hashes(client)}
    ids = places.keys() | hashes | runs.keys()
    found = []
    for chunk in _chunks(sorted(ids)):
        for id_, job in zip(chunk, Job.fetch_many(chunk, connection=client), strict=True):
            known = _recognise(job or _eaten_job(id_, payloads.get(id_.encode()), client), seed)
            count = int(client.get(runs[id_]) or 0) if id_ in runs else 0
            found.append(Found(id_, known.number, known.part, known.intact, places[id_], count))
    return found


def count_jobs(client: redis.Redis) -> int:
    """Count the jobs in queues and registries, quickly."""
    with client.pipeline(transaction=False) as pipeline:
        for queue in QUEUES:
            pipeline.llen(Queue(queue, connection=client).key)
            for registry in _REGISTRIES:
                pipeline.zcard(registry(queue, connection=client).key)
        return sum(pipeline.execute())


def take_away(client: redis.Redis, found: Collection[Found]) -> None:
    """Remove jobs that were read, wherever they are. The relay's own marks stay, and what came meanwhile."""
    for chunk in _chunks([one.id for one in found]):
        with client.pipeline() as pipeline:
            pipeline.delete(*(f"{kind}:{id_}" for kind in ("rq:job", "rq:results", "runs") for id_ in chunk))
            pipeline.hdel(_EATEN, *chunk)
            pipeline.hdel(_EATEN_DATA, *chunk)
            for queue in QUEUES:
                for registry in _REGISTRIES:
                    pipeline.zrem(registry(queue, connection=client).key, *chunk)
            pipeline.execute()
    # Of lists a part is dropped that was read for certain: the relay appends.
    taken = {one.id for one in found}
    for queue in QUEUES:
        key = Queue(queue, connection=client).key
        ids: Any = client.lrange(key, 0, -1)
        read = next((at for at, id_ in enumerate(ids) if _text(id_) not in taken), len(ids))
        client.ltrim(key, read, -1)


def run_small_jobs(url: str, directory: Path) -> None:
    """Have a stock `rq worker` run the jobs of the queue `small`, which count their runs.

    Raises:
        RuntimeError: it fails.
    """
    command = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--url", url, "--worker-class", "rq.SimpleWorker"]
    done = subprocess.run(
        [*command, "small"],
        cwd=directory,
        env=environment(),
        capture_output=True,
        timeout=_WORKER_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the worker failed: {done.stderr.decode(errors='replace')[-2000:]}")


def _listed(client: redis.Redis) -> Iterator[str]:
    for queue in QUEUES:
        ids: Any = client.lrange(Queue(queue, connection=client).key, 0, -1)
        for registry in _REGISTRIES:
            ids += client.zrange(registry(queue, connection=client).key, 0, -1)
        # Those that run have the number of the run behind a colon.
        yield from (_text(id_).partition(":")[0] for id_ in ids)


def _hashes(client: redis.Redis) -> Iterator[Any]:
    return client.scan_iter(f"{_JOB}*", count=1000, _type="HASH")


def _eaten_job(id_: str, data: bytes | None, client: redis.Redis) -> Job | None:
    if data is None:
        return None
    job = Job(id_, connection=client)
    with contextlib.suppress(zlib.error):
        data = zlib.decompress(data)
    job.data = data
    return job


def _recognise(job: Job | None, seed: int) -> Recognised:
    if job is None:
        return Recognised(-1, -1, False)
    try:
        (data,) = job.args
    except Exception:  # whatever a payload that is none may raise
        return Recognised(-1, -1, False)
    return recognise(data, seed)


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(ids), _CHUNK):
        yield ids[at : at + _CHUNK]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
