"""What once lost, doubled or held up jobs of a RelayWorker: Redis refuses, forgets, is full; jobs do what none should.

Most of it is shown on the worker's loop in a thread of this process, or on the ledger alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry as RedisRetry
from rq import Callback, Queue, Repeat, Retry
from rq.command import send_stop_job_command
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.utils import now
from rq.webhook import Webhook
from rq.worker import Worker

from trafficrelay.outbox.connection import connect
from trafficrelay.outbox.names import DEATHS, LEASES_KEY, ONCE
from trafficrelay.worker import RelayWorker, deadlines, keeper, loop, relay_worker, running
from trafficrelay.worker.backlog import Backlog, size_of
from trafficrelay.worker.bookkeeping import Bookkeeping
from trafficrelay.worker.deadlines import Watcher
from trafficrelay.worker.doorbell import Doorbell
from trafficrelay.worker.held import WRITTEN, Begun, Ended, Exchanged, Held
from trafficrelay.worker.keeper import Keeper, Watch
from trafficrelay.worker.ledger import LEASE, Ledger
from trafficrelay.worker.loop import Loop
from trafficrelay.worker.running import Run
from trafficrelay.worker.settings import Terms

from . import worker_jobs as jobs
from .redis_proxy import RedisProxy
from .waiting import wait_until
from .worker_support import WorkerProcess, aside, held, leftovers, new_id, statuses

pytestmark = pytest.mark.rq

NAME: Final = "one"
FULL: Final = "1mb"
"""Less memory than a Redis without data needs."""


# Jobs


def hold(directory: str, *, fail: bool = False) -> str:
    """Wait for the file `gate`, without Redis; note each beginning and end."""
    _note(directory, "begin")
    _wait_at_the_gate(directory)
    _note(directory, "end")
    if fail:
        raise RuntimeError("it waited, and failed")
    return "held"


def hold_and_give(directory: str, size: int) -> str:
    hold(directory)
    return "x" * size


def fail(directory: str) -> NoReturn:
    _note(directory, "begin")
    raise RuntimeError("it fails")


def swallow_time_outs(directory: str, times: int) -> None:
    """Run for ever, and take so many time-outs for something else."""
    while True:
        try:
            while True:
                time.sleep(0.002)
        except Exception:
            _note(directory, "swallowed")
            if not (times := times - 1):
                break
    while True:
        time.sleep(0.002)


def end_a_fork() -> int:
    """Fork, end the child with SIGTERM, and give how it ended."""
    here, there = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a process with threads forks
        child = os.fork()
    if not child:
        try:
            os.write(there, b"!")
            time.sleep(30)
        finally:
            os._exit(3)
    # Python forgets signals that arrive in the middle of a fork.
    os.read(here, 1)
    os.close(here)
    os.close(there)
    os.kill(child, signal.SIGTERM)
    try:
        [status] = wait_until(lambda: _waited_for(child), 10)
        return os.waitstatus_to_exitcode(status)
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


def _waited_for(child: int) -> list[int]:
    pid, status = os.waitpid(child, os.WNOHANG)
    return [status] if pid else []


def hold_in_a_thread(directory: str) -> None:
    """Wait for the gate in a thread of its own, which Python waits for at its end."""
    _note(directory, "begin")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_wait_at_the_gate, directory).result()
    _note(directory, "end")


def call_back(job: Job, connection: Any, result: Any) -> None:
    pass


def hang(job: Job, connection: Any, result: Any) -> None:
    """Hang in a call that nothing can be thrown into, until somebody writes into a pipe."""
    directory = Path(job.args[0])
    (directory / "thread").write_text(str(threading.get_ident()))
    with (directory / "pipe").open():
        pass


def spoil_its_result() -> None:
    jobs.see(jobs.this_job(), "runs")
    jobs.this_job().result_ttl = "77"  # type: ignore[assignment]


def _wait_at_the_gate(directory: str) -> None:
    while not (Path(directory) / "gate").exists():
        time.sleep(0.005)


def _note(directory: str, what: str) -> None:
    file = os.open(Path(directory) / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        job = jobs.this_job()
        os.write(file, f"{what} {job.id}\n".encode())
    finally:
        os.close(file)


def noted(directory: Path, what: str = "begin") -> Counter[str]:
    """Say how often each job has noted this."""
    with contextlib.suppress(FileNotFoundError):
        lines = [line.split() for line in (directory / "notes").read_text().splitlines()]
        return Counter(job for said, job in lines if said == what)
    return Counter()


# Support


class Working:
    """A worker's loop in a thread of this process: no signals, no heartbeats, nobody who looks for the dead.

    Args:
        url: its Redis.
        concurrency: how many jobs run at once.
        name: the worker's.
        tasks: what is done beside, given the loop.
    """

    def __init__(
        self,
        url: str,
        concurrency: int = 4,
        name: str = "worker",
        tasks: Callable[[Loop], list[tuple[float, Callable[[], object]]]] | None = None,
    ) -> None:
        self._stack = ExitStack()
        connection = self._stack.enter_context(redis.Redis.from_url(url, retry=RedisRetry(NoBackoff(), 0)))
        self.worker: Any = RelayWorker([NAME], connection=connection, name=name)
        self.worker.last_cleaned_at = now()  # type: ignore[assignment]
        self.ledger = ledger_of(connection, name, self._stack)
        self.watcher = Watcher()
        self._stack.callback(self.watcher.close)
        self.loop = Loop(self.worker, self.ledger, self.watcher, Terms(concurrency=concurrency))
        bell = Doorbell(connect(connection), self.worker.queue_keys(), self.loop.ring)
        self._stack.callback(bell.close)
        self.loop.listen(bell)
        if tasks is not None:
            self._stack.callback(Keeper(tasks(self.loop)).close)
        self.thread = threading.Thread(target=self._work, name=f"loop of {name}", daemon=True)

    def end(self, seconds: float = 10) -> None:
        """Let it end when its jobs have ended."""
        self.worker._shutdown_requested_date = now()  # as its handler of SIGTERM does
        self.loop.stop()
        self.thread.join(seconds)

        assert not self.thread.is_alive(), [run.taken.held.id for run in self.loop.runs]

    def _work(self) -> None:
        with contextlib.suppress(SystemExit):  # a cold end
            self.loop.work()

    def __enter__(self) -> Self:
        self.worker.register_birth()
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self.loop.stop(cold=True)
            self.thread.join(5)


def ledger_of(client: redis.Redis, name: str, stack: ExitStack) -> Ledger:
    own = connect(client)
    stack.callback(own.connection_pool.disconnect)
    return Ledger(own, name, max_deaths=5)


@pytest.fixture
def ledger(client: redis.Redis) -> Iterator[Callable[[str], Ledger]]:
    """Make ledgers of workers that there are not."""
    with ExitStack() as stack:
        yield lambda name: ledger_of(client, name, stack)


@pytest.fixture
def config(client: redis.Redis) -> Iterator[Callable[[str, int | str], None]]:
    """Set something of Redis' configuration; it is as before afterwards."""
    before: dict[str, Any] = {}

    def set_(name: str, value: int | str) -> None:
        before.setdefault(name, client.config_get(name)[name])
        client.config_set(name, value)

    yield set_
    for name, value in before.items():
        client.config_set(name, value)


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[RedisError]:
    """Tell what Redis did not do for loops, which wait for 0.05 s then."""
    seen: list[RedisError] = []
    wait = Loop._wait_for_redis

    def noting(self: Loop, error: RedisError) -> None:
        seen.append(error)
        wait(self, error)

    monkeypatch.setattr(Loop, "_wait_for_redis", noting)
    monkeypatch.setattr(loop, "_LONGEST_PAUSE", 0.05)
    return seen


@pytest.fixture
def deaths_told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tell the jobs that were given back as if their worker had died with them."""
    told: list[str] = []
    give_back = Ledger.give_back

    def telling(self: Ledger, given: Any, *, died: bool = False) -> Any:
        given = list(given)
        if died:
            told.extend(one.id for one in given)
        return give_back(self, given, died=died)

    monkeypatch.setattr(Ledger, "give_back", telling)
    return told


def add(client: redis.Redis, function: Any, *args: Any, queue: str = NAME, **options: Any) -> str:
    options = {"result_ttl": 86400} | options
    job: Job = Queue(queue, connection=client).enqueue(function, *args, job_id=new_id(), **options)
    return job.id


def queued(client: redis.Redis, queue: str = NAME) -> list[str]:
    found: Any = client.lrange(Queue.redis_queue_namespace_prefix + queue, 0, -1)
    return [job.decode() for job in found]


def exchange(ledger: Ledger, *ended: Ended, queue: str = NAME, wanted: int = 10, **more: Any) -> Exchanged:
    said: dict[str, Any] = {"going_on": [], "suspects": 0, "turns": False, "interval": 30, "worker_ttl": 480} | more
    queues = said.pop("queues", [queue])
    keys = [Queue.redis_queue_namespace_prefix + name for name in queues]
    return ledger.exchange(ended, queues=keys, wanted=wanted, **said)


def well(begun: Begun, queue: str = NAME) -> Ended:
    """What a worker writes of a job that has ended well."""
    result = ("type", "1", "return_value", "gASMBGhlbGQu")
    return Ended(begun.id, begun.execution, queue, (STAMP, STAMP, 0.1, 500, len(result), *result))


STAMP: Final = "2026-01-31T12:00:00.000000Z"


def deaths(client: redis.Redis, *ids: str) -> list[Any]:
    return [client.hget(Job.key_for(one), DEATHS) for one in ids]


def results(client: redis.Redis, id_: str) -> list[Any]:
    return Job.fetch(id_, connection=client).results()


def failed(client: redis.Redis, queue: str = NAME) -> list[str]:
    ids: list[str] = Queue(queue, connection=client).failed_job_registry.get_job_ids()
    return ids


def warm_up(client: redis.Redis) -> list[str]:
    """Add jobs that are so short that a worker takes more than it has threads."""
    return [add(client, jobs.nothing) for _ in range(200)]


def open_gate(directory: Path) -> None:
    (directory / "gate").touch()


def wait_for_status(client: redis.Redis, ids: list[str], status: str = "finished", seconds: float = 10) -> None:
    wait_until(lambda: set(statuses(client, ids)) == {status}, seconds)


# Jobs that wait for a thread of their worker


def test_a_withdrawal_that_redis_does_not_answer_loses_no_job_and_ends_no_worker(
    client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: list[RedisError]
) -> None:
    give_back = Ledger.give_back
    lost: list[int] = []

    def losing(self: Ledger, given: Any, **options: Any) -> Any:
        if given and not lost:
            lost.append(len(given))
            raise RedisConnectionError("lost")
        return give_back(self, given, **options)

    monkeypatch.setattr(Ledger, "give_back", losing)
    first = warm_up(client)
    long = [add(client, hold, str(tmp_path)) for _ in range(12)]
    with Working(redis_url, concurrency=2) as working:
        wait_until(lambda: lost)
        wait_until(lambda: len(held(client)) == 2 and len(queued(client)) == 10)
        open_gate(tmp_path)
        wait_for_status(client, first + long)
        working.end()

    assert lost[0] > 0
    assert noted(tmp_path) == Counter(long)
    assert not leftovers(client, NAME)


def test_what_a_worker_withdraws_is_for_others_to_take(client: redis.Redis, redis_url: str, tmp_path: Path) -> None:
    warm_up(client)
    long = [add(client, hold, str(tmp_path)) for _ in range(2)]
    short = [add(client, jobs.count) for _ in range(4)]
    with Working(redis_url, concurrency=2, name="busy"):
        wait_until(lambda: set(noted(tmp_path)) == set(long))
        with Working(redis_url, concurrency=2, name="idle"):
            # The gate is closed: the first worker has no thread for them.
            wait_for_status(client, short, seconds=4)
        open_gate(tmp_path)
        wait_for_status(client, long)

    assert [client.hget(f"seen:{job}", "runs") for job in short] == [b"1"] * 4
    assert noted(tmp_path) == Counter(long)


# Who holds a job


def test_a_worker_keeps_its_jobs_when_one_starts_whose_name_begins_its_own(
    client: redis.Redis, ledger: Callable[[str], Ledger]
) -> None:
    job = add(client, jobs.nothing)
    numbered, plain = ledger("web:2"), ledger("web")
    [begun] = exchange(numbered).begun
    plain.give_back(plain.strays(()), died=True)

    assert plain.strays(()) == []
    assert numbered.strays(()) == [Held(job, begun.execution)]
    assert numbered.holds(begun)
    assert exchange(numbered, well(begun)).outcomes == [WRITTEN]
    assert statuses(client, [job]) == ["finished"]


def test_an_id_that_is_twice_in_a_queue_runs_once_at_a_time_on_two_workers_too(
    client: redis.Redis, ledger: Callable[[str], Ledger]
) -> None:
    job = add(client, jobs.nothing)
    client.rpush(Queue.redis_queue_namespace_prefix + NAME, job)
    one, other = ledger("one"), ledger("other")
    [begun] = exchange(one, wanted=1).begun
    meanwhile = exchange(other)

    assert list(meanwhile.begun) == []
    assert one.holds(begun)
    assert queued(client) == [job]

    assert exchange(one, well(begun), wanted=0).outcomes == [WRITTEN]
    [again] = exchange(other).begun
    assert again.id == job
    assert exchange(other, well(again)).outcomes == [WRITTEN]
    assert not leftovers(client, NAME)


def test_a_dead_workers_jobs_come_back_when_redis_clock_has_been_put_back(
    client: redis.Redis, ledger: Callable[[str], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOKS", 0)
    job = add(client, jobs.nothing)
    exchange(ledger("dead"))
    exchange(ledger("lives"), queue="other")
    clock: Any = client.time()
    client.zadd(LEASES_KEY, {"dead": clock[0] + 3600, "lives": clock[0] + LEASE})
    watch = Watch(ledger(""))
    watch.look()
    got = watch.look()

    assert (got.back, statuses(client, [job])) == (1, ["queued"])
    assert client.zrange(LEASES_KEY, 0, -1) == [b"lives"]


def test_jobs_whose_holder_is_not_known_at_all_come_back(
    client: redis.Redis, ledger: Callable[[str], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOKS", 0)
    job = add(client, jobs.nothing)
    exchange(ledger("forgotten"))
    client.zrem(LEASES_KEY, "forgotten")
    watch = Watch(ledger(""))
    wait_until(lambda: watch.look() and queued(client) == [job], 5)

    assert statuses(client, [job]) == ["queued"]
    assert held(client) == {}


# Jobs that do what none should


def test_a_job_that_spoils_its_own_result_fails_and_costs_no_thread(client: redis.Redis, redis_url: str) -> None:
    bad = [add(client, spoil_its_result) for _ in range(3)]
    good = [add(client, jobs.nothing) for _ in range(3)]
    with Working(redis_url, concurrency=2) as working:
        wait_for_status(client, good)
        wait_for_status(client, bad, "failed")
        working.end()

    assert [client.hget(f"seen:{job}", "runs") for job in bad] == [b"1"] * 3
    assert all("TypeError" in results(client, job)[0].exc_string for job in bad)
    assert not leftovers(client, NAME)


def test_whatever_a_run_raises_costs_no_thread_and_the_job_runs_again(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Run.__call__
    doomed = [add(client, jobs.nothing) for _ in range(3)]
    left = set(doomed)

    def failing(self: Run) -> Ended | None:
        if self.taken.job.id in left:
            left.remove(self.taken.job.id)
            raise MemoryError
        return call(self)

    monkeypatch.setattr(Run, "__call__", failing)
    with Working(redis_url, concurrency=2) as working:
        wait_for_status(client, doomed)
        working.end()

    assert not left
    assert deaths(client, *doomed) == [None] * 3
    assert not leftovers(client, NAME)


def test_a_job_that_swallows_its_time_out_gets_another_one(
    client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "_AGAIN", 0.05)
    job = add(client, swallow_time_outs, str(tmp_path), 3, job_timeout=1)
    with Working(redis_url, concurrency=1) as working:
        wait_for_status(client, [job], "failed")
        # Its own thread ran on to here, and has this one too.
        after = add(client, jobs.nothing)
        wait_for_status(client, [after])
        working.end()
    [result] = results(client, job)

    assert noted(tmp_path, "swallowed") == {job: 3}
    assert "JobTimeoutException" in result.exc_string


def test_a_callback_that_hangs_is_given_up_and_writes_nothing_later(
    client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "GRACE", 0.2)
    os.mkfifo(tmp_path / "pipe")
    open_gate(tmp_path)
    job = add(client, hold, str(tmp_path), on_success=Callback(hang, timeout=1), job_timeout=30)
    after = add(client, jobs.nothing)
    with Working(redis_url, concurrency=1, tasks=lambda one: [(0.1, one.give_up_overdue)]) as working:
        wait_for_status(client, [after])
        wait_for_status(client, [job], "failed")
        with (tmp_path / "pipe").open("w"):
            hung = int((tmp_path / "thread").read_text())
        wait_until(lambda: hung not in {thread.ident for thread in threading.enumerate()})
        working.end()

    assert statuses(client, [job]) == ["failed"]
    assert len(results(client, job)) == 1
    assert failed(client) == [job]
    assert not leftovers(client, NAME)


def test_a_process_that_a_job_forks_ends_of_sigterm(client: redis.Redis, redis_url: str, tmp_path: Path) -> None:
    job = add(client, end_a_fork)
    with WorkerProcess(redis_url, tmp_path, NAME) as worker:
        wait_until(lambda: statuses(client, [job])[0] in ("finished", "failed"), 20)

        assert worker.lives

    [result] = results(client, job)
    assert result.return_value == -signal.SIGTERM, result.exc_string


def test_a_cold_end_does_not_wait_for_threads_that_jobs_have_started(
    client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    job = add(client, hold_in_a_thread, str(tmp_path))
    with WorkerProcess(redis_url, tmp_path, NAME) as worker:
        wait_until(lambda: noted(tmp_path) == {job: 1}, 20)

        def told_to_end() -> bool:
            # Only what comes more than a second after the first one says it again.
            worker.send(signal.SIGTERM)
            time.sleep(0.2)
            return not worker.lives

        wait_until(told_to_end, 10)

        assert worker.process.returncode == 0, worker.log
    assert queued(client) == [job]
    assert noted(tmp_path, "end") == {}


# What Redis does not take


def test_a_result_that_redis_does_not_take_fails_its_job_alone(
    client: redis.Redis, redis_url: str, config: Callable[[str, int | str], None], refusals: list[RedisError]
) -> None:
    config("proto-max-bulk-len", 1024 * 1024)
    before = [add(client, jobs.nothing) for _ in range(3)]
    big = add(client, jobs.big, 3_000_000)
    after = [add(client, jobs.nothing) for _ in range(30)]
    with Working(redis_url, concurrency=2) as working:
        wait_for_status(client, before + after)
        wait_for_status(client, [big], "failed")
        working.end()
    [result] = results(client, big)

    assert "Redis did not take its result" in result.exc_string
    assert deaths(client, big) == [None]
    assert refusals
    assert not leftovers(client, NAME)


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("Error 104 while writing to socket. Connection reset by peer."),
        RedisTimeoutError("Timeout reading from socket"),
        ResponseError("Protocol error: invalid bulk length"),
    ],
)
def test_however_redis_says_that_a_result_is_too_large_it_fails_its_job_after_three_tries(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, error: RedisError
) -> None:
    """What is read of it differs from try to try, and one kind must not begin the count anew."""
    job = add(client, jobs.big, 100_000)
    exchange = Ledger.exchange
    seen: list[int] = []

    def refusing(self: Ledger, ended: Sequence[Ended], **more: Any) -> Exchanged:
        if any(one.id == job and size_of(one) > 100_000 for one in ended):
            seen.append(1)
            raise error
        return exchange(self, ended, **more)

    monkeypatch.setattr(Ledger, "exchange", refusing)
    monkeypatch.setattr(loop, "_LONGEST_PAUSE", 0.05)
    with Working(redis_url) as working:
        wait_for_status(client, [job], "failed")
        working.end()

    assert len(seen) == 3


def test_large_results_are_sent_apart_from_each_other() -> None:
    def ended(size: int) -> Ended:
        return Ended(new_id(), "execution", NAME, (b"x" * size,))

    backlog = Backlog()
    run: Any = None
    backlog.add([(run, ended(size)) for size in (600_000, 600_000, 3_000_000, 10, 10)])
    sent = []
    while portion := backlog.portion():
        sent.append(len(portion))
        backlog.taken(len(portion))

    assert sent == [1, 1, 1, 2]


def test_large_results_are_written_one_after_the_other_without_a_wait(
    client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    large = [add(client, hold_and_give, str(tmp_path), 700_000) for _ in range(8)]
    with Working(redis_url, concurrency=8) as working:
        wait_until(lambda: len(noted(tmp_path)) == 8)
        open_gate(tmp_path)
        # An idle worker looks every 5 s.
        wait_for_status(client, large, seconds=4)
        working.end()


def test_large_jobs_are_given_some_at_a_time_and_in_their_order(
    client: redis.Redis, ledger: Callable[[str], Ledger]
) -> None:
    ids = [add(client, jobs.give, os.urandom(6_000_000)) for _ in range(4)] + [add(client, jobs.nothing)]
    worker = ledger("worker")
    first = exchange(worker)
    rest = queued(client)
    second = exchange(worker)

    assert [begun.id for begun in first.begun] == ids[:3]
    assert first.more
    assert rest == ids[3:]
    assert [begun.id for begun in second.begun] == ids[3:]
    assert not second.more
    assert set(held(client)) == set(ids)


def test_a_full_redis_refuses_all_of_a_step_or_nothing(
    client: redis.Redis, ledger: Callable[[str], Ledger], config: Callable[[str, int | str], None]
) -> None:
    worker = ledger("worker")
    done, given, waiting = (add(client, jobs.nothing) for _ in range(3))
    ended, back = exchange(worker, wanted=2).begun
    before = _all(client)
    config("maxmemory", FULL)
    for call in (lambda: exchange(worker, well(ended)), lambda: worker.give_back([back], died=True)):
        with pytest.raises(ResponseError, match="memory"):
            call()
    with contextlib.suppress(RedisError):
        worker.beat([], worker_ttl=480, aloud=True)
    config("maxmemory", 0)

    assert _all(client) == before

    got = exchange(worker, well(ended))
    assert got.outcomes == [WRITTEN]
    assert [begun.id for begun in got.begun] == [waiting]
    assert worker.give_back([back]).back == 1
    assert (statuses(client, [done]), queued(client), aside(client)) == (["finished"], [given], set())


def _all(client: redis.Redis) -> dict[bytes, bytes]:
    """All that is in Redis, but for how long."""
    return {key: client.dump(key) for key in client.scan_iter(count=1000)}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "bad", "good"), [("maxmemory", FULL, 0), ("min-replicas-to-write", 1, 0)], ids=["full", "no replicas"]
)
def test_a_redis_that_takes_no_writes_now_and_then_neither_loses_nor_doubles_a_job(
    client: redis.Redis,
    redis_url: str,
    tmp_path: Path,
    config: Callable[[str, int | str], None],
    refusals: list[RedisError],
    name: str,
    bad: int | str,
    good: int | str,
) -> None:
    open_gate(tmp_path)
    ids = [add(client, hold, str(tmp_path)) for _ in range(400)]
    with Working(redis_url) as working:
        for _ in range(12):
            seen = len(noted(tmp_path))
            wait_until(lambda seen=seen: len(noted(tmp_path)) > seen or seen == len(ids))  # type: ignore[misc]
            count = len(refusals)
            config(name, bad)
            with contextlib.suppress(AssertionError):
                wait_until(lambda count=count: len(refusals) > count + 1, 1)  # type: ignore[misc]
            config(name, good)
        wait_for_status(client, ids)
        working.end()

    assert refusals
    assert noted(tmp_path) == Counter(ids)
    assert aside(client) == set()
    assert not leftovers(client, NAME)


def test_what_ends_while_redis_takes_no_writes_is_written_when_it_does(
    client: redis.Redis,
    redis_url: str,
    tmp_path: Path,
    config: Callable[[str, int | str], None],
    refusals: list[RedisError],
) -> None:
    ids = [add(client, hold, str(tmp_path)) for _ in range(10)]
    with Working(redis_url, concurrency=10) as working:
        wait_until(lambda: len(noted(tmp_path)) == 10)
        config("min-replicas-to-write", 1)
        open_gate(tmp_path)
        # More often than a result is tried alone before it is taken for one that cannot be stored.
        wait_until(lambda: len(refusals) >= 20)
        config("min-replicas-to-write", 0)
        wait_for_status(client, ids)
        working.end()

    assert noted(tmp_path) == Counter(ids)
    assert failed(client) == []


@pytest.mark.parametrize("how", ["no writes", "away"])
def test_what_rqs_code_cannot_write_while_redis_is_out_of_order_is_no_death(
    client: redis.Redis,
    redis_url: str,
    tmp_path: Path,
    config: Callable[[str, int | str], None],
    refusals: list[RedisError],
    deaths_told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """What failed runs once; what takes RQ's own way may run again."""
    monkeypatch.setattr(running, "_LONGEST_PAUSE", 0.05)
    fail, tried = Bookkeeping.fail, []

    def failing(self: Bookkeeping, exc_info: Any) -> None:
        tried.append(exc_info)
        fail(self, exc_info)

    monkeypatch.setattr(Bookkeeping, "fail", failing)
    good, once, bad = (add(client, hold, str(tmp_path), fail=number == 2) for number in range(3))
    called = add(client, hold, str(tmp_path), on_success=Callback(call_back))
    ids = [good, once, bad, called]
    client.hset(Job.key_for(once), ONCE, "1")
    with RedisProxy(redis_url) as proxy, Working(proxy.url) as working:
        wait_until(lambda: set(noted(tmp_path)) == set(ids))
        if how == "away":
            proxy.refuse()
        else:
            config("min-replicas-to-write", 1)
        open_gate(tmp_path)
        wait_until(lambda: called in working.loop._backlog.ids)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(tried) > 6, 3)  # more often than it is tried while Redis is well
        if how == "away":
            proxy.admit()
        else:
            config("min-replicas-to-write", 0)
        wait_for_status(client, [good, once, called])
        wait_for_status(client, [bad], "failed")
        working.end()
    runs = noted(tmp_path)

    assert (runs[good], runs[once], runs[bad]) == (1, 1, 1)
    assert runs[called] <= 2
    assert len(refusals) > 6
    assert deaths_told == []
    assert len(results(client, bad)) == 1
    assert not leftovers(client, NAME)


# Jobs that workers died with


def test_jobs_that_workers_died_with_hold_up_neither_the_jobs_behind_them_nor_redis(
    client: redis.Redis, ledger: Callable[[str], Ledger]
) -> None:
    queue = Queue(NAME, connection=client)
    suspects = queue.enqueue_many([Queue.prepare_data(jobs.nothing, job_id=new_id()) for _ in range(1200)])
    with client.pipeline(transaction=False) as pipeline:
        for job in suspects:
            pipeline.hset(job.key, DEATHS, 2)
        pipeline.execute()
    fresh = add(client, jobs.nothing)
    worker = ledger("worker")
    # One of them runs already.
    tries: list[Exchanged] = []
    while not tries or not tries[-1].begun:
        tries.append(exchange(worker, wanted=9, going_on=["another"], suspects=1))

        assert len(tries) < 20, "the fresh one is never reached"

    assert [begun.id for begun in tries[-1].begun] == [fresh]
    # What has more is asked again at once.
    assert [got.more for got in tries] == [False] * len(tries)
    assert len(queued(client)) == 1200


@pytest.mark.parametrize("turns", [False, True], ids=["default", "round robin"])
def test_many_queues_of_such_jobs_are_not_asked_again_at_once(
    client: redis.Redis, ledger: Callable[[str], Ledger], turns: bool
) -> None:
    queues = [f"queue{number}" for number in range(11)]
    for name in queues:
        ids = [new_id() for _ in range(110)]
        Queue(name, connection=client).enqueue_many([Queue.prepare_data(jobs.nothing, job_id=one) for one in ids])
        with client.pipeline(transaction=False) as pipeline:
            for one in ids:
                pipeline.hset(Job.key_for(one), DEATHS, 2)
            pipeline.execute()
    got = exchange(ledger("worker"), queues=queues, going_on=["another"], suspects=1, turns=turns)

    assert list(got.begun) == []
    assert not got.more


def test_a_bell_that_rings_for_nothing_is_heard_less_and_less(client: redis.Redis) -> None:
    add(client, jobs.nothing)
    rung = threading.Event()
    bell = Doorbell(connect(client), [Queue.redis_queue_namespace_prefix + NAME], rung.set)
    deaf = []
    try:
        for _ in range(4):
            wait_until(lambda: not bell.arm())
            assert rung.wait(5)
            rung.clear()
            bell.answered(found=False)
            deaf.append(bell.arm())
        wait_until(lambda: not bell.arm())
        assert rung.wait(5)
        bell.answered(found=True)
    finally:
        bell.close()

    assert deaf == sorted(deaf)
    assert deaf[-1] > deaf[0] > 0
    assert bell.arm() == 0


def test_deaths_are_forgotten_when_the_job_has_ended_well(client: redis.Redis, redis_url: str) -> None:
    plain = add(client, jobs.count)
    called = add(client, jobs.count, on_success=Callback(jobs.succeeded))
    repeated = add(client, jobs.count, repeat=Repeat(times=1))
    ids = [plain, called, repeated]
    for job in ids:
        client.hset(Job.key_for(job), DEATHS, 4)
    with Working(redis_url) as working:
        wait_until(lambda: client.hget(f"seen:{repeated}", "runs") == b"2")
        wait_for_status(client, ids)
        working.end()

    assert deaths(client, *ids) == [None] * 3


# What others do meanwhile


def test_a_failures_webhook_that_takes_long_holds_up_no_other_job(client: redis.Redis, redis_url: str) -> None:
    asked, answer = threading.Semaphore(0), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.release()
            answer.wait(20)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        hook = Webhook(f"http://127.0.0.1:{server.server_port}/", "failed", method="POST")
        hooked = [add(client, jobs.fail, webhooks=[hook]) for _ in range(2)]
        with Working(redis_url) as working:
            for _ in hooked:
                assert asked.acquire(timeout=5)
            other = add(client, jobs.fail)
            wait_for_status(client, [other], "failed", 5)
            answer.set()
            wait_for_status(client, hooked, "failed")
            working.end()
    finally:
        answer.set()
        server.shutdown()
        server.server_close()

    assert not leftovers(client, NAME)


def test_a_heartbeat_revives_no_job_that_has_just_failed(
    client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_worker, "_ABANDONED", -1.0)
    once = add(client, fail, str(tmp_path))
    twice = add(client, fail, str(tmp_path), retry=Retry(max=1))
    exchange_ = Loop._exchange
    beats = 0
    with Working(redis_url) as working:
        [_, (_, beat)] = working.worker._beats(working.loop, working.ledger)

        def late(self: Loop, ended: Any) -> None:
            nonlocal beats
            if ended:
                beat()
                beats += 1
            exchange_(self, ended)

        monkeypatch.setattr(Loop, "_exchange", late)
        again = [add(client, fail, str(tmp_path)) for _ in range(3)]
        wait_for_status(client, [once, twice, *again], "failed")
        wait_until(lambda: not held(client))
        working.end()

    assert beats
    assert noted(tmp_path) == Counter({once: 1, twice: 2} | dict.fromkeys(again, 1))
    assert len(results(client, once)) == 1
    assert set(failed(client)) == {once, twice, *again}
    assert not leftovers(client, NAME)


def test_a_heartbeat_revives_a_running_job_that_rq_took_for_abandoned(
    client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_worker, "_ABANDONED", -1.0)
    job = add(client, hold, str(tmp_path))
    registry = StartedJobRegistry(NAME, connection=client)
    with Working(redis_url) as working:
        wait_until(lambda: noted(tmp_path) == {job: 1})
        entries: Any = client.zrange(registry.key, 0, -1)
        client.zadd(registry.key, dict.fromkeys(entries, 1))
        registry.cleanup()

        assert failed(client) == [job]

        [_, (_, beat)] = working.worker._beats(working.loop, working.ledger)
        beat()

        assert (statuses(client, [job]), failed(client)) == (["started"], [])
        open_gate(tmp_path)
        wait_for_status(client, [job])
        working.end()

    assert (failed(client), client.ttl(Job.key_for(job)) > 80_000) == ([], True)
    assert not leftovers(client, NAME)


def test_a_command_that_is_none_is_passed_over_and_the_next_is_heard(
    client: redis.Redis, redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "rq.worker")
    job = add(client, swallow_time_outs, str(tmp_path), 1)
    with Working(redis_url) as working:
        working.worker._loop = working.loop
        working.worker.subscribe()
        try:
            wait_until(lambda: [run for run in working.loop.runs if run.is_at_work])
            for message in (b"garbage", b"[]", b"7", b"null", b'{"x": 1}', b'{"command": "stop-job"}', b"\xff\xfe"):
                assert client.publish("rq:pubsub:worker", message) == 1
            send_stop_job_command(client, job)
            wait_for_status(client, [job], "stopped")
            working.end()
        finally:
            working.worker.unsubscribe()

    assert "garbage" not in caplog.text


def test_a_redis_that_comes_back_empty_learns_of_the_worker_again(
    client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    with WorkerProcess(redis_url, tmp_path, NAME) as worker:
        worker.wait_until_up()
        before = add(client, jobs.nothing)
        wait_for_status(client, [before])
        client.flushall()
        job = add(client, jobs.nothing)
        queue = Queue(NAME, connection=client)
        wait_for_status(client, [job])
        wait_until(lambda: [one.name for one in Worker.all(connection=client)] == [worker.name])
        wait_until(lambda: [one.name for one in Worker.all(queue=queue)] == [worker.name])
        [one] = Worker.all(queue=queue)

        assert one.birth_date
        assert one.queue_names() == [NAME]
