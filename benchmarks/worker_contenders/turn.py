"""A turn: a fresh Redis, the jobs in its queue, one contender that runs them, and what that took."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis, RedisError

from trafficrelay.standalone.valkey import find_binary

from .contenders import Contender, Settings
from .process_tree import ProcessTree
from .tally import Tally

_HERE = Path(__file__).parents[1]

# From the start of a worker to its first job; the slowest needs some two seconds.
_START_SECONDS = 60.0


class TurnError(Exception):
    """A turn that gives no number."""


@dataclass(frozen=True)
class Turn:
    """What one turn gave.

    Attributes:
        jobs: how many were in the queue; each ran.
        again: how many runs there were beyond one for each.
        seconds: from the start of the first job to the end of the last one and of its bookkeeping.
        ran_seconds: from the start of the first job to the end of the last one.
        cpu_seconds: user and system time of all the contender's processes meanwhile.
        redis_cpu_seconds: the same of the Redis.
        peak_mib: peak of the resident memory, summed over its processes at the end.
    """

    jobs: int
    again: int
    seconds: float
    ran_seconds: float
    cpu_seconds: float
    redis_cpu_seconds: float
    peak_mib: float

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds


@dataclass(frozen=True)
class Memory:
    """A worker's resident memory in MiB, peak and held, after some jobs and after more in the same process."""

    jobs: int
    peak: float
    held: float
    more_jobs: int
    more_peak: float
    more_held: float


def wait_until(condition: Callable[[], object], *, seconds: float, every: float, what: str) -> None:
    """Wait until a condition holds.

    Raises:
        TurnError: it does not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TurnError(f"{what} within {seconds:.0f} s")
        time.sleep(every)


class HttpServer:
    """The server of the 50 ms, in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "worker_contenders.http_server"]
        self._process = ProcessTree(command, environment=_environment({}), cwd=_HERE, output=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def answered(self) -> int:
        """Ask how many requests it answered, ever."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/answered", timeout=30) as response:
            return int(response.read())

    def close(self) -> None:
        """End it."""
        self._process.kill()


class Stage:
    """Where turns take place; one at a time."""

    def __init__(self, http: HttpServer, *, limit: float) -> None:
        """Take the server of the 50 ms and the seconds that a turn's jobs may take at most."""
        self._http = http
        self._limit = limit

    def play(self, contender: Contender, kind: str, jobs: int) -> Turn:
        """Run so many jobs.

        Raises:
            TurnError: not every job ran, or not in time.
        """
        with self._prepared(contender, kind, jobs) as hall:
            answered = self._http.answered()
            hall.enqueue(0, jobs)
            worker = hall.start_worker()
            hall.wait_begun(worker)
            cpu, redis_cpu = worker.cpu_seconds(), hall.redis.cpu_seconds()
            hall.wait_done(worker, jobs, self._limit)
            ended = time.monotonic()
            cpu, redis_cpu = worker.cpu_seconds() - cpu, hall.redis.cpu_seconds() - redis_cpu
            began, last = hall.tally.span(jobs)
            peak = worker.memory()
            # A job that runs again does so now.
            time.sleep(0.3)
            hall.check(jobs)
            runs = hall.tally.runs()
            if kind == "fetch" and (requests := self._http.answered() - answered) != runs:
                raise TurnError(f"{requests} requests for {runs} runs of jobs")
            return Turn(jobs, runs - jobs, ended - began, last - began, cpu, redis_cpu, peak)

    def weigh(self, contender: Contender, kind: str, jobs: int) -> Memory:
        """Measure the memory of one worker after so many jobs and after five times as many.

        Raises:
            TurnError: not every job ran, or not in time.
        """
        with self._prepared(contender, kind, 5 * jobs) as hall:
            hall.enqueue(0, jobs)
            worker = hall.start_worker()
            hall.wait_begun(worker)
            hall.wait_done(worker, jobs, self._limit)
            peak, held = worker.memory(), worker.memory("VmRSS")
            hall.enqueue(jobs, 4 * jobs)
            hall.wait_done(worker, 5 * jobs, 5 * self._limit)
            hall.check(5 * jobs)
            return Memory(jobs, peak, held, 5 * jobs, worker.memory(), worker.memory("VmRSS"))

    @contextmanager
    def _prepared(self, contender: Contender, kind: str, size: int) -> Iterator[_Hall]:
        with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
            yield _Hall(Path(name), stack, contender, kind, size, self._http.port)


class _Hall:
    """What one turn has around it."""

    def __init__(
        self, directory: Path, stack: ExitStack, contender: Contender, kind: str, size: int, http_port: int
    ) -> None:
        self._directory = directory
        self._stack = stack
        self._contender = contender
        self._kind = kind
        self._settings: Settings = contender.settings[kind]
        self.tally = Tally.create(directory / "tally", size)
        port = _free_port()
        self._url = f"redis://127.0.0.1:{port}/0"
        self._variables = {
            **self._settings.environment,
            "BENCH_REDIS": self._url,
            "BENCH_TALLY": str(directory / "tally"),
            "BENCH_HTTP_PORT": str(http_port),
        }
        command = [str(find_binary()), "--bind", "127.0.0.1", "--port", str(port)]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        self.redis = self._start(command, "valkey.log")
        self.client = Redis.from_url(self._url)
        stack.callback(self.client.close)
        wait_until(self._answers, seconds=30, every=0.01, what="Redis did not answer")

    def enqueue(self, first: int, count: int) -> None:
        """Put jobs into the queue."""
        command = [sys.executable, "-m", "worker_contenders.enqueue"]
        command += [self._contender.library, self._kind, str(first), str(count)]
        environment = {**_environment(self._variables), "BENCH_GREENLETS": ""}
        done = subprocess.run(
            command, env=environment, cwd=self._directory, capture_output=True, check=False, timeout=300
        )
        if done.returncode:
            raise TurnError(f"enqueueing failed: {done.stderr.decode(errors='replace')[-2000:]}")

    def start_worker(self) -> ProcessTree:
        """Start the contender."""
        script, *arguments = self._settings.command.format(url=self._url).split()
        return self._start([str(Path(sysconfig.get_path("scripts")) / script), *arguments], "worker.log")

    def wait_begun(self, worker: ProcessTree) -> None:
        """Wait for the first job to begin."""
        self._wait(worker, self.tally.has_begun, _START_SECONDS, 0.002, "no job began")

    def wait_done(self, worker: ProcessTree, jobs: int, limit: float) -> None:
        """Wait until all jobs ran and the library's own keys show them as done."""
        self._wait(worker, lambda: self.tally.done(jobs) == jobs, limit, 0.005, "the jobs did not all end well")
        unfinished = self._contender.unfinished
        self._wait(worker, lambda: not unfinished(self.client, jobs), 30, 0.005, "the jobs ran, but are not all done")

    def check(self, jobs: int) -> None:
        """See that each job ran, and that nothing is left."""
        if lost := jobs - self.tally.done(jobs):
            raise TurnError(f"{lost} of {jobs} jobs did not run to their end")
        if left := self._contender.unfinished(self.client, jobs):
            raise TurnError(f"{left} jobs are left in Redis")

    def _wait(
        self, worker: ProcessTree, condition: Callable[[], object], seconds: float, every: float, what: str
    ) -> None:
        def holds() -> bool:
            if condition():
                return True
            if not worker.is_running():
                raise TurnError("the worker ended")
            return False

        try:
            wait_until(holds, seconds=seconds, every=every, what=what)
        except TurnError as error:
            done = f"{self.tally.done(self.tally.size)} jobs ran to their end"
            raise TurnError(f"{error}; {done}. Its log ends: {self._log() or '(empty)'}") from None

    def _log(self) -> str:
        text = (self._directory / "worker.log").read_text(errors="replace")
        return text[-2000:].strip()

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (OSError, RedisError):
            if not self.redis.is_running():
                raise TurnError("Redis did not start") from None
            return False

    def _start(self, command: list[str], log: str) -> ProcessTree:
        with (self._directory / log).open("wb") as output:
            tree = ProcessTree(
                command, environment=_environment(self._variables), cwd=self._directory, output=output.fileno()
            )
        self._stack.callback(tree.kill)
        return tree


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(_HERE), str(_HERE.parent)]), **variables}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
