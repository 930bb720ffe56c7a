"""A worker that dies, hangs, freezes or loses Redis loses no job: real processes of `rq worker -w …RelayWorker`.

The times in which a dead one is found are shortened, but for one test that has those of users.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Callback, Queue, Retry
from rq.job import Job
from rq.registry import FailedJobRegistry, FinishedJobRegistry
from rq.suspension import resume, suspend

from tests.chaos.children import free_port
from tests.chaos.valkeys import Valkey
from tests.kill_workers import FAST_STEPS, LEASE, LOOKS, MULTI_STEPS, NOTES
from tests.redis_proxy import RedisProxy
from tests.servers import own_valkey
from tests.standalone_support import ROOT, environment
from tests.waiting import wait_until
from tests.worker_support import (
    RELAY,
    WorkerProcess,
    all_are,
    aside,
    begun,
    enqueue,
    held,
    leftovers,
    new_id,
    notes_of,
    statuses,
)
from trafficrelay.outbox.names import DEATHS, LEASES_KEY, ONCE

pytestmark = pytest.mark.rq

CALLBACK = {"on_success": Callback("tests.kill_workers.on_success")}
"""What makes a job RQ's own business."""

AWAY = LEASE + LOOKS + 0.5
"""Seconds of an outage after which every worker's lease is over."""

Start = Callable[..., WorkerProcess]


@pytest.fixture
def start(redis_url: str, tmp_path: Path) -> Iterator[Start]:
    """Start workers on a queue, with short times; they are killed at the end."""
    with ExitStack() as stack:

        def begin(*arguments: str, url: str = redis_url, **options: str) -> WorkerProcess:
            return stack.enter_context(WorkerProcess(url, tmp_path, *(arguments or ("one",)), **options))

        yield begin


@dataclass(frozen=True, slots=True)
class Real:
    """A worker with the times that users have, which was killed when the tests of this module began.

    Attributes:
        client: its Redis.
        notes: where its jobs note what they do.
        jobs: what it ran.
        killed_at: when, in seconds since 1970.
    """

    client: redis.Redis
    notes: Path
    jobs: list[str]
    killed_at: float


@pytest.fixture(scope="module", autouse=True)
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """Kill it first of all: until its jobs run again half a minute passes, in which the other tests run."""
    notes = tmp_path_factory.mktemp("real")
    with ExitStack() as stack:
        server = stack.enter_context(own_valkey())
        client = stack.enter_context(redis.Redis.from_url(server.connection_url))
        jobs = [enqueue(client, "gated", queue=queue) for queue in ("one", "two") for _ in range(3)]
        arguments = (server.connection_url, notes, "one", "two")
        victim = stack.enter_context(WorkerProcess(*arguments, kind=RELAY))
        wait_until(lambda: begun(notes, jobs), 20)
        victim.kill()
        killed_at = time.time()
        stack.enter_context(WorkerProcess(*arguments, kind=RELAY))
        yield Real(client, notes, jobs, killed_at)


def finished(client: redis.Redis, queue: str = "one") -> list[str]:
    ids: list[str] = FinishedJobRegistry(queue, connection=client).get_job_ids()
    return ids


def failed(client: redis.Redis, queue: str = "one") -> list[str]:
    ids: list[str] = FailedJobRegistry(queue, connection=client).get_job_ids()
    return ids


def said_of(client: redis.Redis, job: str) -> str:
    """What the newest result of a job says went wrong."""
    result = Job.fetch(job, connection=client).latest_result()
    assert result is not None
    return str(result.exc_string)


# The steps


@dataclass(frozen=True, slots=True)
class Dying:
    """A case: a worker takes jobs of a kind from so many queues, and dies at a step by a signal."""

    kind: str
    step: str
    signal: str
    queues: int

    def __str__(self) -> str:
        return f"{self.kind}, {self.signal} {self.step}, {self.queues} queue{'s'[: self.queues - 1]}"


SIGNALS = ("SIGKILL", "SIGTERM")
OWN_KINDS = ("callback", "asking again", "failing once", "failing", "with a dependent")
CASES = [
    *(Dying("plain", step, signum, queues) for step in FAST_STEPS for signum in SIGNALS for queues in (1, 2)),
    *(Dying(kind, step, signum, 2) for kind in OWN_KINDS for step in MULTI_STEPS for signum in SIGNALS),
    *(Dying("callback", step, "SIGKILL", 1) for step in FAST_STEPS),
]
ONCE_CASES = [Dying("once", step, "SIGKILL", 1) for step in FAST_STEPS]


@dataclass(frozen=True, slots=True)
class Steps:
    """What became of the jobs of each case, when workers had died at their steps and another one had come.

    Attributes:
        killed: how each case's worker ended: an exit code, negative for a signal.
        late: the jobs of each case that did not come to what they had to in time.
        left: what was left of them all, that ought to be gone.
        notes: where they noted what they did.
        jobs: the jobs of each case.
    """

    killed: dict[str, int]
    late: dict[str, list[str]]
    left: dict[str, Any]
    notes: Path
    jobs: dict[str, list[str]]


def order(client: redis.Redis, kind: str, queue: str) -> tuple[list[str], set[str]]:
    """Enqueue one job, and what depends on it; give their ids, and what they may come to."""
    match kind:
        case "callback":
            return [enqueue(client, "plain", queue=queue, **CALLBACK)], {"finished"}
        case "asking again":
            return [enqueue(client, "retry_once", queue=queue)], {"finished"}
        case "failing once":
            return [enqueue(client, "fail_once", queue=queue, retry=Retry(max=1))], {"finished"}
        case "failing":
            return [enqueue(client, "fail", queue=queue)], {"failed"}
        case "with a dependent":
            first = enqueue(client, "plain", queue=queue)
            return [first, enqueue(client, "plain", queue=queue, depends_on=first)], {"finished"}
        case "once":
            job = enqueue(client, "plain", queue=queue)
            client.hset(Job.key_for(job), ONCE, "1")
            return [job], {"finished", "failed"}
    return [enqueue(client, "plain", queue=queue)], {"finished"}


def let_workers_die(url: str, notes: Path, cases: Mapping[str, Dying], wanted: Mapping[str, list[str]]) -> list[int]:
    """Let a worker of its own die in each case; give how they ended."""
    lines = [
        {
            "url": url,
            "queues": wanted[name],
            "name": f"victim-{number}",
            "log": str(notes / f"victim-{number}"),
            "step": case.step,
            "signal": case.signal,
        }
        for number, (name, case) in enumerate(cases.items())
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill_workers"],
        cwd=ROOT,
        env=environment(**{NOTES: str(notes)}),
        input="\n".join(map(json.dumps, lines)),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    codes = {one["name"]: one["code"] for one in map(json.loads, done.stdout.splitlines())}
    return [codes[f"victim-{number}"] for number in range(len(cases))]


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """Let a worker die in each case, all of them on one Redis; then start one that lives, and wait."""
    notes = tmp_path_factory.mktemp("steps")
    cases = {str(case): case for case in (*CASES, *ONCE_CASES)}
    queues = {name: [f"q{at}-{one}" for one in range(case.queues)] for at, (name, case) in enumerate(cases.items())}
    every = [queue for some in queues.values() for queue in some]
    wanted: dict[str, dict[str, set[str]]] = {}
    with own_valkey() as server, redis.Redis.from_url(server.connection_url) as client:
        for name, case in cases.items():
            wanted[name] = {}
            for queue in (queues[name] * 3)[:3]:
                ids, status = order(client, case.kind, queue)
                wanted[name] |= dict.fromkeys(ids, status)
        killed = let_workers_die(server.connection_url, notes, cases, queues)

        def late() -> dict[str, list[str]]:
            found = {}
            for name, jobs in wanted.items():
                now = zip(jobs.items(), statuses(client, list(jobs)), strict=True)
                found[name] = [f"{id_}: {status}" for (id_, right), status in now if status not in right]
            return {name: ids for name, ids in found.items() if ids}

        with WorkerProcess(server.connection_url, notes, *every, TRAFFICRELAY_MAX_DEATHS="100"):
            deadline = time.monotonic() + 30
            while (late() or leftovers(client, *every)) and time.monotonic() < deadline:
                time.sleep(0.2)
        return Steps(
            killed=dict(zip(cases, killed, strict=True)),
            late=late(),
            left=leftovers(client, *every),
            notes=notes,
            jobs={name: list(jobs) for name, jobs in wanted.items()},
        )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_worker_that_dies_at_a_step_loses_no_job(steps: Steps, case: Dying) -> None:
    """Another one has run all of them to their end within 30 s."""
    name = str(case)

    assert steps.late.get(name, []) == []
    assert begun(steps.notes, steps.jobs[name])
    if case.signal == "SIGTERM":
        assert steps.killed[name] == 0


@pytest.mark.parametrize("case", ONCE_CASES, ids=str)
def test_a_job_that_must_not_run_twice_does_not(steps: Steps, case: Dying) -> None:
    """If it had not begun, it runs; if it had, it is kept as a failed one."""
    name = str(case)
    runs = [len(notes_of(steps.notes, job)) for job in steps.jobs[name]]

    assert steps.killed[name] == -signal.SIGKILL
    assert steps.late.get(name, []) == []
    assert max(runs) == 1
    if FAST_STEPS.index(case.step) < FAST_STEPS.index("before the function"):
        assert min(runs) == 1


def test_workers_that_died_leave_nothing_behind(steps: Steps) -> None:
    assert steps.left == {}


def test_each_step_is_one_at_which_a_worker_dies(steps: Steps) -> None:
    """Or the matrix would say nothing. Transactions that RQ does not make are none."""
    reached = {(case.kind, case.step) for case in CASES if steps.killed[str(case)] == -signal.SIGKILL}

    assert {step for kind, step in reached if kind == "plain"} == set(FAST_STEPS)
    assert {step for kind, step in reached if kind == "callback"} >= set(FAST_STEPS)
    for kind in OWN_KINDS:
        assert {step for of, step in reached if of == kind} >= set(MULTI_STEPS[:2])


# A worker that freezes


@pytest.mark.parametrize(
    ("options", "end", "late"),
    [({}, "well", "after"), ({}, "badly", "before"), (CALLBACK, "well", "before"), (CALLBACK, "badly", "after")],
    ids=["fast, well, after", "fast, badly, before", "RQ's own way, well, before", "RQ's own way, badly, after"],
)
def test_what_a_frozen_worker_says_late_is_not_written(
    start: Start, client: redis.Redis, tmp_path: Path, options: dict[str, Any], end: str, late: str
) -> None:
    """Its job has ended elsewhere by then, or runs there."""
    job = enqueue(client, "gated", **options)
    frozen = start()
    wait_until(lambda: begun(tmp_path, [job]), 20)
    frozen.send(signal.SIGSTOP)
    if end == "badly":
        (tmp_path / f"doom-{frozen.pid}").touch()
    other = start()
    wait_until(lambda: begun(tmp_path, [job], 2), 20)
    if late == "before":
        other.send(signal.SIGSTOP)
    (tmp_path / "gate").touch()
    if late == "after":
        wait_until(lambda: all_are(client, [job]))
    frozen.send(signal.SIGCONT)
    frozen.wait_for("was put back meanwhile")
    meanwhile = (statuses(client, [job]), finished(client), failed(client))
    other.send(signal.SIGCONT)
    wait_until(lambda: all_are(client, [job]))
    fetched = Job.fetch(job, connection=client)

    assert meanwhile == ((["finished"], [job], []) if late == "after" else (["started"], [], []))
    assert fetched.return_value() == other.pid
    assert len(fetched.results()) == 1
    assert (finished(client), failed(client)) == ([job], [])
    assert leftovers(client, "one") == {}


# A worker that lives, and Redis that does not


def test_a_reply_that_is_lost_loses_no_job_and_leaves_none_held(
    start: Start, client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    """Whatever the reply was of: the exchange that takes jobs, or the one that says what they came to."""
    with RedisProxy(redis_url) as proxy:
        start(url=proxy.url).wait_until_up()
        jobs: list[str] = []
        for _ in range(10):
            jobs += [enqueue(client, "plain") for _ in range(20)]
            proxy.lose_replies(1)
            # Not later: an outcome that has to be sent again does not wait for something else to happen.
            wait_until(partial(all_are, client, jobs), 4)
        runs = [len(notes_of(tmp_path, job)) for job in jobs]

        assert leftovers(client, "one") == {}
        assert (min(runs), sorted(finished(client))) == (1, sorted(jobs))


def test_a_worker_outlives_a_reply_that_is_lost_while_it_sets_a_job_aside(
    start: Start, client: redis.Redis, redis_url: str
) -> None:
    """The same worker runs another job afterwards."""
    with RedisProxy(redis_url) as proxy:
        worker = start(url=proxy.url).wait_until_up()
        wait_until(lambda: client.zcard(LEASES_KEY))
        proxy.lose_replies(1, command="EXEC")
        broken = new_id()
        client.hset(Job.key_for(broken), mapping={"status": "queued", "origin": "one", "data": b"x", "created_at": "?"})
        client.rpush(Queue("one", connection=client).key, broken)
        good = enqueue(client, "plain")
        wait_until(lambda: all_are(client, [good]) or not worker.lives, 20)

        assert worker.lives, worker.log
        wait_until(lambda: aside(client) == {broken} and not held(client))


def test_workers_that_live_keep_their_jobs_when_redis_was_away_for_longer_than_their_leases(
    start: Start, tmp_path: Path
) -> None:
    """First it is killed and started again, then frozen. When it is back, nobody is known to live."""
    with Valkey(tmp_path / "valkey", free_port(), settings={"appendfsync": "always"}) as server:
        with server.client() as client:
            jobs = [enqueue(client, "gated") for _ in range(8)]
        workers = [start(url=server.url, TRAFFICRELAY_CONCURRENCY="4") for _ in range(2)]
        wait_until(lambda: begun(tmp_path, jobs), 20)
        server.kill()
        time.sleep(AWAY)
        server.start()
        time.sleep(AWAY)
        with server.frozen():
            time.sleep(AWAY)
        time.sleep(AWAY)
        (tmp_path / "gate").touch()
        with server.client() as client:
            last = enqueue(client, "plain")
            wait_until(lambda: all_are(client, [*jobs, last]) and not leftovers(client, "one"), 20)

        assert [len(notes_of(tmp_path, job)) for job in jobs] == [1] * 8
        assert all(worker.lives for worker in workers)


def test_a_worker_with_a_dead_ones_name_takes_its_jobs_over(start: Start, client: redis.Redis, tmp_path: Path) -> None:
    """`--name` is the user's. RQ forgets the dead one after some minutes, and then lets another one have its name."""
    job = enqueue(client, "gated")
    first = start("--name", "bob", "one")
    wait_until(lambda: begun(tmp_path, [job]), 20)
    first.kill()
    client.delete("rq:worker:bob")
    start("--name", "bob", "one")
    (tmp_path / "gate").touch()
    wait_until(lambda: all_are(client, [job]), 20)

    assert leftovers(client, "one") == {}


# Shutting down


def test_a_warm_shutdown_ends_what_runs_and_leaves_the_rest_in_its_queue(
    start: Start, client: redis.Redis, tmp_path: Path
) -> None:
    jobs = [enqueue(client, "gated") for _ in range(5)]
    worker = start(TRAFFICRELAY_CONCURRENCY="2")
    wait_until(lambda: begun(tmp_path, jobs[:2]), 20)
    worker.send(signal.SIGTERM)
    worker.wait_for("warm shut down")
    (tmp_path / "gate").touch()

    assert worker.process.wait(10) == 0
    assert statuses(client, jobs) == ["finished"] * 2 + ["queued"] * 3
    assert Queue("one", connection=client).job_ids == jobs[2:]
    assert held(client) == {}


def test_a_second_signal_gives_the_jobs_back_at_once(start: Start, client: redis.Redis, tmp_path: Path) -> None:
    """To the front of their queue, in their order. A second signal within a second is the first one's echo."""
    jobs = [enqueue(client, "gated", **(CALLBACK if number % 2 else {})) for number in range(4)]
    worker = start(TRAFFICRELAY_CONCURRENCY="4")
    wait_until(lambda: begun(tmp_path, jobs), 20)
    behind = enqueue(client, "gated")
    worker.send(signal.SIGTERM)
    worker.wait_for("warm shut down")
    worker.send(signal.SIGTERM)
    time.sleep(1.2)
    still = worker.lives
    worker.send(signal.SIGTERM)
    worker.wait_for("cold shut down;")  # it has let go of them
    # Those that end while the worker is on its way out have been given back, and are not written.
    (tmp_path / "gate").touch()
    worker.process.wait(10)

    assert still
    assert Queue("one", connection=client).job_ids == [*jobs, behind]
    assert all_are(client, [*jobs, behind], "queued")
    assert leftovers(client) == {}
    assert client.hget(Job.key_for(jobs[0]), DEATHS) is None


def test_ctrl_c_under_a_pool_lets_the_jobs_end(start: Start, client: redis.Redis, tmp_path: Path) -> None:
    """The terminal sends it to all of them, and the pool once more to each."""
    jobs = [enqueue(client, "gated") for _ in range(4)]
    pool = start("-n", "2", "one", command="worker-pool")
    wait_until(lambda: begun(tmp_path, jobs), 20)
    os.killpg(pool.pid, signal.SIGINT)
    pool.wait_for("warm shut down")
    (tmp_path / "gate").touch()

    assert pool.process.wait(20) == 0
    assert [len(notes_of(tmp_path, job)) for job in jobs] == [1] * 4
    assert all_are(client, jobs)
    assert leftovers(client, "one") == {}


def test_suspended_workers_end_what_runs_and_take_nothing(start: Start, client: redis.Redis, tmp_path: Path) -> None:
    running = enqueue(client, "gated")
    start()
    wait_until(lambda: begun(tmp_path, [running]), 20)
    suspend(client)
    waiting = enqueue(client, "plain")
    (tmp_path / "gate").touch()
    wait_until(lambda: all_are(client, [running]))
    time.sleep(1.5)
    meanwhile = begun(tmp_path, [waiting])
    resume(client)
    wait_until(lambda: all_are(client, [waiting]))

    assert not meanwhile


# Poison, and what hangs


def test_a_job_that_kills_its_workers_is_kept_as_failed_and_its_neighbours_run(
    start: Start, client: redis.Redis, tmp_path: Path
) -> None:
    innocents = [enqueue(client, "slow", 0.1) for _ in range(15)]
    poison = enqueue(client, "poison")
    innocents += [enqueue(client, "slow", 0.1) for _ in range(15)]
    workers = [start(TRAFFICRELAY_MAX_DEATHS="3") for _ in range(2)]

    def all_ended() -> bool:
        for number, worker in enumerate(workers):
            if not worker.lives:
                workers[number] = start(TRAFFICRELAY_MAX_DEATHS="3")
        return all_are(client, innocents) and all_are(client, [poison], "failed")

    wait_until(all_ended, 60)

    assert len(notes_of(tmp_path, poison)) == 3
    assert failed(client) == [poison]
    assert "worker died" in said_of(client, poison)
    assert leftovers(client, "one") == {}


def test_jobs_that_wait_for_a_suspect_do_not_keep_the_worker_busy(
    start: Start, client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    """Those that workers died with run one by one."""
    jobs = [enqueue(client, "gated") for _ in range(3)]
    for job in jobs:
        client.hset(Job.key_for(job), DEATHS, 2)
    with RedisProxy(redis_url) as proxy:
        start(url=proxy.url)
        wait_until(lambda: any(begun(tmp_path, [job]) for job in jobs), 20)
        before = len(proxy.commands)
        time.sleep(2)
        sent = len(proxy.commands) - before
        running = [job for job in jobs if begun(tmp_path, [job])]
        (tmp_path / "gate").touch()
        wait_until(lambda: all_are(client, jobs))

        assert len(running) == 1
        assert sent < 400
        assert leftovers(client, "one") == {}


def test_a_job_that_hangs_is_given_up_and_others_go_on(start: Start, client: redis.Redis, tmp_path: Path) -> None:
    """It sleeps in C, where nothing can be thrown into it. What it comes to late is not written."""
    stuck = [enqueue(client, "deaf", 4, job_timeout=1, **options) for options in ({}, CALLBACK)]
    worker = start(TRAFFICRELAY_CONCURRENCY="2")
    wait_until(lambda: begun(tmp_path, stuck), 20)
    others = [enqueue(client, "plain") for _ in range(5)]
    wait_until(lambda: all_are(client, others))
    early = [notes_of(tmp_path, job, "end") for job in stuck]
    wait_until(lambda: all(notes_of(tmp_path, job, "end") for job in stuck))
    last = enqueue(client, "plain")
    wait_until(lambda: all_are(client, [last]))
    results = [Job.fetch(job, connection=client).results() for job in stuck]

    assert worker.lives
    assert early == [[], []]
    assert all("could not be interrupted" in said_of(client, job) for job in stuck)
    assert [len(some) for some in results] == [1, 1]
    assert (sorted(failed(client)), set(finished(client))) == (sorted(stuck), {*others, last})
    assert notes_of(tmp_path, stuck[1], "callback") == []
    assert leftovers(client, "one") == {}


def test_a_huge_time_limit_does_not_end_all_time_limits(start: Start, client: redis.Redis, tmp_path: Path) -> None:
    huge = enqueue(client, "gated", job_timeout=10**11)
    start()
    wait_until(lambda: begun(tmp_path, [huge]), 20)
    short = enqueue(client, "interruptible", job_timeout=1)
    wait_until(lambda: all_are(client, [short], "failed"))
    (tmp_path / "gate").touch()
    wait_until(lambda: all_are(client, [huge]))

    assert "Task exceeded maximum timeout value (1 seconds)" in said_of(client, short)
    assert "could not be interrupted" not in said_of(client, short)


def test_a_job_whose_outcome_cannot_be_written_is_not_run_for_ever(
    start: Start, client: redis.Redis, tmp_path: Path
) -> None:
    """An exception handler of the user's that raises keeps RQ from writing the failure."""
    job = enqueue(client, "fail")
    start("--exception-handler", "tests.kill_workers.raising_handler", "one")
    wait_until(lambda: begun(tmp_path, [job]), 20)
    innocent = enqueue(client, "plain")
    wait_until(lambda: all_are(client, [innocent]) and all_are(client, [job], "failed"))

    assert len(notes_of(tmp_path, job)) <= 5
    assert leftovers(client, "one") == {}


# What nobody can read


@pytest.mark.parametrize("job", [b"\xff\xfe-1", b"a:b:c", b"", "Größe".encode()], ids=repr)
def test_a_strange_id_in_a_queue_kills_nobody(start: Start, client: redis.Redis, job: bytes) -> None:
    good = enqueue(client, "plain")
    fields: Any = client.hgetall(Job.key_for(good))
    client.hset(b"rq:job:" + job, mapping=fields)
    client.lpush(Queue("one", connection=client).key, job)
    worker = start()
    wait_until(lambda: all_are(client, [good]) or not worker.lives, 20)

    assert worker.lives, worker.log
    wait_until(lambda: not leftovers(client, "one"))


def test_a_scheduled_job_that_cannot_be_read_does_not_keep_others_from_their_time(
    start: Start, client: redis.Redis
) -> None:
    broken, good = new_id(), new_id()
    for id_ in (broken, good):
        Queue("one", connection=client).enqueue_in(timedelta(seconds=0), "tests.kill_workers.plain", job_id=id_)
    client.hset(Job.key_for(broken), "created_at", "yesterday")
    worker = start()
    wait_until(lambda: all_are(client, [good]), 20)

    assert worker.lives
    assert aside(client) == {broken}
    assert client.zcard("rq:scheduled:one") == 0


# The times that users have


def test_what_a_killed_worker_had_in_hand_runs_again_within_a_minute(real: Real) -> None:
    wait_until(lambda: begun(real.notes, real.jobs, 2), max(1, 60 - (time.time() - real.killed_at)))
    took = [notes_of(real.notes, job)[1][1] - real.killed_at for job in real.jobs]
    (real.notes / "gate").touch()
    wait_until(lambda: all_are(real.client, real.jobs), 20)

    assert max(took) < 60
    assert leftovers(real.client, "one", "two") == {}
