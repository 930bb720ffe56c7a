"""Processes of `rq worker`, and what they left in Redis, for the tests of the relay's worker."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from rq import Queue
from rq.job import Job
from rq.registry import StartedJobRegistry

from trafficrelay.outbox.names import BROKEN_KEY, HELD_KEY

from .kill_workers import NOTES
from .standalone_support import ROOT, environment
from .waiting import wait_until

QUICK = "tests.kill_workers.QuickWorker"
RELAY = "trafficrelay.worker.RelayWorker"


class WorkerProcess:
    """One `rq worker`, or another of RQ's commands, in a process of its own; killed at the end.

    Args:
        url: its Redis.
        notes: where its jobs note what they do, and its log is.
        arguments: of `rq worker`, the queues among them.
        kind: the worker's class.
        command: RQ's command.
        more: what its environment has besides.
    """

    def __init__(
        self,
        url: str,
        notes: Path,
        *arguments: str,
        kind: str = QUICK,
        command: str = "worker",
        **more: str,
    ) -> None:
        self.name = f"w{uuid.uuid4().hex[:12]}"
        name = ["--name", self.name] if command == "worker" and "--name" not in arguments else []
        self._log = notes / f"{self.name}.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rq.cli", command, "-w", kind, "--url", url, *name, *arguments],
                cwd=ROOT,
                env=environment(**{NOTES: str(notes)} | more),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal is for the tests; and a pool is a group.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def send(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait_for(self, text: str, seconds: float = 20) -> Self:
        """Wait until its log says something."""
        wait_until(lambda: text in self.log or not self.lives, seconds)
        assert text in self.log, self.log
        return self

    def wait_until_up(self) -> Self:
        return self.wait_for("*** Listening on")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def new_id() -> str:
    """An id as the outbox gives them."""
    return f"{uuid.uuid4().hex}-1"


def enqueue(client: redis.Redis, function: str, *args: Any, queue: str = "one", **options: Any) -> str:
    """Enqueue a job of tests.kill_workers, and give its id."""
    job = Queue(queue, connection=client).enqueue(
        f"tests.kill_workers.{function}", *args, job_id=new_id(), result_ttl=86400, **options
    )
    return job.id


def notes_of(notes: Path, job: str, what: str = "begin") -> list[tuple[int, float]]:
    """The process and the time of each line of a job's notes."""
    with contextlib.suppress(FileNotFoundError):
        lines = [line.split() for line in (notes / job).read_text().splitlines()]
        return [(int(pid), float(when)) for said, pid, when in lines if said == what]
    return []


def begun(notes: Path, jobs: Iterable[str], times: int = 1) -> bool:
    """Say whether all of these have begun, that often."""
    return all(len(notes_of(notes, job)) >= times for job in jobs)


def statuses(client: redis.Redis, jobs: Sequence[str]) -> list[str]:
    """The status of each job, "" where there is none."""
    with client.pipeline(transaction=False) as pipeline:
        for job in jobs:
            pipeline.hget(Job.key_for(job), "status")
        return [(one or b"").decode() for one in pipeline.execute()]


def all_are(client: redis.Redis, jobs: Sequence[str], status: str = "finished") -> bool:
    return set(statuses(client, jobs)) <= {status}


def held(client: redis.Redis) -> dict[str, str]:
    """The jobs that workers hold, and who."""
    found: Any = client.hgetall(HELD_KEY)
    return {job.decode(errors="replace"): by.decode() for job, by in found.items()}


def aside(client: redis.Redis) -> set[str]:
    found: Any = client.hkeys(BROKEN_KEY)
    return {job.decode(errors="replace") for job in found}


def leftovers(client: redis.Redis, *queues: str) -> dict[str, Any]:
    """What ought to be gone when all jobs have ended: empty if it is."""
    left: dict[str, Any] = {"held": held(client)}
    for queue in queues:
        left[f"queue {queue}"] = client.lrange(Queue(queue, connection=client).key, 0, -1)
        left[f"started {queue}"] = client.zrange(StartedJobRegistry(queue, connection=client).key, 0, -1)
    left["executions"] = list(client.scan_iter("rq:execution:*", count=1000))
    return {name: value for name, value in left.items() if value}
