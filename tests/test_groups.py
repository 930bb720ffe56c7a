"""Several events that come in one request: all of them are taken or none, against a real server."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from webtest import TestApp

from tests.handovers import a_dead_one, a_handover, a_job, a_letter, dump, entries, opened, queued
from tests.redis_proxy import RedisProxy
from tests.waiting import wait_until
from trafficrelay import DROP, MemoryOutbox, Rejected, Relay, Route, Spool
from trafficrelay.bounds import MAX_JOBS
from trafficrelay.errors import Backlogged, OutboxAway, OutboxCorrupt, OutboxUnavailable, RateExceeded, RoutePaused
from trafficrelay.limits import Limits
from trafficrelay.outbox import rq as rq_outbox
from trafficrelay.outbox.handover import Handover, Receipt
from trafficrelay.outbox.pauses import Pauses
from trafficrelay.outbox.resilient import ResilientOutbox
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.rate import Rate

pytestmark = pytest.mark.rq

NDJSON = "application/x-ndjson"


@pytest.fixture
def outbox(redis_url: str) -> Iterator[RQOutbox]:
    with opened(redis_url) as outbox:
        yield outbox


def lines(*items: Any) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def a_split(rule: str = "/in", **options: Any) -> Route:
    return Route(rule, **({"verify": None, "job": "tests.jobs.echo", "queue": "hooks", "split": True} | options))


def relay_of(url: str, *routes: Route, **options: Any) -> Relay:
    relay = Relay(url, **options)
    for route in routes:
        relay.add(route)
    return relay


def taken(outbox: RQOutbox, *group: Handover) -> Any:
    (result,) = outbox.accept_groups([list(group)])
    return result


# The outbox


def test_all_events_of_a_group_are_written(outbox: RQOutbox, client: redis.Redis) -> None:
    """In order, each with its own jobs and its own mark."""
    events = [a_handover(a_job(1), a_job(2)), a_handover(a_job(3, queue="other")), a_dead_one(a_letter())]

    assert taken(outbox, *events) == [event.receipt for event in events]
    assert queued(client) == [f"{events[0].id}-1", f"{events[0].id}-2"]
    assert queued(client, "other") == [f"{events[1].id}-1"]
    assert client.exists(f"rq:job:{events[2].id}-0")
    assert all(client.exists(f"trafficrelay:1:event:{event.id}") for event in events)


def test_a_group_writes_what_its_events_write_one_by_one(outbox: RQOutbox, client: redis.Redis) -> None:
    """Field by field; only the times differ."""
    events = [a_handover(a_job(number), dedupe=f"k{number}", dedupe_window=60) for number in range(5)]
    taken(outbox, *events)
    together = entries(dump(client))
    client.flushall()
    for event in events:
        outbox.accept(event)
    apart = entries(dump(client))

    volatile = {b"created_at", b"enqueued_at"}
    assert together.keys() == apart.keys()
    for key, (kind, value) in together.items():
        if kind == "hash":
            assert {name: value[name] for name in value.keys() - volatile} == {
                name: apart[key][1][name] for name in apart[key][1].keys() - volatile
            }
        else:
            assert (kind, value) == apart[key]


@pytest.mark.parametrize("broken", range(6))
def test_nothing_of_a_group_is_written_if_one_event_cannot_be(
    outbox: RQOutbox, client: redis.Redis, broken: int
) -> None:
    """Whichever of them it is: here its queue is somebody's string."""
    client.set("rq:queue:wrong", "x")
    before = dump(client)
    events = [
        a_handover(a_job(number, queue="wrong" if number == broken else "hooks"), a_job(number), dedupe=f"k{number}")
        for number in range(6)
    ]
    result = taken(outbox, *events)

    assert isinstance(result, OutboxCorrupt)
    assert dump(client) == before
    client.delete("rq:queue:wrong")
    assert taken(outbox, *events) == [event.receipt for event in events]


@pytest.mark.parametrize("denied", ["rpush", "sadd", "zadd", "set", "xadd"])
def test_what_was_written_of_a_group_is_undone_when_a_later_write_is_refused(
    valkey: Any, client: redis.Redis, redis_url: str, denied: str
) -> None:
    """A rule of Redis' access control is met in the middle: a queue, then a schedule, then a dead letter."""
    events = [a_handover(a_job(1)), a_handover(a_job(2, delay=60)), a_dead_one(a_letter())]
    client.acl_setuser("limited", enabled=True, nopass=True, keys=["*"], commands=["+@all", f"-{denied}"])
    with opened(redis_url.replace("redis://", "redis://limited:x@")) as outbox:
        result = taken(outbox, *events)
    client.acl_deluser("limited")

    assert isinstance(result, OutboxUnavailable)
    assert dump(client) == {}


def test_events_of_a_group_that_are_known_are_skipped_and_the_others_written(
    outbox: RQOutbox, client: redis.Redis
) -> None:
    """By their duplicate key, and by their id."""
    first = a_handover(a_job("first"), dedupe="k", dedupe_window=60)
    again = a_handover(a_job("again"), dedupe="k", dedupe_window=60)
    new = a_handover(a_job("new"))
    outbox.accept(first)

    assert taken(outbox, again, new, first) == [
        Receipt(first.id, 1, duplicate=True),
        new.receipt,
        Receipt(first.id, 1, duplicate=True),
    ]
    assert queued(client) == [f"{first.id}-1", f"{new.id}-1"]


def test_an_event_that_repeats_another_of_its_own_group_is_queued_once(outbox: RQOutbox, client: redis.Redis) -> None:
    """Senders that collect do that."""
    one, two = (a_handover(dedupe="same", dedupe_window=60) for _ in range(2))

    assert taken(outbox, one, two) == [one.receipt, Receipt(one.id, 1, duplicate=True)]
    assert queued(client) == [f"{one.id}-1"]


def test_a_group_that_is_sent_again_after_a_lost_reply_is_queued_once(redis_url: str, client: redis.Redis) -> None:
    """The second try finds all of it there."""
    events = [a_handover(a_job(number)) for number in range(20)]
    with RedisProxy(redis_url) as proxy, opened(proxy.url) as outbox:
        outbox.accept(a_handover(a_job(queue="warm")))
        proxy.lose_replies(1)
        result = taken(outbox, *events)

    assert [receipt.id for receipt in result] == [event.id for event in events]
    assert queued(client) == [f"{event.id}-1" for event in events]


def test_each_group_is_taken_or_not_by_itself(outbox: RQOutbox, client: redis.Redis) -> None:
    """The groups of other requests travel in the same round trip."""
    client.set("rq:queue:wrong", "x")
    good, bad = [a_handover(), a_handover()], [a_handover(), a_handover(a_job(queue="wrong"))]
    results = outbox.accept_groups([good, bad, [a_handover(event="e" * 32)]])

    assert results[0] == [event.receipt for event in good]
    assert isinstance(results[1], OutboxCorrupt)
    assert results[2] == [Receipt("e" * 32, 1)]
    assert len(queued(client)) == 3


def test_a_group_is_turned_away_as_a_whole_by_a_limit(outbox: RQOutbox, client: redis.Redis) -> None:
    """Of a rate with room for three the fourth would be too many; who waits as long as he is told has all taken."""
    limits = Limits(rate=Rate("3/h"))
    events = [a_handover(limits=limits, route="/in") for _ in range(4)]
    result = taken(outbox, *events)

    assert isinstance(result, RateExceeded)
    assert 0 < result.retry_after <= 1200
    assert dump(client) == {}
    assert isinstance(taken(outbox, *events[:3]), list)
    assert isinstance(taken(outbox, a_handover(limits=limits, route="/in")), RateExceeded)


def test_known_events_of_a_group_do_not_count(outbox: RQOutbox) -> None:
    """They were counted when they came first."""
    limits = Limits(rate=Rate("3/h"))
    events = [a_handover(limits=limits, route="/in") for _ in range(3)]
    taken(outbox, *events[:2])

    assert [receipt.duplicate for receipt in taken(outbox, *events)] == [True, True, False]


def test_a_paused_route_turns_away_the_whole_group(outbox: RQOutbox, client: redis.Redis) -> None:
    """Nothing of it is written."""
    Pauses(client).pause("/in", "refuse")
    before = dump(client)

    assert isinstance(taken(outbox, *[a_handover(route="/in") for _ in range(3)]), RoutePaused)
    assert dump(client) == before


def test_every_queue_of_a_group_is_looked_at_for_max_queued(outbox: RQOutbox, client: redis.Redis) -> None:
    """Not only the first: events choose their queues."""
    limits = Limits(max_queued=2)
    client.rpush("rq:queue:full", "a", "b")
    event = a_handover(a_job(), a_job(queue="full"), limits=limits)

    assert isinstance(taken(outbox, a_handover(limits=limits), event), Backlogged)
    assert queued(client) == []


def test_random_groups_are_taken_as_their_events_would_be_one_by_one(outbox: RQOutbox, client: redis.Redis) -> None:
    """Jobs, delays, dead letters, duplicates within and before: the receipts and the queues are the same."""
    chance = random.Random(11)
    for _ in range(30):
        events: list[Handover] = []
        for _ in range(chance.randint(1, 12)):
            jobs = [
                a_job(0, queue=chance.choice("ab"), delay=chance.choice((0, 60)), at_front=chance.random() < 0.3)
                for _ in range(chance.randint(1, 3))
            ]
            key = chance.choice([None, *"xyz"])
            more: dict[str, Any] = {"dedupe": key, "dedupe_window": 60 if key else 0}
            events.append(a_dead_one(a_letter(), **more) if chance.random() < 0.2 else a_handover(*jobs, **more))
        client.flushall()
        together = taken(outbox, *events)
        after = {name: queued(client, name) for name in "ab"}
        client.flushall()
        apart = [outbox.accept(event) for event in events]

        assert together == apart
        assert after == {name: queued(client, name) for name in "ab"}


# The way of a request


def test_a_split_request_is_one_round_trip(redis_url: str, client: redis.Redis) -> None:
    """However many events it holds."""
    with RedisProxy(redis_url) as proxy, closing(relay_of(proxy.url, a_split())) as relay:
        app = TestApp(relay.app)
        app.post("/in", lines(0), content_type=NDJSON, status=202)
        del proxy.commands[:]
        app.post("/in", lines(*range(1000)), content_type=NDJSON, status=202)

    assert proxy.commands == ["EVALSHA"]
    assert len(queued(client)) == 1001


def test_each_item_is_an_event_with_its_own_id_and_job(redis_url: str, client: redis.Redis) -> None:
    """The answer lists them in order, and each job's context names its event."""
    with closing(relay_of(redis_url, a_split())) as relay:
        said = TestApp(relay.app).post_json("/in", [{"n": 1}, {"n": 2}], status=202).json

    ids = [event["id"] for event in said["events"]]
    assert len(set(ids)) == 2
    assert [event["jobs"] for event in said["events"]] == [[f"{id_}-1"] for id_ in ids]
    assert queued(client) == [f"{id_}-1" for id_ in ids]


def test_items_that_come_again_are_answered_as_the_first_and_the_new_ones_are_queued(
    redis_url: str, client: redis.Redis
) -> None:
    """A sender that repeats a list with more in it."""
    with closing(relay_of(redis_url, a_split(dedupe="data:id"))) as relay:
        app = TestApp(relay.app)
        first = app.post_json("/in", [{"id": 1}, {"id": 2}], status=202).json["events"]
        again = app.post_json("/in", [{"id": 2}, {"id": 3}, {"id": 1}], status=202).json["events"]

    assert [again[0], again[2]] == [first[1], first[0]]
    assert len(queued(client)) == 3


def test_one_item_that_is_rejected_refuses_all_and_says_which(redis_url: str, client: redis.Redis) -> None:
    """Nothing of the request is left behind."""

    def positive(event: Any) -> Any:
        if event.data["n"] < 0:
            raise Rejected(422, "n is negative")
        return event.data

    with closing(relay_of(redis_url, a_split(transform=positive))) as relay:
        answer = TestApp(relay.app).post_json("/in", [{"n": 1}, {"n": -1}], status=422)

    assert answer.json["detail"] == "Item 2: n is negative"
    assert dump(client) == {}


def test_an_item_whose_transform_fails_becomes_a_dead_letter_and_the_others_jobs(
    redis_url: str, client: redis.Redis
) -> None:
    """A bug costs nobody anything; the letter holds the item alone."""

    def half(event: Any) -> Any:
        return {"n": 10 / event.data["n"]}

    with closing(relay_of(redis_url, a_split(transform=half))) as relay:
        said = TestApp(relay.app).post_json("/in", [{"n": 1}, {"n": 0}], status=202).json["events"]

    assert [len(event["jobs"]) for event in said] == [1, 0]
    assert client.zrange("rq:failed:hooks", 0, -1) == [f"{said[1]['id']}-0".encode()]


def test_an_empty_list_is_accepted_and_becomes_nothing(redis_url: str, client: redis.Redis) -> None:
    """There is nothing that could be lost."""
    with closing(relay_of(redis_url, a_split())) as relay:
        answer = TestApp(relay.app).post_json("/in", [], status=202)

    assert answer.json == {"events": []}
    assert dump(client) == {}


def test_a_request_with_more_items_than_its_rate_ever_takes_is_told_so() -> None:
    """A 429 would have its sender try for ever."""
    relay = Relay(outbox=MemoryOutbox())
    relay.add(a_split(rate="5/m"))
    answer = TestApp(relay.app).post_json("/in", [{}] * 6, status=413)

    assert "5" in answer.json["detail"]


def test_a_split_request_goes_to_the_spool_whole(redis_url: str, client: redis.Redis, tmp_path: Path) -> None:
    """While Redis is away; when it is back, each event is moved there once."""
    with RedisProxy(redis_url) as proxy:
        relay = relay_of(proxy.url, a_split(), spool=Spool(tmp_path / "spool.db"))
        proxy.refuse()
        said = TestApp(relay.app).post("/in", lines(1, 2, 3), content_type=NDJSON, status=202).json["events"]
        before = queued(client)
        proxy.admit()
        wait_until(lambda: len(queued(client)) == 3)
        relay.close(10)

    assert before == []
    assert queued(client) == [event["jobs"][0] for event in said]


def test_without_a_spool_a_split_request_is_refused_whole_while_redis_is_away() -> None:
    """Its sender has to send all of it again."""
    away = ResilientOutbox(RQOutbox("redis://127.0.0.1:1"))
    (result,) = away.accept_groups([[a_handover(), a_handover()]])
    away.close()

    assert isinstance(result, OutboxUnavailable | OutboxAway)


# Bounds


def test_a_split_request_that_is_turned_away_names_the_queue_that_is_full(redis_url: str, client: redis.Redis) -> None:
    """Also where its first event became a dead letter and has no job; nobody else's event is in doubt."""

    def half(event: Any) -> Any:
        return {"n": 10 / event.data["n"]}

    client.rpush("rq:queue:hooks", "a", "b")
    with closing(relay_of(redis_url, a_split(transform=half, max_queued=2))) as relay:
        answer = TestApp(relay.app).post_json("/in", [{"n": 0}, {"n": 1}], status=503)
    with opened(redis_url) as outbox:
        limits = Limits(max_queued=2)
        letter = a_dead_one(a_letter(), limits=limits)
        result = taken(outbox, letter, a_handover(a_job(queue="free"), a_job(), limits=limits))

    assert int(answer.headers["Retry-After"]) > 0
    assert isinstance(result, Backlogged)
    assert result.queue == "hooks"


def test_a_reply_that_cannot_be_read_is_said_of_its_group_alone(
    outbox: RQOutbox, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis has taken the others of the round trip; their senders must not send again."""
    good, bad = a_handover(), a_handover()
    read = rq_outbox.result

    def failing(group: Any, reply: Any) -> Any:
        if group[0] is bad:
            raise IndexError
        return read(group, reply)

    monkeypatch.setattr(rq_outbox, "result", failing)
    one, other = outbox.accept_groups([[good], [bad]])

    assert one == [good.receipt]
    assert isinstance(other, OutboxUnavailable)
    assert other.doubtful


def test_a_request_becomes_a_bounded_number_of_jobs() -> None:
    """A few bytes an item, times what the route makes of it: they are written while Redis does nothing else."""

    def many(event: Any) -> Iterator[int]:
        calls.append(1)
        yield from range(100)

    calls: list[int] = []
    outbox = MemoryOutbox()
    relay = Relay(outbox=outbox)
    relay.add(a_split(transform=many))
    app = TestApp(relay.app)
    answer = app.post_json("/in", [0] * 1000, status=413)
    stopped = len(calls)
    app.post_json("/in", [0] * (MAX_JOBS // 100), status=202)

    assert str(MAX_JOBS) in answer.json["detail"]
    assert stopped == MAX_JOBS // 100 + 1
    assert len(outbox.jobs) == MAX_JOBS


@pytest.mark.parametrize("split", [True, False])
def test_a_long_header_is_not_carried_by_very_many_jobs(split: bool) -> None:
    """Each job has the header of its event; a sender would fill Redis with a thousand times what he sends."""

    def each(event: Any) -> Iterator[int]:
        yield from event.data if isinstance(event.data, list) else [event.data]

    relay = Relay(outbox=MemoryOutbox())
    relay.add(a_split(split=split, transform=each))
    app = TestApp(relay.app)
    long = {"X-Long": "x" * 30_000}

    assert "header" in app.post_json("/in", [0] * 1000, headers=long, status=413).json["detail"]
    app.post_json("/in", [0] * 200, headers=long, status=202)
    app.post_json("/in", [0] * 1000, status=202)


def test_long_attributes_are_not_carried_by_very_many_jobs() -> None:
    """A CloudEvent's are in each of its jobs, too."""

    def each(event: Any) -> Iterator[int]:
        yield from event.data

    relay = Relay(outbox=MemoryOutbox())
    relay.add(a_split(split=False, transform=each))
    event = {"specversion": "1.0", "id": "1", "source": "/", "type": "a", "long": "x" * 30_000, "data": [0] * 1000}
    app = TestApp(relay.app)
    kind = "application/cloudevents+json"

    assert app.post("/in", json.dumps(event).encode(), {"Content-Type": kind}, status=413)
    assert app.post("/in", json.dumps(event | {"data": [0] * 100}).encode(), {"Content-Type": kind}, status=202)


def test_events_that_are_dropped_do_not_count_for_the_rate() -> None:
    """They are no events that its jobs have to keep up with."""

    def odd(event: Any) -> Any:
        return event.data if event.data % 2 else DROP

    relay = Relay(outbox=MemoryOutbox())
    relay.add(a_split(rate="5/m", transform=odd))

    TestApp(relay.app).post_json("/in", list(range(10)), status=202)


def test_a_rejection_that_is_raised_again_names_its_own_item() -> None:
    """Users keep one at the top of their module; it stays as it is."""
    never = Rejected(422, "no")

    def refuse(event: Any) -> Any:
        if event.data:
            raise never
        return {}

    relay = Relay(outbox=MemoryOutbox())
    relay.add(a_split(transform=refuse))
    app = TestApp(relay.app)
    details = [app.post_json("/in", [0, 1], status=422).json["detail"] for _ in range(3)]

    assert details == ["Item 2: no"] * 3
    assert never.detail == "no"


def test_a_mark_that_was_replaced_is_put_back_when_a_later_write_is_refused(
    redis_url: str, client: redis.Redis
) -> None:
    """A dead letter's, which a repaired event was about to replace: its sender is still known."""
    more: dict[str, Any] = {"dedupe": "k", "dedupe_window": 60}
    letter = a_dead_one(a_letter(), event="a" * 32, **more)
    with opened(redis_url) as outbox:
        outbox.accept(letter)
    before = entries(dump(client))
    rights = ["%R~*", "%W~rq:*", "%W~trafficrelay:1:dedupe:*", "%W~trafficrelay:1:event:a*"]
    client.execute_command("ACL", "SETUSER", "limited", "on", "nopass", "+@all", *rights)
    with opened(redis_url.replace("redis://", "redis://limited:x@")) as outbox:
        # The mark of the second may not be written.
        result = taken(outbox, a_handover(event="a1" + "0" * 30, **more), a_handover(event="b" * 32))
    client.acl_deluser("limited")

    assert isinstance(result, OutboxUnavailable)
    assert entries(dump(client)) == before
