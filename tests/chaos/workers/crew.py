"""The worker processes: kept alive, killed, and what each held in that moment."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import redis

from ...standalone_support import ROOT, kill, process_table
from ..children import end, spawn
from .account import Kill
from .holdings import held_jobs
from .jobs import NOTES
from .orders import QUEUES

OURS: Final = "trafficrelay.worker.RelayWorker"
STOCK: Final = "rq.Worker"

LEAVING_SECONDS: Final = 30.0
"""Within which a worker has to end after SIGTERM: its jobs take less than a second."""

MAX_DEATHS: Final = 20
"""More kills than hit any job by chance; and a damaged job that counts as one that kills comes to its end."""

# RQ 3 and 2 name a worker's key alike.
_WORKER_KEY: Final = "rq:worker:{}"


@dataclass(slots=True)
class _Worker:
    name: str
    process: subprocess.Popen[bytes]
    told_at: float = 0.0


@dataclass(slots=True)
class Losses:
    """What happened to the workers.

    Attributes:
        kills: those that were killed with SIGKILL.
        terms: how many got SIGTERM.
        starting: how many of both were not up yet.
        ended: names and exit codes of those that ended by themselves.
        hung: names of those that did not end within `LEAVING_SECONDS` of SIGTERM.
        holding: names of those that still held jobs when they had ended after SIGTERM.
        slowest: the longest time from SIGTERM to the end, in seconds.
    """

    kills: list[Kill] = field(default_factory=list)
    terms: int = 0
    starting: int = 0
    ended: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    holding: list[str] = field(default_factory=list)
    slowest: float = 0.0


class Crew:
    """Some workers on all queues; each is replaced at once. A context manager that starts them and ends them.

    Args:
        client: sees what they hold.
        url: their Redis.
        directory: for their logs, and for what their jobs note.
        count: how many.
        stock: whether they are RQ's own.
        dice: chooses the victims.

    Attributes:
        notes: where their jobs note what they do.
        losses: what happened to them.
    """

    def __init__(
        self, client: redis.Redis, url: str, directory: Path, *, count: int, stock: bool, dice: random.Random
    ) -> None:
        self.notes = directory / "notes"
        self.losses = Losses()
        self._client = client
        self._url = url
        self._directory = directory
        self._count = count
        self._stock = stock
        self._dice = dice
        self._number = 0
        self._working: list[_Worker] = []
        self._leaving: list[_Worker] = []
        self._sessions: set[int] = set()
        self.notes.mkdir(parents=True)

    def __enter__(self) -> Self:
        for _ in range(self._count):
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in (*self._working, *self._leaving):
            worker.process.terminate()
        for worker in (*self._working, *self._leaving):
            end(worker.process, patience=5)
        # RQ's own worker leaves the process that runs its job when it is killed.
        for pid, (_, session) in process_table().items():
            if session in self._sessions:
                kill(pid)

    @property
    def up(self) -> int:
        """How many have said that they are there."""
        return sum(self._is_up(worker) for worker in self._working)

    def strike(self, signum: signal.Signals) -> None:
        """Send a signal to one of them and start another one."""
        victim = self._dice.choice(self._working)
        self._working.remove(victim)
        self.losses.starting += not self._is_up(victim)
        if signum == signal.SIGKILL:
            at = time.time()
            victim.process.kill()
            victim.process.wait()
            held = [] if self._stock else held_jobs(self._client, victim.name)
            self.losses.kills.append(Kill(victim.process.pid, at, held))
        else:
            victim.told_at = time.monotonic()
            victim.process.send_signal(signum)
            self.losses.terms += 1
            self._leaving.append(victim)
        self._start()

    def keep(self) -> None:
        """Replace those that ended by themselves, and see that those that are to end do."""
        for worker in [one for one in self._working if one.process.poll() is not None]:
            self.losses.ended.append(f"{worker.name} ({worker.process.returncode})")
            self._working.remove(worker)
            self._start()
        for worker in list(self._leaving):
            took = time.monotonic() - worker.told_at
            if worker.process.poll() is not None:
                self._leaving.remove(worker)
                self.losses.slowest = max(self.losses.slowest, took)
                if not self._stock and held_jobs(self._client, worker.name):
                    self.losses.holding.append(worker.name)
            elif took > LEAVING_SECONDS:
                self.losses.hung.append(worker.name)
                worker.process.kill()
                worker.process.wait()
                self._leaving.remove(worker)

    def rest(self, seconds: float, also: Callable[[], object] = lambda: None) -> None:
        """Let them work on, and do something else now and then."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.keep()
            also()
            time.sleep(min(left, 0.05))

    @property
    def settled(self) -> bool:
        """Whether all that were told to end have ended."""
        return not self._leaving

    def _is_up(self, worker: _Worker) -> bool:
        return bool(self._client.exists(_WORKER_KEY.format(worker.name)))

    def _start(self) -> None:
        self._number += 1
        name = f"crew-{self._number}"
        command = [sys.executable, "-m", "rq.cli", "worker", "-w", STOCK if self._stock else OURS]
        process = spawn(
            [*command, "--url", self._url, "--name", name, *QUEUES],
            ROOT,
            self._directory / "workers.log",
            **{NOTES: str(self.notes), "TRAFFICRELAY_CONCURRENCY": "4", "TRAFFICRELAY_MAX_DEATHS": str(MAX_DEATHS)},
        )
        self._sessions.add(process.pid)
        self._working.append(_Worker(name, process))
