"""One route, several jobs and destinations: `to=`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from webtest import TestApp

from tests.handovers import dump, queued
from tests.redis_proxy import RedisProxy
from trafficrelay import DROP, Deliver, MemoryOutbox, Relay, Route, To
from trafficrelay.cli import main
from trafficrelay.errors import DeclarationError
from trafficrelay.standalone.banner import banner
from trafficrelay.standalone.target import load_bound
from trafficrelay.transform import MAX_ITEMS
from trafficrelay.worker.allowed import Allowed

ORDER = {"type": "order", "total": 120}
REFUND = {"type": "refund", "total": -5}


def relay_to(*to: Any, outbox: Any = None, **options: Any) -> tuple[TestApp, Any]:
    outbox = outbox or MemoryOutbox()
    relay = Relay(outbox=outbox)
    relay.add(Route("/in", verify=None, to=list(to), **options))
    return TestApp(relay.app), outbox


def made(outbox: MemoryOutbox) -> list[tuple[str, str, Any]]:
    return [(job.function, job.queue, job.data) for job in outbox.jobs]


def test_an_event_becomes_a_job_for_each_target() -> None:
    """In the order in which they are declared, numbered on."""
    app, outbox = relay_to(To("shop.jobs.count", queue="counts"), To("shop.jobs.store"), queue="store")
    answer = app.post_json("/in", ORDER, status=202).json

    assert made(outbox) == [("shop.jobs.count", "counts", ORDER), ("shop.jobs.store", "store", ORDER)]
    assert answer["jobs"] == [f"{answer['id']}-1", f"{answer['id']}-2"]


@pytest.mark.parametrize(
    ("event", "jobs"), [(ORDER, ["on_order", "on_all"]), (REFUND, ["on_refund", "on_all"]), ({}, ["on_all"])]
)
def test_a_condition_says_for_which_events_a_target_is(event: dict[str, Any], jobs: list[str]) -> None:
    """JMESPath, or a function, of what the transforms gave."""
    app, outbox = relay_to(
        To("shop.on_order", when="type == 'order'"),
        To("shop.on_refund", when=lambda data: data.get("total", 0) < 0),
        To("shop.on_all"),
    )
    app.post_json("/in", event, status=202)

    assert [job.function for job in outbox.jobs] == [f"shop.{name}" for name in jobs]


def test_conditions_look_at_what_the_transform_gave() -> None:
    """Each item of a transform that gives several is looked at by itself."""

    def items(event: Any) -> Iterator[Any]:
        yield from event.data["items"]

    app, outbox = relay_to(To("shop.big", when="n > `5`"), To("shop.all"), transform=items)
    app.post_json("/in", {"items": [{"n": 1}, {"n": 9}]}, status=202)

    assert [(job.function, job.data["n"]) for job in outbox.jobs] == [("shop.big", 9), ("shop.all", 1), ("shop.all", 9)]


def test_an_event_that_is_for_no_target_is_dropped() -> None:
    """As one for which the transform says DROP: its sender need not know."""
    app, outbox = relay_to(To("shop.on_order", when="type == 'order'"))
    answer = app.post_json("/in", REFUND, status=202).json

    assert (answer["jobs"], outbox.handovers) == ([], [])


def test_a_dropped_event_asks_no_condition() -> None:
    """There is nothing to look at."""
    app, outbox = relay_to(To("shop.jobs.x", when=lambda data: 1 / 0), transform=lambda event: DROP)
    app.post_json("/in", ORDER, status=202)

    assert outbox.handovers == []


def test_a_condition_that_fails_keeps_the_event_as_a_dead_letter() -> None:
    """As a transform that fails: the first target has nothing either."""
    app, outbox = relay_to(To("shop.first"), To("shop.second", when=lambda data: data["missing"]))
    app.post_json("/in", ORDER, status=202)

    assert (outbox.jobs, len(outbox.dead_letters)) == ([], 1)
    assert "KeyError" in outbox.dead_letters[0].traceback


def test_targets_have_options_of_their_own_or_those_of_the_route() -> None:
    """What a To does not say is said by its route."""
    app, outbox = relay_to(
        To("shop.a"), To("shop.b", queue="b", retry=[5], timeout=7, failure_ttl=None), queue="r", retry=3, failure_ttl=9
    )
    app.post_json("/in", ORDER, status=202)
    one, two = outbox.jobs

    assert (one.queue, one.options.retries.max, one.options.timeout, one.options.failure_ttl) == ("r", 3, None, 9)
    assert (two.queue, two.options.retries.max, two.options.timeout, two.options.failure_ttl) == ("b", 1, 7, None)


def test_jobs_and_deliveries_go_side_by_side() -> None:
    """A delivery has no retry of the route's: its schedule says that."""
    app, outbox = relay_to(
        To("shop.store"),
        To(deliver=["https://a.example/hook", "https://b.example/hook"], queue="out", when="total > `100`"),
        retry=3,
    )
    app.post_json("/in", ORDER, status=202)
    app.post_json("/in", REFUND, status=202)

    assert [(job.function, job.queue) for job in outbox.jobs] == [
        ("shop.store", "default"),
        ("trafficrelay.deliver.deliver", "out"),
        ("trafficrelay.deliver.deliver", "out"),
        ("shop.store", "default"),
    ]
    assert [job.data["to"] for job in outbox.jobs[1:3]] == ["a.example", "b.example"]
    assert outbox.jobs[1].options.retries is None


def test_job_and_queue_of_a_target_may_be_chosen_for_each_event() -> None:
    """As those of a route."""
    app, outbox = relay_to(To(lambda event: f"shop.{event.data['type']}", queue=lambda event: event.data["type"]))
    app.post_json("/in", ORDER, status=202)

    assert made(outbox) == [("shop.order", "order", ORDER)]


def test_more_jobs_than_one_event_may_become_are_a_dead_letter() -> None:
    """Counted over all targets."""

    def many(event: Any) -> Iterator[int]:
        yield from range(MAX_ITEMS // 2 + 1)

    app, outbox = relay_to(To("shop.a"), To("shop.b"), transform=many)
    app.post_json("/in", ORDER, status=202)

    assert (outbox.jobs, len(outbox.dead_letters)) == ([], 1)


def test_a_relay_knows_the_queues_of_all_targets() -> None:
    """`run` starts a worker for them."""
    relay = Relay(outbox=MemoryOutbox())
    relay.add(Route("/in", verify=None, to=[To("a.b", queue="x"), To("a.c"), To("a.d", queue="x")], queue="y"))

    assert relay.queues == ("x", "y")
    assert not relay.dynamic_queues


def test_a_worker_that_runs_only_what_is_declared_runs_all_targets() -> None:
    """Jobs of each, and deliveries."""
    relay = Relay(serializer="json")
    relay.add(Route("/in", verify=None, to=[To("shop.a"), To("shop.b"), To(deliver="https://a.example/")]))

    assert {"shop.a", "shop.b", "trafficrelay.deliver.deliver"} <= Allowed.of(relay).functions


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (To, "no job"),
        (lambda: To("a.b", deliver="https://a.example/"), "say one"),
        (lambda: To(deliver="https://a.example/", retry=3), "schedule"),
        (lambda: To("a.b", when="type =="), "when|JMESPath"),
        (lambda: To("a.b", when=5), "when"),
        (lambda: To("a.b", wen="x"), "Did you mean when"),
        (lambda: Route("/x", verify=None, to=[]), "to is a list"),
        (lambda: Route("/x", verify=None, to="shop.a"), "to is a list"),
        (lambda: Route("/x", verify=None, to=["shop.a"]), "to is a list"),
        (lambda: Route("/x", verify=None, to=[To("a.b")], job="a.b"), "beside it"),
        (lambda: Route("/x", verify=None, to=[To("a.b")], deliver="https://a.example/"), "beside it"),
        (lambda: Route("/x", verify=None, to=[To("nodots")]), "dotted name"),
        (lambda: Route("/x", verify=None, to=[To("a.b", queue="a b")]), "queue"),
        (lambda: Route("/x", verify=None, to=[To("a.b", timeout=0)]), "timeout"),
        (
            lambda: Route("/x", verify=None, to=[To(deliver="https://a.example/1"), To(deliver="https://a.example/2")]),
            "called a.example",
        ),
        (
            lambda: Route("/x", verify=None, to=[To(deliver=Deliver("https://a.example/", read_timeout=100))]),
            "longer timeout",
        ),
    ],
)
def test_a_wrong_target_is_refused_when_it_is_declared(make: Any, words: str) -> None:
    """With a sentence that says what to change."""
    with pytest.raises(DeclarationError, match=words):
        make()


@pytest.mark.rq
def test_all_targets_are_written_in_one_step_or_none(redis_url: str, client: redis.Redis) -> None:
    """On several queues, with one script; if one queue cannot take its job, no other has it either."""
    with RedisProxy(redis_url) as proxy, closing(Relay(proxy.url)) as relay:
        relay.add(Route("/in", verify=None, to=[To("a.b", queue="one"), To("a.c", queue="two", delay=60)]))
        app = TestApp(relay.app)
        app.post_json("/in", {}, status=202)
        del proxy.commands[:]
        app.post_json("/in", {}, status=202)
        commands = list(proxy.commands)
        client.flushall()
        client.set("rq:scheduled:two", "somebody's")
        before = dump(client)
        app.post_json("/in", {}, status=503)

    assert commands == ["EVALSHA"]
    assert dump(client) == before


@pytest.mark.rq
def test_a_repeated_event_with_several_targets_is_queued_once(redis_url: str, client: redis.Redis) -> None:
    """One key for all of them."""
    with closing(Relay(redis_url)) as relay:
        to = [To("a.b", queue="one"), To("a.c", queue="two")]
        relay.add(Route("/in", verify=None, to=to, dedupe="data:id"))
        app = TestApp(relay.app)
        first = app.post_json("/in", {"id": 1}, status=202).json
        again = app.post_json("/in", {"id": 1}, status=202).json

    assert first == again
    assert (len(queued(client, "one")), len(queued(client, "two"))) == (1, 1)


def test_a_dead_letter_lies_in_a_queue_that_the_relays_workers_know() -> None:
    """Not in one that only the route's own default names."""

    def broken(event: Any) -> Any:
        raise ValueError

    relay = Relay(outbox=(outbox := MemoryOutbox()))
    relay.add(Route("/in", verify=None, to=[To("a.b", queue="orders"), To("a.c", queue="mail")], transform=broken))
    TestApp(relay.app).post_json("/in", {}, status=202)

    assert outbox.dead_letters[0].queue == "orders"
    assert outbox.dead_letters[0].queue in relay.queues


def test_the_banner_names_all_queues_of_a_route() -> None:
    """And that some are chosen."""
    relay = Relay()
    relay.add(
        Route("/in", verify=None, to=[To("a.b", queue="x"), To("a.c", queue="y"), To("a.d", queue=lambda e: "z")])
    )
    text = banner(relay, "m:r", host="127.0.0.1", port=1, url=None, data=None, workers=True)

    assert "/in  ->  queues x and y and a queue chosen for each event" in text


@pytest.mark.rq
def test_a_failed_job_that_is_replayed_has_the_retries_of_its_own_target(
    redis_url: str, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of its route; and a delivery none of RQ's."""
    (tmp_path / "fanned.py").write_text(
        "from trafficrelay import Relay, Route, To\n"
        "relay = Relay()\n"
        'to = [To("tests.jobs.fail", queue="one", retry=5), To("tests.jobs.fail", queue="two"),\n'
        '      To("tests.jobs.fail", queue=lambda event: "three", retry=[4])]\n'
        'relay.add(Route("/in", verify=None, to=to, retry=3))\n'
    )
    monkeypatch.chdir(tmp_path)
    relay = load_bound("fanned:relay", redis_url)
    with closing(relay):
        said = TestApp(relay.app).post_json("/in", {}, status=202).json["jobs"]
    for queue, job in zip(("one", "two", "three"), said, strict=True):
        client.lpop(f"rq:queue:{queue}")
        client.hset(f"rq:job:{job}", mapping={"status": "failed", "retries_left": 0})
        client.zadd(f"rq:failed:{queue}", {job: 10**10})
    del sys.modules["fanned"]  # which a process of its own would not have
    main(["replay", "fanned:relay", "--redis", redis_url, "--kind", "job"])

    assert [client.hget(f"rq:job:{job}", "retries_left") for job in said] == [b"5", b"3", b"1"]
