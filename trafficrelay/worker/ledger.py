"""The jobs that workers hold, in Redis: taken, begun, ended and put back, each in one step of a script.

A job that a RelayWorker takes leaves its queue and is held in one step. It is held until what it has come to is
written. A worker says every few seconds that it lives; when one has not for long enough, whoever looks puts its jobs
back.
"""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, Final

import msgspec
import redis
from rq import Queue
from rq.defaults import DEFAULT_FAILURE_TTL
from rq.executions import Execution, ExecutionRegistry
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.results import Result
from rq.suspension import WORKERS_SUSPENDED
from rq.utils import utcformat
from rq.version import VERSION
from rq.worker import BaseWorker

from ..event import now
from ..outbox.broken import Broken, set_aside
from ..outbox.names import ASIDE, BEGUN, BROKEN_KEY, DEAD_KEY, DEATHS, HELD_KEY, LEASES_KEY, ONCE
from .held import Begun, Ended, Exchanged, Held, Living, Reclaimed

LEASE: Final = 15
"""Seconds for which a worker is known to live after it has said so."""

RQ_3: Final = int(VERSION.partition(".")[0]) >= 3
"""RQ 3 keeps a set of what each worker runs; RQ 2 one job of each."""

_LOST: Final = "Its worker died while it ran, and it says that it must not run twice."
_POISON: Final = (
    "Its worker died while it ran, or could not write what it had come to, {deaths} times. It is not run again by "
    "itself."
)


def _execution_key() -> str:
    return Execution("", "", None).key.removesuffix(":")  # type: ignore[arg-type]


def _names() -> str:
    names = {
        "JOB": RQJob.key_for(""),
        "RESULTS": Result.get_key(""),
        "QUEUE": Queue.redis_queue_namespace_prefix,
        "EXECUTION": _execution_key(),
        "EXECUTIONS": ExecutionRegistry.key_template.format(""),
        "STARTED": StartedJobRegistry.key_template.format(""),
        "FINISHED": FinishedJobRegistry.key_template.format(""),
        "FAILED": FailedJobRegistry.key_template.format(""),
        "ONCE": ONCE,
        "BEGUN": BEGUN,
        "DEATHS": DEATHS,
        "ASIDE": ASIDE,
    }
    return "".join(f"local {name} = {value!r}\n" for name, value in names.items())


class Ledger:
    """One worker's part of the ledger, and its way to put others' jobs back.

    Args:
        client: a client of its own, which sends nothing twice by itself.
        name: the worker's name.
        max_deaths: with how many deaths a job is not run again.
    """

    def __init__(self, client: redis.Redis, name: str, *, max_deaths: int) -> None:
        self._redis = client
        self._name = name
        self._max_deaths = max_deaths
        self._worker = BaseWorker.redis_worker_namespace_prefix + name
        self._executions = f"{self._worker}:executions"
        names = _names()
        read = files(__package__)
        shared = names + read.joinpath("names.lua").read_text("utf-8")
        self._exchange, self._beat, self._reclaim = (
            client.register_script(shared + read.joinpath(script).read_text("utf-8"))
            for script in ("exchange.lua", "beat.lua", "reclaim.lua")
        )

    def exchange(
        self,
        ended: Sequence[Ended],
        *,
        queues: Sequence[str],
        wanted: int,
        going_on: Sequence[str],
        suspects: int,
        turns: bool,
        interval: int,
        worker_ttl: int,
    ) -> Exchanged:
        """Write what jobs have come to, and take others: one round trip.

        Args:
            ended: the jobs that have ended.
            queues: the queues' keys, in the order in which jobs are wanted.
            wanted: how many.
            going_on: the ids of the jobs that go on.
            suspects: how many of them two workers have died with.
            turns: whether the queues take turns; otherwise a queue is asked when those before it are empty.
            interval: seconds between heartbeats of a job.
            worker_ttl: seconds for which RQ knows the worker.

        Raises:
            RedisError: it was not done, or it was and the reply got lost. Sent again, it writes nothing twice; jobs
                that it took are held, and `strays` finds them.
        """
        moment = now()
        args: list[Any] = [
            self._name, LEASE, utcformat(moment), moment.timestamp(), interval, worker_ttl, int(RQ_3),
            going_on[0] if going_on else "", len(going_on), wanted, int(turns), suspects,
            os.urandom(12).hex(), len(ended),
        ]  # fmt: skip
        for one in ended:
            if one.written:
                args += ("F", one.id, one.execution, one.queue, *one.written)
            else:
                args += ("D", one.id, one.execution, one.queue)
        keys = [HELD_KEY, LEASES_KEY, self._worker, self._executions, WORKERS_SUSPENDED, BROKEN_KEY, *queues]
        outcomes, suspended, sizes, parts, more = self._exchange(keys=keys, args=args)
        return Exchanged(outcomes, bool(suspended), _begun(_SIZES.decode(sizes), parts), bool(more))

    def beat(self, running: Iterable[Living], *, worker_ttl: int, aloud: bool) -> bool:
        """Say that the worker lives, and what it runs.

        Args:
            running: its jobs.
            worker_ttl: seconds for which RQ knows the worker.
            aloud: whether RQ is told too.

        Returns:
            Whether RQ did not know the worker any more.
        """
        moment = now()
        args: list[Any] = [self._name, LEASE, utcformat(moment), moment.timestamp(), worker_ttl, int(aloud)]
        for one in running:
            args += (one.id, one.execution, one.queue, one.ttl, int(one.revive))
        return bool(self._beat(keys=[HELD_KEY, LEASES_KEY, self._worker, self._executions], args=args))

    def holds(self, job: Held) -> bool:
        """Say whether this worker holds a job still: if it was taken for dead, others have it by now."""
        return self._redis.hget(HELD_KEY, job.id) == f"{self._name}:{job.execution}".encode()

    def is_written(self, job: Held, queue: str) -> bool:
        """Say whether RQ's code has written what has become of a job: its entry goes in the same step.

        Raises:
            RedisError: Redis does not answer, or it has not been written and Redis takes no writes.
        """
        if self._redis.zscore(StartedJobRegistry.key_template.format(queue), f"{job.id}:{job.execution}") is None:
            return True
        self._redis.zadd(LEASES_KEY, {"": 0}, xx=True)  # writes nothing, and is refused if nothing may be written
        return False

    def strays(self, known: Iterable[str]) -> list[Held]:
        """Give the jobs that this worker holds and does not know: of an exchange whose reply got lost."""
        mine = set(known)
        return [held for held in self._held_by(self._name) if held.id not in mine]

    def give_back(self, jobs: Iterable[Held], *, died: bool = False) -> Reclaimed:
        """Put jobs of this worker back to the front of their queues.

        Args:
            jobs: the jobs.
            died: whether that counts as if the worker had died with them.
        """
        return self._put_back(self._name, "", list(jobs), died=died)

    def leave(self) -> None:
        """Be no worker any more. What it still holds is then put back as of one that died."""
        if not self._held_by(self._name):
            self._redis.zrem(LEASES_KEY, self._name)

    def dead_for(self, seconds: float) -> dict[str, bytes]:
        """Give the workers that have been seen dead for so long, and until when each was known to live.

        Dead is also one whose time lies further ahead than any that was given: Redis' clock has been put back, or
        another server is the master now. Who lives says so again within seconds.
        """
        time: Any = self._redis.time()
        found: Any = self._redis.zrange(LEASES_KEY, 0, -1, withscores=True)
        dead = {name: b"%d" % int(score) for name, score in found if not time[0] < score <= time[0] + 2 * LEASE}
        seen: Any = self._redis.hgetall(DEAD_KEY) if dead or self._redis.exists(DEAD_KEY) else {}
        since = {
            name: float(at) for name, told in seen.items() for until, at in [told.split()] if dead.get(name) == until
        }
        fresh = {name: b"%s %d" % (until, time[0]) for name, until in dead.items() if name not in since}
        with self._redis.pipeline() as pipeline:
            if gone := [name for name in seen if name not in dead]:
                pipeline.hdel(DEAD_KEY, *gone)
            if fresh:
                pipeline.hset(DEAD_KEY, mapping=fresh)
            pipeline.execute()
        return {name.decode(errors="replace"): dead[name] for name, at in since.items() if time[0] - at >= seconds}

    def adopt(self) -> None:
        """Give workers that hold jobs and are not known at all a time to live, so that somebody looks after them."""
        holders = {
            by.decode(errors="replace").rpartition(":")[0] for _, by in self._redis.hscan_iter(HELD_KEY, count=1000)
        }
        if holders:
            time: Any = self._redis.time()
            self._redis.zadd(LEASES_KEY, dict.fromkeys(holders, time[0]), nx=True)

    def reclaim(self, worker: str, until: bytes) -> Reclaimed:
        """Put the jobs of a dead worker back.

        Args:
            worker: its name.
            until: until when it was known to live, as `dead_for` said. If it has said since that it lives, nothing
                happens.
        """
        total = self._put_back(worker, until, self._held_by(worker), died=True)
        # Unless it has said so meanwhile, or holds more.
        if not self._held_by(worker) and self._redis.zscore(LEASES_KEY, worker) == float(until):
            self._redis.zrem(LEASES_KEY, worker)
        return total

    def absolve(self, job: Held) -> None:
        """Forget how many workers died with a job: it has ended, so it kills none."""
        self._redis.hdel(RQJob.key_for(job.id), DEATHS)

    def set_aside(self, job: Held, queue: str, why: str) -> None:
        """Keep a job that cannot be read where it can be seen, and hold it no more."""
        with self._redis.pipeline() as pipeline:
            pipeline.hset(*set_aside(Broken(job.id, queue, why, now())))
            pipeline.zrem(StartedJobRegistry.key_template.format(queue), f"{job.id}:{job.execution}")
            pipeline.delete(
                f"{_execution_key()}{job.id}:{job.execution}", ExecutionRegistry.key_template.format(job.id)
            )
            pipeline.srem(self._executions, f"{job.id}:{job.execution}")
            pipeline.hdel(HELD_KEY, job.id)
            pipeline.execute()

    def _held_by(self, worker: str) -> list[Held]:
        held: list[Held] = []
        for job, by in self._redis.hscan_iter(HELD_KEY, count=1000):
            # From the right: a worker's name may hold colons, an execution's id none.
            name, _, execution = by.decode(errors="replace").rpartition(":")
            if name == worker:
                held.append(Held(job.decode(errors="replace"), execution))
        return held

    def _put_back(self, worker: str, until: bytes | str, jobs: Sequence[Held], *, died: bool) -> Reclaimed:
        total = Reclaimed()
        executions = f"{BaseWorker.redis_worker_namespace_prefix}{worker}:executions"
        keys = [HELD_KEY, LEASES_KEY, executions, BROKEN_KEY, Queue.redis_queues_keys]
        moment = now()
        head: list[Any] = [
            worker, until, utcformat(moment), moment.timestamp(), self._max_deaths, int(died), DEFAULT_FAILURE_TTL,
            _as_result(_POISON.format(deaths=self._max_deaths)), _as_result(_LOST),
        ]  # fmt: skip
        for at in range(0, len(jobs), _PAGE):
            ids = [part for job in jobs[at : at + _PAGE] for part in (job.id, job.execution)]
            back, *lists = self._reclaim(keys=keys, args=head + ids)
            total += Reclaimed(back, *(tuple(one.decode(errors="replace") for one in ids) for ids in lists))
        return total


_PAGE: Final = 500


_SIZES: Final = msgspec.msgpack.Decoder(list[int])


def _begun(sizes: Sequence[int], parts: bytes) -> list[Begun]:
    """Cut the parts of jobs apart.

    Not a nested reply, because redis-py takes some 3 us for each of the 40 parts of a job. And only their lengths are
    packed: Lua packs all bytes as text, and a job's payload is none.
    """
    begun: list[Begun] = []
    place = at = 0
    while place < len(sizes):
        end = place + 1 + sizes[place]
        cut: list[bytes] = []
        for size in sizes[place + 1 : end]:
            cut.append(parts[at : at + size])
            at += size
        place = end
        fields = dict(zip(cut[3::2], cut[4::2], strict=True))
        begun.append(Begun(cut[0].decode(), cut[2].decode(), int(cut[1]), fields))
    return begun


def _as_result(why: str) -> str:
    """Write a sentence as RQ's results hold an exception's text."""
    return base64.b64encode(zlib.compress(why.encode())).decode("ascii")
