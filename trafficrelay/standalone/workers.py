"""The worker's process: kept alive while the keeper runs, ended in order when it stops."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Final

import redis

from ..config.finding import CONFIG_VARIABLE
from .processes import dies_with_parent, send

# rq does not heed a second signal within a second of the first.
_SECOND_SIGNAL: Final = 1.2
_COLD_SECONDS: Final = 3.0

_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_GOOD_RUN: Final = 60.0


class WorkerProcess:
    """One RelayWorker on all queues, started again when it ends by itself."""

    def __init__(self, url: str, queues: Sequence[str], marker: str, *, serializer: str | None = None) -> None:
        """Make a worker that is not started yet.

        Args:
            url: where the jobs are.
            queues: the queues' names.
            marker: `NAME=value` for its environment, by which its processes are known later.
            serializer: what its `--serializer` is given, `None` for nothing.
        """
        self._queues = queues
        self._url = url
        name, _, value = marker.partition("=")
        self._environment = {**os.environ, name: value}
        self._command = [
            sys.executable,
            "-m",
            "rq.cli",
            "worker",
            "-w",
            "trafficrelay.worker.RelayWorker",
            "--url",
            url,
        ]
        self._command += ["--serializer", serializer] if serializer else []
        if config := os.environ.get(CONFIG_VARIABLE):
            # The modules that a relay.toml names may lie beside it; "." is what rq puts on the path by itself.
            self._command += ["--path", ".", "--path", str(Path(config).parent)]
        self._command += queues
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._start_at = 0.0
        self._pause = _SHORTEST_PAUSE

    def keep(self) -> None:
        """Start the worker if it does not run; after failures only when a pause that grows has passed."""
        if self._process is not None:
            if self._process.poll() is None:
                return
            self._bury(self._process)
        if time.monotonic() >= self._start_at:
            self._start()

    def signal_worker(self) -> None:
        """Ask the worker to end: the first time when its job is done, the second time at once."""
        if self._process is not None:
            self._process.send_signal(SIGTERM)

    def kill(self) -> None:
        """End the worker and its scheduler at once."""
        if self._process is not None:
            send(self._process.pid, SIGKILL, group=True)
            self._process.wait()

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, no shell
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            # The keeper's stdout is for its one line to the main process.
            stdout=sys.stderr,
            process_group=0,
            preexec_fn=dies_with_parent(),  # noqa: PLW1509 - the keeper has one thread
        )
        self._started = time.monotonic()

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        # What its jobs started. As long as they have the worker's connections, Valkey takes it for alive.
        send(process.pid, SIGKILL, group=True)
        self._free_scheduler_lock()
        now = time.monotonic()
        self._pause = _SHORTEST_PAUSE if now - self._started > _GOOD_RUN else self._pause
        self._start_at = now + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        sys.stderr.write(f"trafficrelay: the worker ended with code {process.returncode}; another one starts soon.\n")

    def _free_scheduler_lock(self) -> None:
        """Remove the locks of a scheduler that was killed: the next one would wait until they end by themselves."""
        # Needed after a crash alone, and slower to import than all else here.
        from rq.scheduler import RQScheduler

        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self._url) as client:
            client.delete(*(RQScheduler.get_locking_key(queue) for queue in self._queues))


def stop_all(workers: Iterable[WorkerProcess], *, grace: float) -> None:
    """End workers, within `grace` and some 5 seconds: their jobs may finish within `grace`, then they are cut off."""
    workers = list(workers)
    for patience in (max(grace, _SECOND_SIGNAL), _COLD_SECONDS):
        for worker in workers:
            worker.signal_worker()
        _wait_until(lambda: not any(worker.runs for worker in workers), patience)
    for worker in workers:
        worker.kill()


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
