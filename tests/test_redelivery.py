"""A repeated event of which something failed runs again; one that is run again settles its dead letter in one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry

from tests.handovers import a_dead_one, a_handover, a_job, a_letter, dump, opened, queued
from tests.redis_proxy import RedisProxy
from trafficrelay.errors import LetterGone, OutboxError
from trafficrelay.outbox import Handover
from trafficrelay.outbox.handover import each
from trafficrelay.outbox.rq import RQOutbox

pytestmark = pytest.mark.rq


@pytest.fixture
def outbox(redis_url: str) -> Iterator[RQOutbox]:
    with opened(redis_url) as outbox:
        yield outbox


def delivery(*functions: str, **more: Any) -> Handover:
    jobs = [a_job(function=f"tests.jobs.{function}") for function in functions]
    return a_handover(*jobs, dedupe="delivery 7", dedupe_window=3600, **more)


def dead_delivery() -> Handover:
    return a_dead_one(a_letter(), dedupe="delivery 7", dedupe_window=3600)


def work(client: redis.Redis) -> None:
    SimpleWorker([Queue("hooks", connection=client)], connection=client).work(burst=True)


def failed(client: redis.Redis) -> list[str]:
    return FailedJobRegistry("hooks", connection=client).get_job_ids(cleanup=False)


def test_a_repeated_event_whose_job_failed_is_requeued(outbox: RQOutbox, client: redis.Redis) -> None:
    """Its sender sent it again so that it runs: the first one's job does, once."""
    first = outbox.accept(delivery("fail"))
    work(client)
    assert failed(client) == list(first.jobs)
    again = outbox.accept(delivery("fail"))
    third = outbox.accept(delivery("fail"))

    assert (again.id, again.duplicate, third.id) == (first.id, True, first.id)
    assert failed(client) == []
    assert queued(client) == list(first.jobs)
    job = RQJob.fetch(first.jobs[0], connection=client)
    assert (job.get_status(), job.started_at, job.ended_at) == ("queued", None, None)
    assert client.ttl(f"rq:job:{job.id}") == -1


def test_a_requeued_job_runs_in_a_stock_worker(outbox: RQOutbox, client: redis.Redis) -> None:
    """And fails again as any other, into the registry where it was."""
    first = outbox.accept(delivery("fail"))
    work(client)
    outbox.accept(delivery("fail"))
    work(client)

    assert failed(client) == list(first.jobs)
    assert len(RQJob.fetch(first.jobs[0], connection=client).results()) == 2


def test_what_requeue_writes_is_what_rq_writes(outbox: RQOutbox, client: redis.Redis) -> None:
    """Field by field, but for the times, and for the empty traceback that RQ writes and nothing reads."""
    first = outbox.accept(delivery("fail", "fail"))
    work(client)
    by_rq, by_us = first.jobs
    FailedJobRegistry("hooks", connection=client).requeue(by_rq)
    outbox.accept(delivery("fail", "fail"))

    times = (b"created_at", b"enqueued_at", b"last_heartbeat", b"worker_name", b"exc_info")
    one, two = (
        {name: value for name, value in client.hgetall(f"rq:job:{id_}").items() if name not in times}
        for id_ in (by_rq, by_us)
    )
    assert one == two
    assert queued(client) == [by_rq, by_us]


def test_a_job_that_cannot_be_requeued_stays_where_it_is(outbox: RQOutbox, client: redis.Redis) -> None:
    """Its queue's key is something else: it is not lost between two places."""
    first = outbox.accept(delivery("fail"))
    work(client)
    client.set("rq:queue:hooks", "x")
    (refused,) = each(outbox, [delivery("fail")])

    assert isinstance(refused, OutboxError)
    assert failed(client) == list(first.jobs)
    assert RQJob.fetch(first.jobs[0], connection=client).get_status() == "failed"


def test_of_several_jobs_only_those_that_failed_are_requeued(outbox: RQOutbox, client: redis.Redis) -> None:
    """The others have run."""
    first = outbox.accept(delivery("echo", "fail", "echo"))
    work(client)
    outbox.accept(delivery("echo", "fail", "echo"))

    assert queued(client) == [first.jobs[1]]


@pytest.mark.parametrize("state", ["queued", "finished"])
def test_a_repeated_event_whose_jobs_did_not_fail_is_left_alone(
    outbox: RQOutbox, client: redis.Redis, state: str
) -> None:
    """As any duplicate."""
    outbox.accept(delivery("echo"))
    if state == "finished":
        work(client)
    before = dump(client)
    again = outbox.accept(delivery("echo"))

    assert again.duplicate
    assert {key: value[1] for key, value in dump(client).items()} == {key: value[1] for key, value in before.items()}


def test_the_same_event_sent_again_by_ourselves_requeues_nothing(outbox: RQOutbox, client: redis.Redis) -> None:
    """A reply got lost, and meanwhile the job failed: that is no redelivery."""
    event = delivery("fail")
    outbox.accept(event)
    work(client)

    assert outbox.accept(event).duplicate
    assert queued(client) == []


def test_an_event_that_comes_out_of_the_spool_a_second_time_requeues_nothing(
    outbox: RQOutbox, client: redis.Redis
) -> None:
    """It was taken long ago, its own mark has gone, and its job failed: nobody asked for that to run again."""
    event = delivery("fail")
    outbox.accept(event)
    work(client)
    client.delete(f"trafficrelay:1:event:{event.id}")

    assert outbox.accept(event).duplicate
    assert queued(client) == []


def test_a_repeated_event_whose_replayed_job_failed_is_requeued(outbox: RQOutbox, client: redis.Redis) -> None:
    """Its dead letter has become a job, under the same id."""
    first = outbox.accept(dead_delivery())
    outbox.accept(replayed(first.id, a_job(function="tests.jobs.fail")))
    work(client)
    again = outbox.accept(delivery("echo"))

    assert (again.id, again.count, again.duplicate) == (first.id, 1, True)
    assert queued(client) == [f"{first.id}-1"]


def test_many_repeated_events_are_requeued_in_one_more_round_trip(redis_url: str, client: redis.Redis) -> None:
    """A Redis that stalls there holds their senders up once."""
    with RedisProxy(redis_url) as proxy, opened(proxy.url) as outbox:
        events = [a_handover(a_job(function="tests.jobs.fail"), dedupe=str(n), dedupe_window=60) for n in range(10)]
        each(outbox, events)
        work(client)
        again = [replace(event, id=f"{number:032}") for number, event in enumerate(events)]
        each(outbox, again[:1])
        before = proxy.trips
        each(outbox, again[1:])
        trips = proxy.trips - before

    assert len(queued(client)) == 10
    assert trips < 6  # and not one for each: the scripts, whether the other script is known, and that one


def test_a_repeated_event_takes_the_place_of_its_dead_letter(outbox: RQOutbox, client: redis.Redis) -> None:
    """The transform works by now: the new event runs, and the letter goes in the same step."""
    letter = outbox.accept(dead_delivery())
    again = outbox.accept(delivery("echo"))
    third = outbox.accept(delivery("echo"))

    assert not again.duplicate
    assert (third.id, third.duplicate) == (again.id, True)
    assert failed(client) == []
    assert queued(client) == list(again.jobs)
    assert client.keys(f"*{letter.id}-0*") == []


def test_a_repeated_event_that_fails_again_leaves_the_first_dead_letter(outbox: RQOutbox, client: redis.Redis) -> None:
    """One letter a delivery."""
    first = outbox.accept(dead_delivery())
    again = outbox.accept(dead_delivery())

    assert (again.id, again.duplicate) == (first.id, True)
    assert failed(client) == [f"{first.id}-0"]


def test_a_dead_letter_that_somebody_has_requeued_is_not_replaced(outbox: RQOutbox, client: redis.Redis) -> None:
    """It is about to run: the repeated event is a duplicate."""
    first = outbox.accept(dead_delivery())
    FailedJobRegistry("hooks", connection=client).requeue(f"{first.id}-0")

    assert outbox.accept(delivery("echo")).duplicate
    assert queued(client) == [f"{first.id}-0"]


# Running a dead letter again


def replayed(event: str, *jobs: Any) -> Handover:
    made = a_handover(*jobs, event=event, replay=True, settles=f"{event}-0")
    return made if jobs else replace(made, jobs=())


def test_a_dead_letter_goes_in_the_step_that_takes_its_jobs(outbox: RQOutbox, client: redis.Redis) -> None:
    """So that whoever is stopped in between and begins anew doubles nothing."""
    first = outbox.accept(a_dead_one(a_letter()))
    receipt = outbox.accept(replayed(first.id, a_job()))

    assert queued(client) == list(receipt.jobs)
    assert failed(client) == []
    assert client.keys("*-0") == []


def test_a_dead_letter_is_run_again_once(outbox: RQOutbox, client: redis.Redis) -> None:
    """The second time it is known, also after the mark has gone."""
    first = outbox.accept(a_dead_one(a_letter()))
    outbox.accept(replayed(first.id, a_job()))
    again = outbox.accept(replayed(first.id, a_job()))
    client.delete(*client.keys("trafficrelay:*"))
    with pytest.raises(LetterGone):
        outbox.accept(replayed(first.id, a_job()))

    assert again.duplicate
    assert len(queued(client)) == 1


def test_a_dead_letter_that_becomes_nothing_goes_too(outbox: RQOutbox, client: redis.Redis) -> None:
    """Today's transform drops it."""
    first = outbox.accept(a_dead_one(a_letter()))
    outbox.accept(replayed(first.id))

    assert failed(client) == []
    assert queued(client) == []


def test_a_dead_letter_that_a_worker_has_is_left_to_it(outbox: RQOutbox, client: redis.Redis) -> None:
    """Somebody ran `rq requeue` a moment earlier."""
    first = outbox.accept(a_dead_one(a_letter()))
    FailedJobRegistry("hooks", connection=client).requeue(f"{first.id}-0")

    with pytest.raises(LetterGone):
        outbox.accept(replayed(first.id, a_job()))
    assert queued(client) == [f"{first.id}-0"]


# Events that may have been taken before


def test_an_event_that_may_have_been_taken_is_known_by_its_jobs(outbox: RQOutbox, client: redis.Redis) -> None:
    """Also when its mark has gone."""
    first = outbox.accept(a_handover(a_job(), a_job()))
    client.delete(*client.keys("trafficrelay:*"))
    later = outbox.accept(a_dead_one(a_letter(), event=first.id, earlier=2))

    assert (later.id, later.count, later.duplicate) == (first.id, 2, True)
    assert failed(client) == []


def test_an_event_that_may_have_been_taken_and_left_no_trace_is_kept(outbox: RQOutbox, client: redis.Redis) -> None:
    """As a dead letter: somebody has to look."""
    event = a_dead_one(a_letter(), earlier=2)
    outbox.accept(event)

    assert failed(client) == [f"{event.id}-0"]
