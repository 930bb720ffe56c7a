"""One run: jobs come in bursts, and in the middle of each a worker is killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis

from ...standalone_support import ROOT
from ..children import end, free_port, spawn
from ..valkeys import Valkey
from .account import Verdict, judge
from .corrupt import DAMAGES, enqueue_damaged, strange_ids
from .crew import Crew, Losses
from .holdings import leftovers, queued, read_places, statuses
from .notes import read_notes
from .orders import QUEUES, Order, draw, enqueue, in_bursts

PATIENCE: Final = 120.0
"""Seconds without any progress after which what is missing is given up."""

STOCK_PATIENCE: Final = 300.0
"""The same for RQ's own workers, whose jobs are found when RQ has forgotten that they run."""

_SWEEP_EVERY: Final = 5.0
_HOOKS: Final = """\
from trafficrelay import Relay

relay = Relay()
relay.route("/in", verify=None, job="jobs.never", queue="alpha")(lambda event: event.data)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done.

    Attributes:
        jobs: how many jobs there are, the damaged ones not counted.
        kills: how many workers get SIGKILL.
        terms: how many get SIGTERM.
        corrupt: how many damaged jobs there are besides.
        workers: how many work at once.
        pace: seconds from one burst of jobs to the next, on average; a worker is hit in each.
        stock: whether RQ's own workers run them, beside `trafficrelay sweep`.
        seed: what all of it follows.
    """

    jobs: int
    kills: int
    terms: int
    corrupt: int = 0
    workers: int = 3
    pace: float = 2.5
    stock: bool = False
    seed: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it.

    Attributes:
        plan: what was done.
        verdict: what became of the jobs.
        losses: what became of the workers.
        left: what ought to be gone.
        seconds: how long it took.
        slowest: the longest time from a job's way into its queue to its last end, in seconds.
        failures: what else did not come right.
    """

    plan: Plan
    verdict: Verdict
    losses: Losses
    left: dict[str, int]
    seconds: float
    slowest: float
    failures: Sequence[str] = field(default_factory=tuple)

    @property
    def good(self) -> bool:
        """Whether all is as it must be."""
        stayed = self.plan.stock or not (self.losses.ended or self.losses.hung or self.losses.holding)
        return self.verdict.good and stayed and not self.failures


class _Sweeps:
    """`trafficrelay sweep`, again and again, as cron would run it.

    Attributes:
        failed: how many of them failed.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self._command = [sys.executable, "-m", "trafficrelay", "sweep", "sweephooks:relay"]
        self._directory = directory
        self._more = {"TRAFFICRELAY_REDIS_URL": url, "PYTHONPATH": f"{directory}:{ROOT}"}
        self._process: subprocess.Popen[bytes] | None = None
        self._next = 0.0
        self.failed = 0
        (directory / "sweephooks.py").write_text(_HOOKS)

    def keep(self) -> None:
        """Begin another one some seconds after the last has ended."""
        if self._process is not None and self._process.poll() is not None:
            self.failed += self._process.returncode != 0
            self._process, self._next = None, time.monotonic() + _SWEEP_EVERY
        if self._process is None and time.monotonic() > self._next:
            self._process = spawn(self._command, self._directory, self._directory / "sweep.log", **self._more)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            end(self._process)


def play(plan: Plan, directory: Path, tell: Callable[[str], None] = lambda line: None) -> Report:
    """Do it all.

    Args:
        plan: what.
        directory: for data and logs; it is made.
        tell: is given a line on how it goes.
    """
    dice = random.Random(plan.seed)
    orders = [draw(dice) for _ in range(plan.jobs)]
    damages = list(DAMAGES)
    damaged = [draw(dice, damages[number % len(damages)]) for number in range(plan.corrupt)]
    dice.shuffle(damaged)
    hits = [signal.SIGKILL] * plan.kills + [signal.SIGTERM] * plan.terms
    dice.shuffle(hits)
    directory.mkdir(parents=True)
    begun = time.monotonic()
    with Valkey(directory / "valkey", free_port()) as valkey, valkey.client() as client:
        with Crew(client, valkey.url, directory, count=plan.workers, stock=plan.stock, dice=dice) as crew:
            sweeps = _Sweeps(valkey.url, directory) if plan.stock else None
            also = sweeps.keep if sweeps else lambda: None
            came: dict[str, float] = {}
            try:
                crew.rest(2, also)
                bursts = zip(in_bursts(orders, len(hits)), in_bursts(damaged, len(hits)), strict=True)
                for number, (hit, (some, bad)) in enumerate(zip(hits, bursts, strict=True), 1):
                    if bad and number % 50 == 1:
                        strange_ids(client, dice.choice(QUEUES))
                    _send(some, bad, client, came, dice)
                    crew.rest(dice.uniform(0, 0.25), also)
                    crew.strike(hit)
                    crew.rest(dice.uniform(0.5, 1.5) * plan.pace, also)
                    if number % 20 == 0 or number == len(hits):
                        tell(_progress(number, len(hits), crew, client))
                failures = list(_drain(orders, crew, client, also, STOCK_PATIENCE if plan.stock else PATIENCE, tell))
            finally:
                if sweeps is not None:
                    sweeps.close()
            if sweeps is not None and sweeps.failed:
                failures.append(f"the sweep failed {sweeps.failed} times; sweep.log says why")
        runs = read_notes(crew.notes)
        verdict = judge((*orders, *damaged), runs, crew.losses.kills, read_places(client), exact=not plan.stock)
        ends = {job: max(ran.end or 0.0 for ran in rans) for job, rans in runs.items()}
        return Report(
            plan=plan,
            verdict=verdict,
            losses=crew.losses,
            left={name: count for name, count in leftovers(client).items() if count},
            seconds=time.monotonic() - begun,
            slowest=max((ends[order.id] - came[order.id] for order in orders if order.id in ends), default=0.0),
            failures=failures,
        )


def _send(
    some: Sequence[Order], bad: Sequence[Order], client: redis.Redis, came: dict[str, float], dice: random.Random
) -> None:
    half = len(some) // 2
    now = time.time()
    enqueue(some[:half], client)
    for order in bad:
        enqueue_damaged(order, client)
    enqueue(some[half:], client)
    came.update((order.id, now) for order in some)


def _drain(
    orders: Sequence[Order],
    crew: Crew,
    client: redis.Redis,
    also: Callable[[], object],
    patience: float,
    tell: Callable[[str], None],
) -> Sequence[str]:
    """Wait until all have come to what they have to."""
    missing, since = -1, time.monotonic()
    while True:
        crew.rest(0.5, also)
        found = statuses(client, [order.id for order in orders])
        left = sum(status != order.kind.status for status, order in zip(found, orders, strict=True))
        left += queued(client) + sum(leftovers(client).values())
        if left != missing:
            missing, since = left, time.monotonic()
        if not missing and crew.settled:
            return ()
        if time.monotonic() - since > patience:
            tell(f"{missing} are missing")
            return (f"for {patience:g} s nothing went on, and something was left to do",)


def _progress(number: int, count: int, crew: Crew, client: redis.Redis) -> str:
    losses = crew.losses
    return (
        f"{number}/{count} hits, {sum(len(kill.held) for kill in losses.kills)} jobs in flight at kills, "
        f"{queued(client)} in queues, {len(losses.ended)} workers ended by themselves"
    )
