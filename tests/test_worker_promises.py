"""What RQ's users rely on beside what is left in Redis: commands, options, logs, what is seen while jobs run.

Where a test is given two classes, RQ's own worker is held to the same sentence.
"""

from __future__ import annotations

import os
import re
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytest
import redis
from rq import Callback, Queue, Retry
from rq.command import send_kill_horse_command, send_shutdown_command, send_stop_job_command
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.results import Result
from rq.suspension import resume, suspend
from rq.utils import current_timestamp
from rq.version import VERSION
from rq.worker import Worker

from trafficrelay.worker import RelayWorker, loop, pace

from . import worker_jobs as jobs
from .waiting import wait_until
from .worker_pairs import RELAY, Process, apart, info, work

pytestmark = pytest.mark.rq

WORKER: Final = "rq.worker.Worker"
SIMPLE: Final = "rq.worker.SimpleWorker"
RQ_3: Final = VERSION.startswith("3.")

# That RQ's own workers keep these promises too is seen in the long run: it is what the tests say of RQ.
RQS_TOO: Final = "TRAFFICRELAY_AGREE_JOBS" in os.environ

either = pytest.mark.parametrize("cls", [pytest.param(RELAY, id="relay"), *[pytest.param(WORKER, id="rq")] * RQS_TOO])


@pytest.fixture
def queue(client: redis.Redis) -> Queue:
    return Queue("default", connection=client)


def fetch(client: redis.Redis, id_: str) -> Job:
    return Job.fetch(id_, connection=client)


def status(client: redis.Redis, id_: str) -> str | None:
    raw: Any = client.hget(Job.key_for(id_), "status")
    return raw.decode() if raw else None


def here(client: redis.Redis, key: str, times: int = 1) -> None:
    """Wait until so many jobs wait for a key."""
    wait_until(lambda: int(client.get(f"{key}:here") or 0) >= times, 20)


# Stopping a job


@either
@pytest.mark.parametrize("called", [False, True], ids=["plain", "with callbacks"])
def test_a_stopped_job_is_stopped_and_not_failed(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path, cls: str, called: bool
) -> None:
    """Its status says so, it is not tried again, and the callback for this is called, not the one for failures."""
    callbacks = {
        "on_success": Callback(jobs.succeeded), "on_failure": Callback(jobs.failed),
        "on_stopped": Callback(jobs.stopped),
    }  # fmt: skip
    options = callbacks if called else {}
    queue.enqueue(jobs.spin_aloud, "spin", job_id="spin-0", retry=Retry(max=3), **options)
    queue.enqueue(jobs.count, job_id="next-0")
    with Process(tmp_path, redis_url, cls, "--name", "worker") as process:
        here(client, "spin")
        send_stop_job_command(client, "spin-0")
        wait_until(lambda: status(client, "spin-0") == "stopped", 20)
        wait_until(lambda: status(client, "next-0") == "finished", 20)
        process.end()
    [result] = fetch(client, "spin-0").results()

    assert client.hgetall("seen:spin-0") == ({b"stopped callback": b"1"} if called else {})
    assert queue.failed_job_registry.get_job_ids() == ["spin-0"]
    assert StartedJobRegistry(queue=queue).get_job_ids() == []
    assert result.type is Result.Type.FAILED
    assert str(result.exc_string).startswith("Job stopped by user")
    assert client.hget("rq:worker:worker", "failed_job_count") == b"1"


@either
def test_a_stopped_callback_that_fails_changes_nothing(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path, cls: str
) -> None:
    if cls == WORKER and not RQ_3:
        pytest.skip("RQ 2's own worker dies of it")
    queue.enqueue(jobs.spin_aloud, "spin", job_id="spin-0", on_stopped=Callback(jobs.raise_in_callback))
    with Process(tmp_path, redis_url, cls, "--name", "worker") as process:
        here(client, "spin")
        send_stop_job_command(client, "spin-0")
        wait_until(lambda: status(client, "spin-0") == "stopped", 20)
        process.end()

    assert client.hgetall("seen:spin-0") == {b"bad callback": b"1"}


@pytest.mark.skipif(not RQ_3, reason="RQ 2 has no such command")
@either
def test_one_execution_is_stopped(queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path, cls: str) -> None:
    from rq.command import send_stop_execution_command

    queue.enqueue(jobs.spin_aloud, "spin", job_id="spin-0")
    with Process(tmp_path, redis_url, cls) as process:
        here(client, "spin")
        [execution] = fetch(client, "spin-0").get_executions()
        send_stop_execution_command(client, "spin-0", execution.id)
        wait_until(lambda: status(client, "spin-0") == "stopped", 20)
        process.end()


def test_a_job_is_stopped_without_its_neighbours(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    for number in range(3):
        queue.enqueue(jobs.wait_for, "gate", job_id=f"wait-{number}")
    queue.enqueue(jobs.spin_aloud, "gate", job_id="spin-0")
    with Process(tmp_path, redis_url, RELAY) as process:
        here(client, "gate", 4)
        send_stop_job_command(client, "spin-0")
        wait_until(lambda: status(client, "spin-0") == "stopped", 20)
        client.set("gate", 1)
        wait_until(lambda: all(status(client, f"wait-{number}") == "finished" for number in range(3)), 20)
        process.end()


@either
def test_commands_that_do_not_fit_are_passed_over(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path, cls: str
) -> None:
    """To stop what does not run here, to kill a horse that is not there."""
    with Process(tmp_path, redis_url, cls, "--name", "worker") as process:
        process.wait_for("Listening")
        job = Job.create(jobs.nothing, connection=client, id="other-0")
        job.worker_name = "worker"
        job.save()
        send_stop_job_command(client, "other-0")
        send_kill_horse_command(client, "worker")
        process.wait_for("command ignored")
        queue.enqueue(jobs.nothing, job_id="next-0")
        wait_until(lambda: status(client, "next-0") == "finished", 20)
        process.end()


@either
def test_a_shutdown_command_ends_a_worker_after_its_job(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path, cls: str
) -> None:
    queue.enqueue(jobs.wait_for, "gate", job_id="wait-0")
    queue.enqueue(jobs.nothing, job_id="left-0")
    more = {"TRAFFICRELAY_CONCURRENCY": "1"}
    with Process(tmp_path, redis_url, cls, "--name", "worker", **more) as process:
        here(client, "gate")
        send_shutdown_command(client, "worker")
        process.wait_for("warm shut down")
        client.set("gate", 1)
        process.wait()

    assert (status(client, "wait-0"), status(client, "left-0")) == ("finished", "queued")
    assert not Worker.all(connection=client)


# What is seen while jobs run


@either
def test_a_working_worker_says_what_it_does(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path, cls: str
) -> None:
    """In all that RQ's tools read: its state, its job, the job's worker, the registries, and idle again afterwards."""
    with Process(tmp_path, redis_url, cls, "--name", "worker", "--worker-ttl", "100") as process:
        wait_until(lambda: client.hget("rq:worker:worker", "state") == b"idle", 20)
        queue.enqueue(jobs.wait_for, "gate", job_id="wait-0", job_timeout=50)
        here(client, "gate")
        [worker] = Worker.all(connection=client)
        job = fetch(client, "wait-0")
        [execution] = job.get_executions()

        assert (worker.get_state(), Worker.count(connection=client), Worker.count(queue=queue)) == ("busy", 1, 1)
        assert worker.get_current_job_id() == "wait-0"
        assert worker.get_current_job() == job
        assert (job.get_status(), job.worker_name) == ("started", "worker")
        assert (execution.job_id, execution.worker_name) == ("wait-0", "worker")
        assert StartedJobRegistry(queue=queue).get_job_ids() == ["wait-0"]
        assert re.search(r"queue default 0, 1 executing, 0 finished, 0 failed", info(redis_url, "--raw"))
        assert re.search(r"worker worker \(.*\) busy default\. jobs: 0 finished, 0 failed", info(redis_url, "--raw"))
        assert 60 < client.ttl(execution.key) <= 90
        assert 60 < client.ttl("rq:worker:worker") <= 160
        if RQ_3:
            assert worker.current_execution_count == 1
            assert [one.id for one in worker.get_current_executions()] == [execution.id]

        client.set("gate", 1)
        wait_until(lambda: client.hget("rq:worker:worker", "state") == b"idle", 20)
        [worker] = Worker.all(connection=client)

        assert (worker.get_current_job_id(), worker.successful_job_count) == (None, 1)
        process.end()

    assert Worker.count(connection=client) == 0
    assert client.hexists("rq:worker:worker", "death")


@either
def test_a_long_job_has_a_heartbeat(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path, cls: str
) -> None:
    """Every --job-monitoring-interval seconds: worker, job, execution and the registry say a later time."""

    def beats() -> list[Any]:
        job = fetch(client, "wait-0")
        [execution] = job.get_executions()
        [(_, score)] = client.zrange(StartedJobRegistry(queue=queue).key, 0, -1, withscores=True)
        worker: Any = client.hget("rq:worker:worker", "last_heartbeat")
        return [worker.decode(), job.last_heartbeat, execution.last_heartbeat, score]

    queue.enqueue(jobs.wait_for, "gate", job_id="wait-0", job_timeout=50)
    with Process(tmp_path, redis_url, cls, "--name", "worker", "--job-monitoring-interval", "1") as process:
        here(client, "gate")
        before = beats()
        wait_until(lambda: all(a < b for a, b in zip(before, beats(), strict=True)), 20)
        client.set("gate", 1)
        process.end()

    assert status(client, "wait-0") == "finished"
    assert not client.exists("rq:wip:default")


def test_no_heartbeat_brings_back_a_job_that_was_deleted(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    """A hash of one field would stay for ever."""
    queue.enqueue(jobs.spin_without_its_hash, "gate", job_id="gone-0", result_ttl=0)
    with Process(tmp_path, redis_url, RELAY, "--name", "worker", "--job-monitoring-interval", "1") as process:
        here(client, "gate")
        before: Any = client.hget("rq:worker:worker", "last_heartbeat")
        wait_until(lambda: client.hget("rq:worker:worker", "last_heartbeat") != before, 20)
        wait_until(lambda: client.hget("rq:worker:worker", "last_heartbeat") != before, 20)
        time.sleep(1.5)  # one heartbeat more

        assert not client.exists(Job.key_for("gone-0"))
        client.set("gate", 1)
        process.end()


@either
def test_suspended_workers_take_no_jobs(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path, cls: str
) -> None:
    """And say that they are, until `rq resume`. RQ's own takes one more if it waits for it already."""
    with Process(tmp_path, redis_url, cls, "--name", "worker") as process:
        wait_until(lambda: client.hget("rq:worker:worker", "state") == b"idle", 20)
        suspend(client)
        queue.enqueue(jobs.nothing, job_id="first-0")
        if cls == WORKER:
            wait_until(lambda: status(client, "first-0") == "finished", 20)
        queue.enqueue(jobs.nothing, job_id="second-0")
        wait_until(lambda: client.hget("rq:worker:worker", "state") == b"suspended", 20)

        assert status(client, "second-0") == "queued"
        assert cls == WORKER or status(client, "first-0") == "queued"
        resume(client)
        wait_until(lambda: status(client, "second-0") == "finished", 20)
        wait_until(lambda: client.hget("rq:worker:worker", "state") == b"idle", 20)
        process.end()


@either
def test_what_is_due_is_enqueued_by_the_scheduler(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path, cls: str
) -> None:
    queue.enqueue_in(timedelta(seconds=1), jobs.nothing, job_id="due-0")
    queue.enqueue(jobs.fail_until, 1, job_id="retry-0", retry=Retry(max=1, interval=1))
    with Process(tmp_path, redis_url, cls, "--with-scheduler") as process:
        wait_until(lambda: status(client, "due-0") == "finished", 20)
        wait_until(lambda: status(client, "retry-0") == "finished", 20)
        process.end()

    assert not client.keys("*scheduler-lock*")


# The command line


def test_options_of_rq_worker_are_obeyed(queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path) -> None:
    """--pid, --name, --results-ttl, --exception-handler, --max-jobs, --log-format, --date-format."""
    for number in range(3):
        queue.enqueue(jobs.fail if number == 0 else jobs.nothing, job_id=f"job-{number}")
    pid = tmp_path / "pid"
    with Process(
        tmp_path, redis_url, RELAY,
        "--name", "known", "--pid", str(pid), "--results-ttl", "60", "--max-jobs", "2",
        "--exception-handler", "tests.worker_jobs.handle",
        "--log-format", "<<%(asctime)s>> %(message)s", "--date-format", "%Y",
    ) as process:  # fmt: skip
        printed = process.wait()

        assert pid.read_text() == str(process.process.pid)
    assert (status(client, "job-0"), status(client, "job-1"), status(client, "job-2")) == (
        "failed", "finished", "queued",
    )  # fmt: skip
    assert client.hget("seen:job-0", "first handler: RuntimeError") == b"1"
    assert 50 < client.ttl(Job.key_for("job-1")) <= 60
    assert fetch(client, "job-1").worker_name == "known"
    assert re.search(r"<<\d{4}>> Worker known: ", printed)


@pytest.mark.parametrize("cls", [pytest.param(RELAY, id="relay"), *[pytest.param(SIMPLE, id="rq")] * RQS_TOO])
@pytest.mark.parametrize("option", ["", "--verbose", "--quiet", "--disable-job-desc-logging"])
def test_the_log_says_what_became_of_jobs(queue: Queue, redis_url: str, tmp_path: Path, cls: str, option: str) -> None:
    """The same lines for who greps for them, no line of no failure with --quiet, and the description only if wanted."""
    queue.enqueue(jobs.give, "a", job_id="give-0", description="what it does")
    queue.enqueue(jobs.fail, job_id="fail-0")
    with Process(tmp_path, redis_url, cls, "--burst", "--name", "worker", *[option] * bool(option)) as process:
        printed = re.sub(r"\x1b\[[0-9;]*m|\x1b\(B", "", process.wait())
    wanted = {
        "Worker worker: started with PID": option != "--quiet",
        "Listening on default...": option != "--quiet",
        "Worker worker: default: what it does (give-0)": option in ("", "--verbose"),
        "Worker worker: default: give-0": option == "--disable-job-desc-logging",
        "Worker worker: default: Job OK (give-0)": option != "--quiet",
        "Worker worker: job give-0 result is kept for 500 seconds": option != "--quiet",
        "Worker worker: job fail-0: exception raised while executing (tests.worker_jobs.fail)": True,
        "RuntimeError: it fails": True,
        "Worker worker: done, quitting": option != "--quiet",
    }

    assert {line: line in printed for line in wanted} == wanted


@either
def test_a_second_worker_of_the_same_name_is_refused(
    client: redis.Redis, redis_url: str, tmp_path: Path, cls: str
) -> None:
    with Process(tmp_path, redis_url, cls, "--name", "worker") as first:
        first.wait_for("Listening")
        (tmp_path / "second").mkdir()
        with Process(tmp_path / "second", redis_url, cls, "--name", "worker") as second:
            assert second.process.wait(20) == 1
            assert "There exists an active worker named 'worker' already" in second.printed
        first.end()


def test_a_pool_of_workers_does_all(queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path) -> None:
    """`rq worker-pool -w trafficrelay.worker.RelayWorker -n 2 --burst`."""
    for number in range(40):
        queue.enqueue(jobs.rest, 0.05, job_id=f"rest-{number}")
    with Process(tmp_path, redis_url, RELAY, "-n", "2", "--burst", "default", command="worker-pool") as process:
        process.wait()
    workers = {fetch(client, f"rest-{number}").worker_name for number in range(40)}

    assert queue.finished_job_registry.count == 40
    assert len(workers) == 2
    assert Worker.count(connection=client) == 0


def test_a_worker_may_work_twice(queue: Queue, client: redis.Redis) -> None:
    worker = RelayWorker(["default"], connection=client)
    for id_ in ("a-0", "b-0"):
        queue.enqueue(jobs.nothing, job_id=id_)
        with apart():
            worked = worker.work(burst=True)

        assert worked
        assert status(client, id_) == "finished"


# What must not keep a worker, or others


@pytest.mark.parametrize(
    ("function", "options", "handlers"),
    [
        (jobs.fail_in_words_that_cannot_be_written, {}, None),
        (jobs.fail, {}, [jobs.fail_to_handle]),
        (jobs.fail, {"retry": Retry(max=1, interval=[])}, None),
        (jobs.fail, {"on_failure": Callback(jobs.failed), "retry": Retry(max=1, interval=[])}, None),
        (jobs.fail_in_words_that_cannot_be_written, {"on_failure": Callback(jobs.failed)}, None),
        (jobs.fail, {"on_failure": Callback(jobs.failed)}, [jobs.fail_to_handle]),
    ],
)
def test_a_failure_that_rq_cannot_write_is_not_run_for_ever(
    queue: Queue, client: redis.Redis, function: Any, options: dict[str, Any], handlers: Any
) -> None:
    """RQ's own worker dies of these and leaves the job as one that runs."""
    queue.enqueue(function, job_id="bad-0", **options)
    queue.enqueue(jobs.nothing, job_id="good-0")
    work(RelayWorker, client, worker={"exception_handlers": handlers})

    assert status(client, "good-0") == "finished"
    assert status(client, "bad-0") == "failed"
    assert queue.failed_job_registry.get_job_ids() == ["bad-0"]
    assert 1 <= int(client.hget("seen:bad-0", "runs") or 0) <= 5
    assert StartedJobRegistry(queue=queue).get_job_ids() == []


def test_a_parents_end_waits_for_no_other_job(queue: Queue, client: redis.Redis) -> None:
    """Its child is enqueued while the jobs that were taken with it, or after it, go on."""
    for number in range(80):
        queue.enqueue(jobs.nothing, job_id=f"short-{number}")
    parent = queue.enqueue(jobs.nothing, job_id="parent-0")
    other = Queue("other", connection=client)
    other.enqueue(jobs.nothing, job_id="child-0", depends_on=parent)
    queue.enqueue(jobs.wait_for, other.key, 5, job_id="long-0")
    work(RelayWorker, client, concurrency=1, worker={"queues": ["default"]})

    assert status(client, "long-0") == "finished"


@either
def test_maintenance_fails_what_a_dead_worker_left(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path, cls: str
) -> None:
    """With its failure callback, and its dependents that may run."""
    job = queue.enqueue(jobs.nothing, job_id="left-0", on_failure=Callback(jobs.failed))
    client.lrem(queue.key, 1, job.id)
    client.hset(job.key, mapping={"status": "started", "worker_name": "dead"})
    client.zadd(StartedJobRegistry(queue=queue).key, {"left-0:0123": current_timestamp() - 10})
    queue.enqueue(jobs.nothing, job_id="good-0")
    with Process(tmp_path, redis_url, cls) as process:
        wait_until(lambda: status(client, "left-0") == "failed", 20)
        wait_until(lambda: status(client, "good-0") == "finished", 20)
        process.end()

    assert [name.decode()[:40] for name in client.hkeys("seen:left-0")] == ["failure callback: AbandonedJobError: "]
    assert queue.failed_job_registry.get_job_ids() == ["left-0"]


# What it costs


EXCHANGE: Final = re.compile(r"EVALSHA \w+ \d+ trafficrelay:1:held trafficrelay:1:workers .* rq:suspended ")
CONNECTING: Final = ("HELLO", "CLIENT")


def asked(client: redis.Redis, act: Any) -> list[str]:
    """Give the commands that clients send while something is done, without those that scripts call."""
    seen: list[str] = []
    with client.monitor() as monitor:
        act()
        client.echo("that was all")
        for command in monitor.listen():
            if command["command"] == "ECHO that was all":
                return seen
            if command["client_type"] != "lua":
                seen.append(command["command"])
    return seen


def test_a_batch_of_jobs_is_one_command(queue: Queue, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 jobs, ten at a time, are eleven scripts: one takes ten, nine write ten and take ten, one writes ten.

    What else a worker sends does not depend on how many jobs there are: far less than one for each of 90 more.
    """
    # The jobs of a batch end together: it waits until all of it has.
    monkeypatch.setattr(loop, "_LINGER", 0.5)
    monkeypatch.setattr(pace, "_MOST", 0)
    work(RelayWorker, client)  # Redis knows the scripts from now on
    sent = []
    for count in (10, 100):
        for number in range(count):
            queue.enqueue(jobs.nothing, job_id=f"nothing-{count}-{number}")
        commands = asked(client, lambda: work(RelayWorker, client, concurrency=10))
        exchanges = [command for command in commands if EXCHANGE.match(command)]
        others = [command for command in commands if command not in exchanges and not command.startswith(CONNECTING)]
        sent.append((len(exchanges), len(others)))

        assert not any("nothing-" in command for command in others)
    (few, others_of_few), (many, others_of_many) = sent

    assert queue.finished_job_registry.count == 110
    assert (few, many) == (2, 11)
    # Signs of life, by the clock: on a machine that is busy there may be one more.
    assert others_of_many - others_of_few < 45


def test_what_a_worker_holds_does_not_grow_with_the_jobs_it_has_done(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    """Counted inside, around the 600th and the 3,000th job, all with long time-outs: objects, threads, bytes.

    Several times each, because what is just on its way differs from moment to moment. In a process of its own, which
    holds nothing of other tests.
    """
    early, late = range(560, 641, 20), range(2920, 3001, 20)
    samples = (300, *early, *late)
    kinds: list[tuple[Any, tuple[Any, ...]]] = [
        (jobs.nothing, ()),
        (jobs.nothing, ()),
        (jobs.fail, ()),
        (jobs.big, (1000,)),
    ]
    datas = []
    for number in range(1, samples[-1] + 1):
        function, args = (jobs.measure, ("held",)) if number in samples else kinds[number % len(kinds)]
        more = {"on_success": Callback(jobs.succeeded)} if number % 40 == 1 else {}
        datas.append(Queue.prepare_data(function, args, job_id=f"job-{number}", timeout=100_000, **more))
    queue.enqueue_many(datas)
    with Process(tmp_path, redis_url, RELAY, "--burst") as process:
        process.wait()
    held = [int(one) for one in client.lrange("held", 0, -1)]
    counts = [held[start : start + 3] for start in range(3, len(held), 3)]
    objects, threads, memory = (median(column) for column in zip(*counts[: len(early)], strict=True))
    later_objects, later_threads, later_memory = (median(column) for column in zip(*counts[len(early) :], strict=True))

    assert len(counts) == len(early) + len(late)
    assert queue.finished_job_registry.count > 2100
    assert later_objects < objects + 1200
    assert later_threads <= threads
    assert later_memory < memory + 300_000


@pytest.mark.skipif(not RQ_3, reason="RQ 2 has one prefix")
@pytest.mark.parametrize("prefix", ["mine", "{mine}:rq"])
def test_another_prefix_of_rqs_keys_is_used(client: redis.Redis, redis_url: str, tmp_path: Path, prefix: str) -> None:
    """RQ_KEY_PREFIX: nothing is read or written under another."""
    added = []
    for function in ("nothing", "fail"):
        with Process(
            tmp_path, redis_url, "", f"tests.worker_jobs.{function}", command="enqueue", RQ_KEY_PREFIX=prefix
        ) as add:
            added.append(re.search(r"job-id '(.*)'", add.wait()))
    with Process(tmp_path, redis_url, RELAY, "--burst", RQ_KEY_PREFIX=prefix) as process:
        process.wait()
    states = [client.hget(f"{prefix}:job:{one[1]}", "status") for one in added if one]
    others = [key.decode() for key in client.scan_iter() if not key.decode().startswith((f"{prefix}:", "seen:"))]

    assert states == [b"finished", b"failed"]
    assert others == []


@either
def test_a_warm_shutdown_is_written_down(
    queue: Queue, client: redis.Redis, redis_url: str, tmp_path: Path, cls: str
) -> None:
    """`Worker.shutdown_requested_date` is what tools read while a worker ends its job."""
    queue.enqueue(jobs.wait_for, "gate", job_id="wait-0")
    with Process(tmp_path, redis_url, cls, "--name", "worker") as process:
        here(client, "gate")
        process.process.terminate()
        process.wait_for("warm shut down")
        [worker] = wait_until(lambda: Worker.all(connection=client))
        wait_until(lambda: worker.shutdown_requested_date is not None)
        client.set("gate", 1)
        process.wait()

    assert status(client, "wait-0") == "finished"
