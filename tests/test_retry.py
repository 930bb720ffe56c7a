"""`retry=`: how often RQ runs a failing job again, and after what waits. Under RQ's own workers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
import rq
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry, ScheduledJobRegistry

from tests.handovers import a_handover, a_job, opened
from tests.support import make_route
from trafficrelay import Backoff, DeclarationError, RetryLater
from trafficrelay.backoff import Retries
from trafficrelay.outbox.letters import Letters, Selection
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.outbox.stored import pack, to_dict, unpack
from trafficrelay.target import JobOptions

pytestmark = pytest.mark.rq


@pytest.fixture
def outbox(redis_url: str) -> Iterator[RQOutbox]:
    with opened(redis_url) as outbox:
        yield outbox


def options(**said: Any) -> JobOptions:
    return make_route(**said).targets[0].options


def accept(outbox: RQOutbox, *, function: str = "fail", data: Any = "data", **said: Any) -> str:
    """Hand over a job of a route with these options, and give its id."""
    job = replace(a_job(data, function=f"tests.jobs.{function}"), options=options(**said))
    context = {"v": 1, "event": "e" * 32, "route": "/x", "method": "POST", "received_at": "2026-03-01T12:00:00+00:00"}
    handover = replace(a_handover(job), context=context, route="/x")
    (id_,) = outbox.accept(handover).jobs
    return id_


def work(client: redis.Redis) -> None:
    SimpleWorker([Queue("hooks", connection=client)], connection=client).work(burst=True)


def fetched(client: redis.Redis, id_: str) -> RQJob:
    return RQJob.fetch(id_, connection=client)


def waits_until_failed(client: redis.Redis, id_: str) -> list[int]:
    """Run a job until it has failed for good, passing its waits over; give the waits, nearly to the second."""
    queue, waits = Queue("hooks", connection=client), []
    scheduled = ScheduledJobRegistry(queue=queue)
    while True:
        before = datetime.now(UTC)
        work(client)
        if id_ not in scheduled.get_job_ids():
            return waits
        waits.append(round((scheduled.get_scheduled_time(id_) - before).total_seconds()))
        scheduled.remove(id_)
        queue.enqueue_job(fetched(client, id_))


def near(waits: Sequence[int] | None) -> Any:
    # RQ keeps whole seconds of the clock.
    return pytest.approx(waits, abs=2)


# What may be said


@pytest.mark.parametrize(
    ("said", "most"),
    [
        ({}, (10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600)),
        ({"tries": 4, "first": "30s", "factor": 3, "longest": "10m"}, (30, 90, 270, 600)),
        ({"tries": 3, "first": 7, "factor": 1}, (7, 7, 7)),
        ({"tries": 5, "first": 1, "factor": 1.5}, (1, 2, 2, 3, 5)),
        ({"tries": 1, "first": 60, "longest": 60}, (60,)),
    ],
)
def test_a_backoff_grows_up_to_its_longest_wait(said: dict[str, Any], most: tuple[int, ...]) -> None:
    """In whole seconds, which is what RQ knows."""
    assert Backoff(**said).retries == Retries(len(most), most, at_front=False, jitter=True)


def test_a_backoff_does_not_overflow() -> None:
    """However steep it is, and however long it goes on."""
    assert Backoff(1000, factor=100).retries.intervals[-1] == 3600


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"tries": 0}, "tries is a number from 1 to 1,000, not 0."),
        ({"tries": 1001}, "tries is"),
        ({"tries": True}, "tries is"),
        ({"tries": 2.5}, "tries is"),
        ({"tries": "8"}, "tries is"),
        ({"factor": 0.5}, "factor is a number from 1 to 100, not 0.5."),
        ({"factor": float("nan")}, "factor is"),
        ({"first": 0}, "first is a time of 1 s or more"),
        ({"first": 1.5}, "first is"),
        ({"longest": "soon"}, "longest is"),
        ({"first": "2h"}, "longest is at least first, which is 7200 s"),
        ({"jitter": 1}, "jitter is True or False, not 1."),
        ({"at_front": None}, "at_front is True or False"),
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused(said: dict[str, Any], text: str) -> None:
    """When it is declared, with a sentence."""
    with pytest.raises(DeclarationError) as refused:
        Backoff(**said)

    assert text in str(refused.value)


def test_a_backoff_cannot_be_changed() -> None:
    """It may be shared by routes."""
    with pytest.raises(FrozenInstanceError):
        Backoff().tries = 3  # type: ignore[misc]


def test_waits_are_drawn_from_a_second_to_the_most() -> None:
    """Full jitter: all of that being as likely."""
    retries = Backoff(3, first=2, factor=2).retries
    drawn = [retries.draw() for _ in range(4000)]

    for number, most in enumerate((2, 4, 8)):
        seen = [waits[number] for waits in drawn]
        assert set(seen) == set(range(1, most + 1))
        assert sum(seen) / len(seen) == pytest.approx((1 + most) / 2, rel=0.1)


def test_without_jitter_the_most_is_waited() -> None:
    """And nothing is drawn."""
    assert Backoff(3, first=2, jitter=False).retries.draw() == [2, 4, 8]


# What RQ makes of it


def test_each_event_gets_waits_of_its_own(outbox: RQOutbox, client: redis.Redis) -> None:
    """As RQ keeps them, so that any worker obeys them; jobs of one route do not come back together."""
    route = Backoff(6, first=1000, factor=2, longest="30h", at_front=True)
    jobs = [fetched(client, accept(outbox, retry=route)) for _ in range(20)]
    waits = [tuple(job.retry_intervals or ()) for job in jobs]

    assert len(set(waits)) == 20
    for most, drawn in zip(route.retries.intervals, zip(*waits, strict=True), strict=True):
        assert all(isinstance(wait, int) and 1 <= wait <= most for wait in drawn)
    assert {(job.retries_left, job.enqueue_at_front_on_retry) for job in jobs} == {(6, True)}


def test_a_stock_worker_waits_as_the_backoff_says(outbox: RQOutbox, client: redis.Redis) -> None:
    """Try by try, and then the job has failed for good."""
    id_ = accept(outbox, retry=Backoff(4, first=100, factor=3, longest=600, jitter=False))

    assert waits_until_failed(client, id_) == near([100, 300, 600, 600])
    assert fetched(client, id_).retries_left == 0
    assert id_ in FailedJobRegistry("hooks", connection=client).get_job_ids(cleanup=False)


def test_a_stock_worker_waits_as_was_drawn(outbox: RQOutbox, client: redis.Redis) -> None:
    """What stands in the job is what is waited."""
    id_ = accept(outbox, retry=Backoff(3, first=500))
    drawn = fetched(client, id_).retry_intervals

    assert waits_until_failed(client, id_) == near(drawn)


@pytest.mark.parametrize(
    ("retry", "waits"),
    [
        ([10, 60, 300], [10, 60, 300]),
        # RQ counts from the end of the list.
        (rq.Retry(max=4, interval=[10, 60]), [10, 10, 10, 60]),
        (rq.Retry(max=2, interval=[10, 60, 300]), [60, 300]),
        (rq.Retry(max=3, interval=30), [30, 30, 30]),
    ],
)
def test_lists_and_retries_of_rqs_are_obeyed_as_rq_does(
    outbox: RQOutbox, client: redis.Redis, retry: Any, waits: list[int]
) -> None:
    """Also those with more tries than waits, or fewer."""
    assert waits_until_failed(client, accept(outbox, retry=retry)) == near(waits)


@pytest.mark.parametrize("retry", [2, rq.Retry(max=2, interval=[])])
def test_a_number_of_tries_is_run_at_once(outbox: RQOutbox, client: redis.Redis, retry: Any) -> None:
    """In a row, without a scheduler; also of a Retry without any waits, on which RQ's own worker fails."""
    id_ = accept(outbox, function="fail_until", data=2, retry=retry)
    work(client)

    assert fetched(client, id_).return_value() == id_


def test_retry_later_is_a_plain_failure_under_a_stock_worker(outbox: RQOutbox, client: redis.Redis) -> None:
    """The waits of `retry=` hold; without it the job has failed."""
    patient, plain = accept(outbox, function="later", retry=[10, 20]), accept(outbox, function="later")

    assert waits_until_failed(client, patient) == near([10, 20])
    failed = fetched(client, plain).latest_result()
    assert failed is not None
    assert str(failed.exc_string).rstrip().endswith("RetryLater: the other side is down")


@pytest.mark.parametrize("seconds", [-1, True, "60", float("nan"), 10**10, None])
def test_retry_later_takes_seconds(seconds: Any) -> None:
    """Anything else is a mistake in the job, and said there."""
    with pytest.raises(ValueError, match="takes the seconds to wait"):
        RetryLater(seconds)


@pytest.mark.parametrize("tries", [0, -1, True, 1.5, "3", None])
def test_retry_later_takes_a_number_of_tries(tries: Any) -> None:
    """The same."""
    with pytest.raises(ValueError, match="takes a number of tries of 1 or more"):
        RetryLater(5, tries=tries)


def test_retry_later_says_when_without_a_message() -> None:
    """It ends up in tracebacks."""
    assert str(RetryLater(90)) == "to be run again in 90 s"


def test_a_failing_job_keeps_its_event(outbox: RQOutbox, client: redis.Redis) -> None:
    """Over tries, over what it notes in its meta itself, and when it has failed for good."""
    id_ = accept(outbox, function="fail_until", data=99, retry=[5, 5])
    context = fetched(client, id_).meta["trafficrelay"]
    waits_until_failed(client, id_)
    (letter,) = Letters(client).find(Selection())

    assert fetched(client, id_).meta == {"trafficrelay": context, "tries": 3}
    assert (letter.job, letter.route, letter.method) == (id_, "/x", "POST")


# Running it again


def test_a_job_that_is_requeued_gets_its_retries_again(outbox: RQOutbox, client: redis.Redis) -> None:
    """Those that its route gives today: whoever mends a bug does not want the next hiccup to end it."""
    id_ = accept(outbox, retry=[5])
    waits_until_failed(client, id_)
    client.hset(f"rq:job:{id_}", mapping={"trafficrelay_deaths": 3, "number_of_retries": 2})
    (letter,) = Letters(client).find(Selection())
    Letters(client).requeue(letter, options(retry=[30, 40]))
    job = fetched(client, id_)

    assert (job.retries_left, job.retry_intervals, job.number_of_retries) == (2, [30, 40], None)
    assert not client.hexists(f"rq:job:{id_}", "trafficrelay_deaths")
    assert waits_until_failed(client, id_) == near([30, 40])


def test_a_job_of_a_route_without_retries_is_requeued_as_it_is(outbox: RQOutbox, client: redis.Redis) -> None:
    """There is nothing to give."""
    id_ = accept(outbox)
    work(client)
    (letter,) = Letters(client).find(Selection())

    assert Letters(client).requeue(letter, options())
    assert fetched(client, id_).retries_left is None
    assert waits_until_failed(client, id_) == []


def test_a_job_of_an_event_that_is_sent_again_gets_its_retries_again(outbox: RQOutbox, client: redis.Redis) -> None:
    """A sender that redelivers is somebody who tries again too."""
    job = replace(a_job(function="tests.jobs.fail"), options=options(retry=[10, 20]))
    first, second = (a_handover(job, dedupe="same", dedupe_window=60) for _ in range(2))
    (id_,) = outbox.accept(first).jobs
    waits_until_failed(client, id_)
    receipt = outbox.accept(second)

    assert (receipt.jobs, receipt.duplicate) == ((id_,), True)
    assert fetched(client, id_).retries_left == 2
    assert waits_until_failed(client, id_) == near([10, 20])


# On the way


@pytest.mark.parametrize("said", [{}, {"retry": [1, 2]}, {"retry": Backoff(3)}, {"at_least_once": False}])
def test_a_spooled_event_keeps_its_retries(said: dict[str, Any]) -> None:
    """Its waits are drawn when it is written into Redis."""
    handover = a_handover(replace(a_job(), options=options(**said)))

    assert unpack(pack(handover)) == handover


def test_a_route_that_uses_nothing_new_is_spooled_as_before() -> None:
    """An earlier version reads it, and refuses names that it does not know."""
    (job,) = json.loads(json.dumps(to_dict(a_handover(replace(a_job(), options=options(retry=[1, 2]))))))["jobs"]

    assert sorted(job["options"]) == ["at_front", "delay", "failure_ttl", "result_ttl", "retries", "timeout"]
    assert job["options"]["retries"] == {"max": 2, "intervals": [1, 2], "at_front": False}


@pytest.mark.parametrize(("said", "written"), [(True, None), (False, b"1")])
@pytest.mark.parametrize("delay", [0, 60])
def test_a_job_that_must_not_run_twice_says_so(
    outbox: RQOutbox, client: redis.Redis, delay: int, *, said: bool, written: bytes | None
) -> None:
    """In a field that RQ passes over, also where it saves the job; others say nothing."""
    id_ = accept(outbox, at_least_once=said, delay=delay)
    fetched(client, id_).save()

    assert client.hget(f"rq:job:{id_}", "trafficrelay_once") == written
