"""The sweep: what stock workers lose is found and runs again; all else is left as it is."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from base64 import b64decode
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import decompress

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry

from trafficrelay.errors import DeclarationError, OutboxUnavailable
from trafficrelay.outbox.connection import connect
from trafficrelay.outbox.erasure import Erasure
from trafficrelay.outbox.names import BROKEN_KEY, DEATHS, HELD_KEY
from trafficrelay.standalone.sweeping import sweeping
from trafficrelay.sweep import looking, sweeper
from trafficrelay.sweep.sweeper import Report, Sweeper
from trafficrelay.sweep.thread import SweepThread

from .handovers import Dump, a_dead_one, a_handover, a_job, a_letter, dump, entries, opened, queued
from .standalone_support import ROOT, Run, environment, write_modules
from .waiting import wait_until

pytestmark = pytest.mark.rq

ONE = ("hooks",)
TWO = ("hooks", "other")


@pytest.fixture
def rq(redis_url: str) -> Callable[..., int]:
    """Run one of RQ's own commands, and give its exit code."""

    def run(command: str, *args: str) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "rq.cli", command, "--url", redis_url, *args],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode

    return run


def accept(url: str, *jobs: Any) -> list[str]:
    """Accept one event and give the ids of its jobs."""
    with opened(url) as outbox:
        receipt = outbox.accept(a_handover(*(jobs or (a_job(),))))
    return [f"{receipt.id}-{number}" for number in range(1, receipt.count + 1)]


def accept_one(url: str, **options: Any) -> str:
    [id_] = accept(url, a_job(**options))
    return id_


def pop(client: redis.Redis, queue: str = "hooks") -> str:
    """Take a job as a worker does that is killed then."""
    taken: Any = client.lpop(f"rq:queue:{queue}")
    return str(taken.decode())


def begin(client: redis.Redis, id_: str, *, until: float) -> str:
    """Start a job as a worker does, and give the entry of its execution."""
    execution = uuid.uuid4().hex
    entry = f"{id_}:{execution}"
    client.hset(f"rq:job:{id_}", mapping={"status": "started", "started_at": "2026-03-01T12:00:00.000000Z"})
    client.hset(f"rq:execution:{entry}", mapping={"created_at": "1", "last_heartbeat": "1", "worker_name": "dead"})
    client.zadd(f"rq:executions:{id_}", {execution: until + 60})
    client.zadd("rq:wip:hooks", {entry: until})
    return entry


def age(client: redis.Redis, queue: str = "hooks", seconds: float = 3600) -> None:
    """Let the heartbeats of workers be as old as they are when a worker was killed long ago."""
    for entry, score in client.zrange(f"rq:wip:{queue}", 0, -1, withscores=True):
        client.zadd(f"rq:wip:{queue}", {entry: score - seconds})


def sweep_twice(client: redis.Redis, **options: Any) -> Report:
    sweeping = Sweeper(client, **({"margin": 0.0} | options))
    sweeping.sweep()
    return sweeping.sweep()


def status(client: redis.Redis, id_: str) -> str:
    return str((client.hget(f"rq:job:{id_}", "status") or b"").decode())


def words(client: redis.Redis, id_: str) -> str:
    [(_, result)] = client.xrevrange(f"rq:results:{id_}", count=1)
    return decompress(b64decode(result[b"exc_string"])).decode()


def without_sweeps(found: Dump) -> dict[bytes, tuple[str, Any]]:
    return {key: value for key, value in entries(found).items() if b":sweep:" not in key}


# What stock workers lose


@pytest.mark.parametrize("queues", [ONE, TWO], ids=["one queue", "two queues"])
@pytest.mark.parametrize("step", ["AfterPop", "BeforeStart", "Running"])
def test_the_job_of_a_stock_worker_that_is_killed_runs_again(
    step: str, queues: tuple[str, ...], redis_url: str, client: redis.Redis, rq: Callable[..., int], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    if step != "Running":
        marker.touch()
    id_ = accept_one(redis_url, data=str(marker), function="tests.dying_workers.die_once")
    killed = rq("worker", "-w", f"tests.dying_workers.{step}", *queues)
    stranded = queued(client)
    age(client)
    report = sweep_twice(client)
    back = queued(client)
    rq("worker", "--burst", *queues)

    assert killed == -signal.SIGKILL
    assert stranded == []
    assert (report.back, back) == (1, [id_])
    assert status(client, id_) == "finished"
    assert marker.read_text() == "ran\n"
    assert client.hget(f"rq:job:{id_}", DEATHS) == (b"1" if step == "Running" else None)
    assert client.keys("rq:wip:*") + client.keys("*intermediate*") + client.keys("rq:executions:*") == []


@pytest.mark.parametrize("queues", [ONE, TWO], ids=["one queue", "two queues"])
@pytest.mark.parametrize("step", ["BeforeStart", "Running"])
def test_a_job_that_rq_info_gives_up_runs_again(
    step: str, queues: tuple[str, ...], redis_url: str, client: redis.Redis, rq: Callable[..., int], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    if step != "Running":
        marker.touch()
    id_ = accept_one(redis_url, data=str(marker), function="tests.dying_workers.die_once")
    rq("worker", "-w", f"tests.dying_workers.{step}", *queues)
    age(client)
    rq("info")
    report = sweep_twice(client)
    rq("worker", "--burst", *queues)

    assert report.back == 1
    assert status(client, id_) == "finished"
    assert marker.read_text() == "ran\n"
    assert FailedJobRegistry("hooks", connection=client).count == 0
    assert client.ttl(f"rq:job:{id_}") <= 500


def test_a_job_that_rqs_maintenance_fails_as_stuck_runs_again(
    redis_url: str, client: redis.Redis, rq: Callable[..., int]
) -> None:
    id_ = accept_one(redis_url)
    rq("worker", "-w", "tests.dying_workers.AfterPop", "hooks")
    queue = Queue("hooks", connection=client)
    stuck = IntermediateQueue(queue.key, connection=client)
    client.set(stuck.get_first_seen_key(id_), time.time() - 120)
    stuck.cleanup(SimpleWorker([queue], connection=client), queue)
    failed = status(client, id_)
    report = sweep_twice(client)
    left = client.exists(stuck.get_first_seen_key(id_))
    rq("worker", "--burst", "hooks")

    assert failed == "failed"
    assert report.back == 1
    assert left == 0
    assert status(client, id_) == "finished"


def test_a_job_whose_retry_was_not_written_is_put_back(redis_url: str, client: redis.Redis) -> None:
    """RQ writes `scheduled` first and the schedule later; killed in between, RQ 3.0 forgets the job."""
    id_ = accept_one(redis_url)
    pop(client)
    begin(client, id_, until=time.time() - 1)
    client.hset(f"rq:job:{id_}", "status", "scheduled")
    report = sweep_twice(client)

    assert (report.back, queued(client), status(client, id_)) == (1, [id_], "queued")


def test_a_job_that_was_queued_again_when_it_had_finished_is_put_back(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RQ leaves it in the finished registry, so only some sweeps look at it."""
    id_ = accept_one(redis_url)
    queue = Queue("hooks", connection=client)
    SimpleWorker([queue], connection=client).work(burst=True)
    queue.enqueue_job(RQJob.fetch(id_, connection=client))
    pop(client)
    monkeypatch.setattr(looking, "_THOROUGH", 0)
    hasty = Sweeper(client, margin=0.0).sweep()
    monkeypatch.setattr(looking, "_THOROUGH", 1)
    Sweeper(client, margin=0.0).sweep()
    monkeypatch.setattr(looking, "_THOROUGH", 0)
    report = Sweeper(client, margin=0.0).sweep()

    assert FinishedJobRegistry("hooks", connection=client).get_job_ids() == [id_]
    assert hasty.waiting == 0
    assert (report.back, queued(client)) == (1, [id_])


def test_lost_jobs_go_to_the_front_in_the_order_of_their_events(redis_url: str, client: redis.Redis) -> None:
    lost = [accept_one(redis_url) for _ in range(3)]
    for _ in lost:
        pop(client)
    later = accept_one(redis_url)
    report = sweep_twice(client)

    assert report.back == 3
    assert queued(client) == [*lost, later]


def test_a_lost_job_is_found_behind_older_ones(redis_url: str, client: redis.Redis) -> None:
    """One that went to the front and was taken is younger than all that wait."""
    old = accept_one(redis_url)
    young = accept_one(redis_url, at_front=True)
    taken = pop(client)
    sweep_twice(client)

    assert taken == young
    assert queued(client) == [young, old]


def test_a_job_in_a_long_queue_is_not_doubled_and_a_lost_one_is_found(redis_url: str, client: redis.Redis) -> None:
    """Of a queue that is longer than the places that are looked at in the last step."""
    id_ = accept_one(redis_url)
    fields: Any = client.hgetall(f"rq:job:{id_}")
    ids = [f"{uuid.uuid4().hex}-1" for _ in range(2 * sweeper._PLACES + 3 * looking.PAGE)]
    with client.pipeline(transaction=False) as pipe:
        for other in ids:
            pipe.hset(f"rq:job:{other}", mapping=fields)
        pipe.rpush("rq:queue:hooks", *ids)
        pipe.execute()
    lost = ids[len(ids) // 2]
    client.lrem("rq:queue:hooks", 1, lost)
    report = sweep_twice(client)
    again = sweep_twice(client)

    assert (report.back, again.back) == (1, 0)
    assert queued(client, "hooks")[0] == lost
    assert len(queued(client)) == len(set(queued(client))) == len(ids) + 1


# What is left alone


def test_a_job_that_a_slow_worker_runs_is_left_alone(redis_url: str, client: redis.Redis, tmp_path: Path) -> None:
    log = tmp_path / "log"
    id_ = accept_one(redis_url, data=str(log), function="tests.dying_workers.wait_for")
    worker = subprocess.Popen(
        [sys.executable, "-m", "rq.cli", "worker", "--url", redis_url, "--burst", *TWO],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(log.exists)
        report = sweep_twice(client)
        log.with_suffix(".gate").touch()
        worker.wait(20)
    finally:
        worker.kill()
        worker.wait()

    assert (report.back, report.waiting) == (0, 0)
    assert log.read_text() == "ran\n"
    assert status(client, id_) == "finished"


def test_jobs_of_other_programs_are_left_alone(redis_url: str, client: redis.Redis, rq: Callable[..., int]) -> None:
    """However their workers lost them."""
    queue = Queue("hooks", connection=client)
    for step in ("AfterPop", "BeforeStart"):
        for names in (ONE, TWO):
            queue.enqueue("tests.jobs.echo", 1)
            rq("worker", "-w", f"tests.dying_workers.{step}", *names)
    age(client)
    queue.enqueue("tests.jobs.echo", 1, job_id="a" * 32)
    queue.enqueue("tests.jobs.echo", 1, job_id=f"{'A' * 32}-1")
    queue.enqueue("tests.jobs.echo", 1, job_id=f"{'a' * 32}-1x")
    client.delete("rq:queue:hooks")
    before = dump(client)
    report = sweep_twice(client)

    assert (report.seen, report.back) == (0, 0)
    assert without_sweeps(dump(client)) == without_sweeps(before)


@pytest.mark.parametrize("thorough", [0, 1])
def test_what_waits_runs_or_has_ended_is_left_alone(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, thorough: int
) -> None:
    """Queued, delayed, deferred, failed, canceled, finished, running, held: each where it is."""
    monkeypatch.setattr(looking, "_THOROUGH", thorough)
    accept(redis_url, a_job(), a_job(at_front=True), a_job(delay=60))
    with opened(redis_url) as outbox:
        outbox.accept(a_dead_one(a_letter()))
    queue = Queue("hooks", connection=client)
    for function, ends in (("echo", "finished"), ("fail", "failed")):
        id_ = accept_one(redis_url, function=f"tests.jobs.{function}", queue=ends)
        SimpleWorker([Queue(ends, connection=client)], connection=client).work(burst=True)
        assert status(client, id_) == ends
    RQJob.fetch(accept_one(redis_url), connection=client).cancel()
    begin(client, accept_one(redis_url), until=time.time() + 60)
    held = accept_one(redis_url)
    client.lrem("rq:queue:hooks", 1, held)
    client.hset(HELD_KEY, held, "worker:execution")
    deferred = accept_one(redis_url)
    client.lrem("rq:queue:hooks", 1, deferred)
    client.hset(f"rq:job:{deferred}", "status", "deferred")
    client.zadd("rq:deferred:hooks", {deferred: time.time()})
    before = dump(client)
    report = sweep_twice(client)

    assert (report.back, report.failed, report.waiting, report.broken) == (0, 0, 0, 0)
    assert without_sweeps(dump(client)) == without_sweeps(before)
    assert queue.count


def test_a_job_that_rq_gave_up_long_ago_stays_failed(
    redis_url: str, client: redis.Redis, rq: Callable[..., int]
) -> None:
    """Nobody expects an event of last month to run when the sweep is used for the first time."""
    id_ = accept_one(redis_url)
    pop(client)
    begin(client, id_, until=time.time() - 1)
    StartedJobRegistry("hooks", connection=client).cleanup()
    report = sweep_twice(client, horizon=-60)

    assert report.back == 0
    assert status(client, id_) == "failed"


def test_a_job_is_put_back_only_when_it_was_seen_twice_a_while_apart(redis_url: str, client: redis.Redis) -> None:
    accept_one(redis_url)
    pop(client)
    clock = [1000.0]
    sweeping = Sweeper(client, margin=15.0, clock=lambda: clock[0])
    young = sweeping.sweep()
    # Nobody waits in a test: it was accepted long ago.
    sweeping = Sweeper(client, margin=0.0, clock=lambda: clock[0])
    sweeping._margin = 15.0
    found = []
    for moment in (1000.0, 1014.0, 1015.0):
        clock[0] = moment
        found.append(sweeping.sweep())

    assert young.waiting == 0
    assert [(report.back, report.waiting) for report in found] == [(0, 1), (0, 1), (1, 0)]
    assert [report.next_in for report in found] == [15.5, 15.5, 30.0]


def test_a_clock_that_is_put_back_does_not_hold_a_job_up(redis_url: str, client: redis.Redis) -> None:
    accept_one(redis_url)
    pop(client)
    Sweeper(client, margin=0.0, clock=lambda: 9000.0).sweep()
    reports = [Sweeper(client, margin=0.0, clock=lambda: 1000.0).sweep() for _ in range(2)]

    assert [report.back for report in reports] == [0, 1]


def test_what_one_sweeper_saw_another_one_puts_back(redis_url: str, client: redis.Redis) -> None:
    id_ = accept_one(redis_url)
    pop(client)
    Sweeper(client, margin=0.0).sweep()
    report = Sweeper(client, margin=0.0).sweep()

    assert (report.back, queued(client)) == (1, [id_])


def test_a_job_that_changed_between_the_looks_is_looked_at_anew(redis_url: str, client: redis.Redis) -> None:
    id_ = accept_one(redis_url)
    pop(client)
    sweeping = Sweeper(client, margin=0.0)
    sweeping.sweep()
    client.hset(f"rq:job:{id_}", "last_heartbeat", "2026-03-01T12:00:00.000000Z")
    report = sweeping.sweep()

    assert (report.back, report.waiting) == (0, 1)


def test_a_job_that_somebody_takes_up_in_the_last_moment_is_not_doubled(redis_url: str, client: redis.Redis) -> None:
    id_ = accept_one(redis_url)
    pop(client)
    sweeping = Sweeper(client, margin=0.0)
    sweeping.sweep()
    act = sweeping._act

    def late(*args: Any) -> None:
        begin(client, id_, until=time.time() + 60)
        act(*args)

    sweeping._act = late  # type: ignore[method-assign]
    report = sweeping.sweep()

    assert (report.back, report.waiting, queued(client)) == (0, 0, [])
    assert status(client, id_) == "started"


def test_sweepers_at_the_same_time_put_a_job_back_once(redis_url: str, client: redis.Redis) -> None:
    """Also when none heeds the other's turn."""
    ids = accept(redis_url, *[a_job(number) for number in range(50)])
    client.delete("rq:queue:hooks")
    Sweeper(client, margin=0.0).sweep()
    start = threading.Barrier(6)

    def work() -> None:
        with closing(redis.Redis.from_url(redis_url)) as own:
            sweeping = Sweeper(own, margin=0.0)
            sweeping._turn.take = lambda **_: 0.0  # type: ignore[method-assign,assignment]
            sweeping._turn.keep = lambda: True  # type: ignore[method-assign]
            start.wait()
            sweeping.sweep()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(queued(client)) == sorted(ids)


# What is not run again


def test_a_job_that_must_not_run_twice_becomes_a_failed_one(redis_url: str, client: redis.Redis) -> None:
    begun, taken = accept(redis_url, a_job(at_least_once=False), a_job(at_least_once=False))
    client.delete("rq:queue:hooks")
    begin(client, begun, until=time.time() - 1)
    report = sweep_twice(client)

    assert (report.back, report.failed) == (1, 1)
    assert queued(client) == [taken]
    assert status(client, begun) == "failed"
    assert FailedJobRegistry("hooks", connection=client).get_job_ids() == [begun]
    assert words(client, begun).startswith("WorkerLost: the worker died while it ran this job")
    assert client.exists("rq:wip:hooks", f"rq:executions:{begun}") == 0


def test_a_job_that_must_not_run_twice_and_was_given_up_stays_failed(redis_url: str, client: redis.Redis) -> None:
    id_ = accept_one(redis_url, at_least_once=False)
    pop(client)
    begin(client, id_, until=time.time() - 1)
    StartedJobRegistry("hooks", connection=client).cleanup()
    report = sweep_twice(client)

    assert (report.back, report.failed) == (0, 0)
    assert status(client, id_) == "failed"


@pytest.mark.parametrize("given_up", [False, True], ids=["running", "given up"])
def test_a_job_that_kills_its_workers_becomes_a_failed_one(
    redis_url: str, client: redis.Redis, *, given_up: bool
) -> None:
    """As RQ's failed jobs are: in the registry, with a result, and for as long as its route says."""
    id_ = accept_one(redis_url, failure_ttl=1000)
    reports = []
    for _ in range(3):
        pop(client)
        begin(client, id_, until=time.time() - 1)
        if given_up:
            StartedJobRegistry("hooks", connection=client).cleanup()
        reports.append(sweep_twice(client, deaths=3))
    again = sweep_twice(client, deaths=3)
    job = RQJob.fetch(id_, connection=client)
    result = job.latest_result()

    assert [(report.back, report.failed) for report in reports] == [(1, 0), (1, 0), (0, 1)]
    assert (again.back, again.failed) == (0, 0)
    assert (job.get_status(), queued(client)) == ("failed", [])
    assert result is not None
    assert result.exc_string == "WorkerLost: 3 workers died while they ran this job; it is not run again by itself."
    assert FailedJobRegistry("hooks", connection=client).get_job_ids() == [id_]
    assert 900 < client.ttl(f"rq:job:{id_}") <= 1000


def test_a_job_that_kills_whoever_takes_it_becomes_a_failed_one(redis_url: str, client: redis.Redis) -> None:
    """Four times as often as one that was running: that a worker is killed with it says little of the job."""
    id_ = accept_one(redis_url)
    reports = []
    for _ in range(8):
        pop(client)
        reports.append(sweep_twice(client, deaths=2))

    assert [report.back for report in reports] == [1] * 7 + [0]
    assert status(client, id_) == "failed"


def test_a_lost_job_that_would_end_the_next_worker_is_set_aside(redis_url: str, client: redis.Redis) -> None:
    id_, whole = accept(redis_url, a_job(), a_job())
    client.delete("rq:queue:hooks")
    client.hset(f"rq:job:{id_}", "created_at", "yesterday")
    report = sweep_twice(client)
    again = sweep_twice(client)
    kept: Any = client.hget(BROKEN_KEY, id_)

    assert (report.back, report.broken, report.broken_ids) == (1, 1, (id_,))
    assert (again.back, again.broken) == (0, 1)
    assert queued(client) == [whole]
    assert json.loads(kept)["queue"] == "hooks"
    assert "yesterday" not in kept.decode()
    assert client.exists(f"rq:job:{id_}") == 1


def test_a_thousand_corrupt_jobs_stop_nothing(redis_url: str, client: redis.Redis) -> None:
    draw = random.Random(7)
    good = [accept_one(redis_url) for _ in range(5)]
    fields: Any = client.hgetall(f"rq:job:{good[0]}")
    bad = [f"{uuid.UUID(int=draw.getrandbits(128), version=4).hex}-{draw.randrange(10)}" for _ in range(1000)]
    with client.pipeline(transaction=False) as pipe:
        for number, id_ in enumerate(bad):
            key = f"rq:job:{id_}"
            match number % 8:
                case 0:
                    pipe.set(key, "no hash")
                case 1:
                    pipe.rpush(key, "no hash")
                case 2:
                    pipe.hset(key, mapping={**fields, b"status": draw.randbytes(5)})
                case 3:
                    pipe.hset(key, mapping={**fields, b"origin": b""})
                case 4:
                    pipe.hset(key, mapping={b"status": b"started", b"origin": draw.randbytes(9)})
                case 5:
                    pipe.hset(key, mapping={**fields, b"status": b"failed", b"ended_at": b""})
                    pipe.xadd(f"rq:results:{id_}", {"exc_string": draw.randbytes(40)})
                case 6:
                    pipe.hset(key, mapping={**fields, b"status": b"started"})
                    pipe.set(f"rq:executions:{id_}", "no registry")
                case 7:
                    pipe.hset(key, draw.randbytes(4), draw.randbytes(4))
        pipe.execute()
    client.sadd("rq:queues", "rq:queue:odd", b"\xff")
    client.set("rq:queue:odd", "no list")
    client.delete("rq:queue:hooks")
    before = {key: value for key, value in entries(dump(client)).items() if key[7:].decode() in bad}
    report = sweep_twice(client)
    after = {key: value for key, value in entries(dump(client)).items() if key[7:].decode() in bad}

    assert sorted(queued(client)) == sorted(good)
    assert report.broken == 875
    assert report.refused == ""
    assert after == before


def test_a_full_redis_is_said_and_loses_nothing(redis_url: str, client: redis.Redis) -> None:
    id_ = accept_one(redis_url)
    pop(client)
    sweeping = Sweeper(client, margin=0.0)
    sweeping.sweep()
    before = client.hgetall(f"rq:job:{id_}")
    act = sweeping._act

    def full(*args: Any) -> None:
        client.config_set("maxmemory", 1)
        try:
            act(*args)
        finally:
            client.config_set("maxmemory", 0)

    sweeping._act = full  # type: ignore[method-assign]
    try:
        report = sweeping.sweep()
    finally:
        client.config_set("maxmemory", 0)
    sweeping._act = act  # type: ignore[method-assign]
    after = client.hgetall(f"rq:job:{id_}")
    again = sweeping.sweep()

    assert (report.back, report.waiting, report.refused) == (0, 1, "OOM")
    assert before == after
    assert (again.back, queued(client)) == (1, [id_])


# Turns


def test_one_sweeper_sweeps_at_a_time_and_the_others_wait_for_the_next(client: redis.Redis) -> None:
    first, second = Sweeper(client), Sweeper(client)
    swept = first.sweep(due_or_not=False)
    waits = second.sweep(due_or_not=False)
    asked = second.sweep()
    client.set("trafficrelay:1:sweep:turn", "a third", px=40_000)
    held = second.sweep()

    assert (swept.swept, waits.swept, asked.swept, held.swept) == (True, False, True, False)
    assert 29 < waits.next_in <= 30
    assert 39 < held.next_in <= 40


def test_a_sweep_calls_what_else_puts_jobs_back(client: redis.Redis) -> None:
    report = Sweeper(client, also=[lambda: 2, lambda: 3]).sweep()

    assert report.reclaimed == 5


def test_a_rehearsal_changes_nothing(redis_url: str, client: redis.Redis) -> None:
    accept(redis_url, a_job(), a_job())
    pop(client)
    begin(client, pop(client), until=time.time() - 1)
    before = dump(client)
    rehearsing = Sweeper(client, margin=0.0, also=[lambda: 1])
    first, second = rehearsing.rehearse(), rehearsing.rehearse()

    assert (first.waiting, first.back) == (2, 0)
    assert (second.waiting, second.back, second.reclaimed) == (0, 2, 0)
    assert entries(dump(client)) == entries(before)


def test_a_redis_that_is_away_is_a_sentence() -> None:
    with (
        closing(connect("redis://127.0.0.1:1")) as client,
        pytest.raises(OutboxUnavailable, match=r"Redis .* Sweep again when"),
    ):
        Sweeper(client).sweep()


# The thread


def test_the_thread_puts_back_what_is_lost_and_says_so_in_one_line(redis_url: str, client: redis.Redis) -> None:
    id_ = accept_one(redis_url)
    pop(client)
    said: list[str] = []
    make = lambda: Sweeper(client, margin=0.0, interval=0.1)  # noqa: E731
    with SweepThread(make, tell=said.append, first=(0, 0)):
        wait_until(lambda: said)

    assert said == ["Jobs that workers lost: 1 put back into their queues."]
    assert queued(client) == [id_]


def test_the_thread_is_silent_while_redis_is_away_and_ends_when_asked() -> None:
    said: list[str] = []
    tried = threading.Event()

    def make() -> Sweeper:
        tried.set()
        return Sweeper(connect("redis://127.0.0.1:1"))

    sweeping = SweepThread(make, tell=said.append, first=(0, 0))
    sweeping.start()
    tried.wait(10)
    ended = sweeping.stop()

    assert ended
    assert said == []


def test_the_thread_outlives_a_sweep_that_fails_and_says_it_once(client: redis.Redis) -> None:
    said: list[str] = []
    failures = [ValueError("secret"), ValueError("secret"), DeclarationError("The Redis URL cannot be read.")]

    def make() -> Sweeper:
        raise failures.pop(0)

    sweeping = SweepThread(make, tell=said.append, first=(0, 0), away=0.01)
    sweeping.start()
    wait_until(lambda: not sweeping._thread.is_alive())

    assert said == [
        "A sweep for lost jobs ended with ValueError; it is tried again.",
        "Lost jobs are not looked for: The Redis URL cannot be read.",
    ]


def test_the_thread_ends_in_the_middle_of_a_sweep(client: redis.Redis) -> None:
    inside, gate = threading.Event(), threading.Event()

    def hold() -> int:
        inside.set()
        gate.wait(10)
        return 0

    sweeping = SweepThread(lambda: Sweeper(client, also=[hold]), tell=lambda _: None, first=(0, 0))
    sweeping.start()
    inside.wait(10)
    in_time = sweeping.stop(timeout=0.01)
    gate.set()
    wait_until(lambda: not sweeping._thread.is_alive())

    assert not in_time
    assert client.exists("trafficrelay:1:sweep:turn") == 0


# Where it runs


def test_run_puts_back_what_is_lost(redis_url: str, client: redis.Redis, tmp_path: Path) -> None:
    write_modules(tmp_path)
    id_ = accept_one(redis_url)
    pop(client)
    # It was seen a minute ago.
    Sweeper(client, margin=0.0, clock=lambda: time.time() - 60).sweep()
    client.delete("trafficrelay:1:sweep:pause")
    with Run(tmp_path, "--redis", redis_url).wait_until_up() as run:
        wait_until(lambda: queued(client), 20)
        wait_until(lambda: "Jobs that workers lost" in run.log.read_text())
        code = run.end()

    assert queued(client) == [id_]
    assert code == 0


def test_forget_leaves_what_a_relay_worker_holds(redis_url: str, client: redis.Redis) -> None:
    """As all that runs: erased under it, the worker would write it again."""
    id_ = accept_one(redis_url)
    event = id_.partition("-")[0]
    client.hset(HELD_KEY, id_, "worker:execution")
    held = Erasure(client).erase({event: [id_]})
    client.hdel(HELD_KEY, id_)
    free = Erasure(client).erase({event: [id_]})

    assert (held.jobs, held.running) == (0, (id_,))
    assert free.jobs == 1


def test_run_puts_back_what_a_dead_relay_worker_held(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = accept_one(redis_url)
    pop(client)
    entry = begin(client, id_, until=time.time() + 60)
    client.hset(HELD_KEY, id_, "gone:" + entry.partition(":")[2])
    client.hset(f"rq:job:{id_}", "worker_name", "gone")
    client.zadd("trafficrelay:1:workers", {"gone": 1000})
    monkeypatch.setattr("trafficrelay.worker.keeper.LOOKS", 0.0)
    made = sweeping(redis_url)._make()
    reports = [made.sweep() for _ in range(2)]

    assert sum(report.reclaimed for report in reports) == 1
    assert queued(client) == [id_]
