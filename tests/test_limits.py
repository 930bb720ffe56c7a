"""What turns an event away in the outbox's one step: the rate, a long queue, old jobs, a pause. Nothing is written."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from rq import Queue
from webtest import TestApp

from tests.handovers import a_dead_one, a_handover, a_job, a_letter, dump, opened, queued
from tests.redis_proxy import RedisProxy
from trafficrelay import DeclarationError, Relay, Route
from trafficrelay.errors import Backlogged, OutboxCorrupt, RateExceeded, RoutePaused
from trafficrelay.limits import Limits, limits
from trafficrelay.outbox import Handover
from trafficrelay.outbox.handover import each
from trafficrelay.outbox.names import PAUSED_KEY
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.rate import Rate, gcra

pytestmark = pytest.mark.rq


@pytest.fixture
def outbox(redis_url: str) -> Iterator[RQOutbox]:
    with opened(redis_url) as outbox:
        yield outbox


def limited(event: str | None = None, *, key: str = "", delay: int = 0, **said: Any) -> Handover:
    rate = said.pop("rate", None)
    read = limits(
        Rate(rate, burst=said.pop("burst", None)) if rate else None, *map(said.pop, ("max_queued", "max_lag"))
    )
    return a_handover(a_job(delay=delay), event=event, limits=read, rate_key=key, route="/in", **said)


def with_rate(rate: str, **more: Any) -> Handover:
    return limited(rate=rate, max_queued=None, max_lag=None, **more)


def with_queue(max_queued: int | None = None, max_lag: int | None = None, **more: Any) -> Handover:
    return limited(max_queued=max_queued, max_lag=max_lag, **more)


def tries(outbox: RQOutbox, *handovers: Handover) -> list[str]:
    """Say what became of each: the name of the error, or `taken`."""
    results = each(outbox, handovers)
    return [type(result).__name__ if isinstance(result, Exception) else "taken" for result in results]


# The rate


def test_no_more_events_are_taken_than_the_rate_allows(outbox: RQOutbox, client: redis.Redis) -> None:
    """The burst is taken at once; the next one is told when to come again."""
    taken = tries(outbox, *(with_rate("3/h") for _ in range(4)))

    with pytest.raises(RateExceeded) as caught:
        outbox.accept(with_rate("3/h"))
    assert taken == ["taken", "taken", "taken", "RateExceeded"]
    assert 1190 <= caught.value.retry_after <= 1200
    assert len(queued(client)) == 3


def test_an_event_over_the_rate_leaves_nothing_behind(outbox: RQOutbox, client: redis.Redis) -> None:
    """It may come again at its time as if it had never come."""
    outbox.accept(with_rate("1/h"))
    before = dump(client)
    refused = tries(outbox, with_rate("1/h", dedupe="again", dedupe_window=60))

    assert refused == ["RateExceeded"]
    assert {key: value[:2] for key, value in dump(client).items()} == {key: value[:2] for key, value in before.items()}


def test_each_key_has_a_rate_of_its_own(outbox: RQOutbox) -> None:
    """One address over its rate does not hold up another."""
    results = tries(outbox, *(with_rate("1/h", key=key) for key in ("192.0.2.1", "192.0.2.1", "192.0.2.2")))

    assert results == ["taken", "RateExceeded", "taken"]


def test_a_repeated_event_does_not_count(outbox: RQOutbox) -> None:
    """It is answered as the first, also when the rate is used up."""
    event = with_rate("1/h")
    first = outbox.accept(event)
    again = outbox.accept(event)

    assert again.id == first.id
    assert again.duplicate


def test_a_dead_letter_counts_too(outbox: RQOutbox) -> None:
    """A transform that fails on everything does not fill Redis."""
    letters = [a_dead_one(a_letter(), limits=Limits(rate=Rate("1/h")), rate_key="", route="/in") for _ in range(2)]

    assert tries(outbox, *letters) == ["taken", "RateExceeded"]


def test_the_script_counts_as_the_reference_does(outbox: RQOutbox, client: redis.Redis) -> None:
    """For counts of the past, the present and a nonsensical future, set by hand."""
    rate = Rate("10/s", burst=4)
    chance = random.Random(7)
    key, _ = outbox._writes.call([with_rate("10/s", burst=4)])
    compared = 0
    for _ in range(300):
        seconds, micro = client.time()
        now = seconds * 1_000_000 + micro
        ahead = chance.choice([-500_000, 0, 50_000, 150_000, 350_000, 600_000, 2_000_000, 10**12])
        kept = now + ahead
        client.set(key[4], kept)
        taken = tries(outbox, with_rate("10/s", burst=4)) == ["taken"]
        after = int(client.get(key[4]))
        seconds, micro = client.time()
        early = gcra(kept, now, rate.interval_us, rate.burst)
        late = gcra(kept, seconds * 1_000_000 + micro, rate.interval_us, rate.burst)
        if early[0] != late[0]:
            continue  # it hung on the microseconds in between
        compared += 1
        assert taken == early[0], ahead
        assert early[1] <= after <= late[1], ahead

    assert compared > 250


def test_a_rate_is_still_one_round_trip(redis_url: str) -> None:
    """With every limit there is."""
    with RedisProxy(redis_url) as proxy, opened(proxy.url) as outbox:
        outbox.accept(limited(rate="100/s", max_queued=100, max_lag=60))
        before = proxy.trips
        outbox.accept(limited(rate="100/s", max_queued=100, max_lag=60))

        assert proxy.trips - before == 1


# The queue


def test_no_events_are_taken_while_too_many_jobs_wait(outbox: RQOutbox, client: redis.Redis) -> None:
    """And they are again when a worker has taken one."""
    full = tries(outbox, *(with_queue(2) for _ in range(3)))
    client.lpop("rq:queue:hooks")
    after = tries(outbox, with_queue(2))

    assert full == ["taken", "taken", "Backlogged"]
    assert after == ["taken"]


def test_jobs_that_are_scheduled_are_counted_among_themselves(outbox: RQOutbox) -> None:
    """A route with a delay fills RQ's schedule, not its queue."""
    assert tries(outbox, *(with_queue(1, delay=60) for _ in range(2))) == ["taken", "Backlogged"]


@pytest.mark.parametrize(("age", "taken"), [(50, "taken"), (70, "Backlogged")])
def test_no_events_are_taken_while_the_oldest_job_has_waited_too_long(
    outbox: RQOutbox, client: redis.Redis, age: int, taken: str
) -> None:
    """Its age is that of the job at the head of the queue, whoever queued it."""
    job = Queue("hooks", connection=client).enqueue("tests.jobs.echo", 1)
    job.enqueued_at = datetime.now(UTC) - timedelta(seconds=age)
    job.save()

    assert tries(outbox, with_queue(max_lag=60)) == [taken]


def test_the_oldest_job_is_found_at_either_end(outbox: RQOutbox, client: redis.Redis) -> None:
    """Jobs that go to the front put it last."""
    old = Queue("hooks", connection=client).enqueue("tests.jobs.echo", 1)
    old.enqueued_at = datetime.now(UTC) - timedelta(seconds=100)
    old.save()
    Queue("hooks", connection=client).enqueue("tests.jobs.echo", 2, at_front=True)

    assert tries(outbox, with_queue(max_lag=60)) == ["Backlogged"]


@pytest.mark.parametrize("when", ["1999-12-31T23:59:59.5Z", "2024-02-29T12:00:00Z", "2026-03-01T00:00:00.000001Z"])
def test_the_age_of_a_job_is_read_from_its_date(outbox: RQOutbox, client: redis.Redis, when: str) -> None:
    """Leap days and all."""
    job = Queue("hooks", connection=client).enqueue("tests.jobs.echo", 1)
    client.hset(f"rq:job:{job.id}", "enqueued_at", when)
    age = time.time() - datetime.fromisoformat(when).timestamp()

    with pytest.raises(Backlogged) as caught:
        outbox.accept(with_queue(max_lag=60))
    assert abs(int(str(caught.value).rpartition(" s.")[0].rpartition(" ")[2]) - age) < 5


@pytest.mark.parametrize("damage", ["gone", "no date", "nonsense", "no hash"])
def test_a_job_whose_age_cannot_be_told_holds_up_nothing(outbox: RQOutbox, client: redis.Redis, damage: str) -> None:
    """What lies in a queue is not ours alone."""
    client.rpush("rq:queue:hooks", "some-job")
    if damage == "no hash":
        client.set("rq:job:some-job", "x")
    elif damage != "gone":
        client.hset("rq:job:some-job", mapping={"enqueued_at": "soon"} if damage == "nonsense" else {"data": "x"})

    assert tries(outbox, with_queue(max_lag=60)) == ["taken"]


# The pause


@pytest.mark.parametrize("mode", ["refuse", "spool"])
def test_a_paused_route_takes_nothing(outbox: RQOutbox, client: redis.Redis, mode: str) -> None:
    """Others go on; and it does too when it is resumed."""
    client.hset(PAUSED_KEY, "/in", mode)
    with pytest.raises(RoutePaused) as caught:
        outbox.accept(with_queue())
    other = outbox.accept(a_handover(route="/other"))
    client.hdel(PAUSED_KEY, "/in")
    resumed = outbox.accept(with_queue())

    assert caught.value.mode == mode
    assert not other.duplicate
    assert not resumed.duplicate


def test_a_repeated_event_is_known_during_a_pause(outbox: RQOutbox, client: redis.Redis) -> None:
    """Its sender need not know."""
    event = with_queue()
    first = outbox.accept(event)
    client.hset(PAUSED_KEY, "/in", "refuse")

    assert outbox.accept(event).id == first.id


def test_a_key_of_pauses_that_is_something_else_is_said_so(outbox: RQOutbox, client: redis.Redis) -> None:
    """Somebody else writes to this Redis."""
    client.set(PAUSED_KEY, "x")

    with pytest.raises(OutboxCorrupt) as caught:
        outbox.accept(with_queue())
    assert caught.value.key == PAUSED_KEY


# Over HTTP


def a_limited_app(redis_url: str, **options: Any) -> TestApp:
    relay = Relay(redis_url)
    relay.add(Route("/in", verify=None, job="tests.jobs.echo", queue="hooks", **options))
    return TestApp(relay.app)


def test_a_sender_over_the_rate_is_told_so_and_when_to_come_again(redis_url: str) -> None:
    """429, Retry-After and the fields of the draft on rates."""
    app = a_limited_app(redis_url, rate="1/m per address")
    app.post_json("/in", {}, status=202)
    answer = app.post_json("/in", {}, status=429)

    assert 59 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["RateLimit-Policy"] == '"address";q=1;w=60'
    assert answer.headers["RateLimit"].startswith('"address";r=0;t=')
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("options", [{"max_queued": 1}, {"max_queued": 1, "rate": "100/s"}])
def test_a_sender_to_a_full_queue_is_told_to_come_again(redis_url: str, options: dict[str, Any]) -> None:
    """503 and Retry-After."""
    app = a_limited_app(redis_url, **options)
    app.post_json("/in", {}, status=202)
    answer = app.post_json("/in", {}, status=503)

    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_queued": 0}, "max_queued"),
        ({"max_queued": True}, "max_queued"),
        ({"max_lag": "soon"}, "max_lag"),
        ({"rate": "many"}, "rate"),
        ({"on_outage": "hope"}, "on_outage"),
    ],
)
def test_a_wrong_limit_is_refused_when_it_is_declared(options: dict[str, Any], named: str) -> None:
    """With the option's name."""
    with pytest.raises(DeclarationError, match=named) as caught:
        Route("/in", verify=None, job="tests.jobs.echo", **options)
    assert caught.value.option == named
