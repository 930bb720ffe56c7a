"""The test client's outbox: it does what Redis does, and fails when it is told to."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from tests.support import NOON
from trafficrelay import Relay, Route
from trafficrelay.errors import ClientError
from trafficrelay.testing import RelayClient, queued, relay_client
from trafficrelay.verify import standard_webhooks

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def make_client(*, spool: str | None = None, raise_errors: bool = True, **options: Any) -> RelayClient:
    relay = Relay("redis://redis.invalid:6379/0", spool=spool)
    relay.add(Route(options.pop("rule", "/x"), **({"verify": None, "job": "tests.jobs.echo"} | options)))
    return relay_client(relay, raise_errors=raise_errors)


# The time


def test_the_time_can_be_held_and_moved() -> None:
    client = make_client(transform=lambda event: event.received_at.isoformat())
    with client.at(NOON) as clock:
        assert client.post("/x").data == NOON.isoformat()
        clock.tick(90)
        assert client.post("/x").data == (NOON + timedelta(seconds=90)).isoformat()
        clock.tick(timedelta(hours=-1))
        assert client.post("/x").data == (NOON + timedelta(seconds=90, hours=-1)).isoformat()

    assert datetime.fromisoformat(client.post("/x").data) > NOON


def test_a_time_that_is_not_held_cannot_be_moved() -> None:
    client = make_client()
    with client.at(NOON) as clock:
        pass
    with pytest.raises(ClientError, match="Hold it first"):
        clock.tick(1)


@pytest.mark.parametrize("moment", [datetime(2026, 3, 1), "2026-03-01"])
def test_a_time_says_its_zone(moment: Any) -> None:
    with pytest.raises(ClientError, match="a datetime with a time zone"), make_client().at(moment):
        pass


def test_signatures_are_made_and_judged_at_the_time_that_is_held() -> None:
    client = make_client(verify=standard_webhooks(KEY))
    with client.at(NOON) as clock:
        answer = client.post("/x", signed=True)
        assert answer.status == 202
        clock.tick(299)
        assert client.send_again(answer).status == 202
        clock.tick(2)
        assert client.send_again(answer).rejected == (401, "The timestamp is more than 300 seconds off.")
        assert client.send_again(answer, signed=True).status == 202
        assert client.post("/x", signed=True, signed_at=NOON).unverified


def test_a_duplicate_is_forgotten_after_its_window() -> None:
    client = make_client(dedupe="data:id", dedupe_window="1h")
    with client.at(NOON) as clock:
        client.post_json("/x", {"id": 1})
        clock.tick(3_599)
        assert client.send_again().duplicate
        clock.tick(2)
        assert not client.send_again().duplicate

    assert len(client.queued) == 2


# Limits


def test_a_rate_is_counted_as_declared() -> None:
    client = make_client(rate="2/m per address")
    with client.at(NOON) as clock:
        answers = [client.post("/x") for _ in range(3)]
        assert [answer.status for answer in answers] == [202, 202, 429]
        assert answers[2].headers["Retry-After"] == "30"
        assert client.post("/x", address="192.0.2.7").status == 202
        clock.tick(30)
        assert client.post("/x").status == 202


def test_a_duplicate_is_answered_before_limits_are_looked_at() -> None:
    client = make_client(rate="1/h", dedupe="data:id")
    with client.at(NOON):
        client.post_json("/x", {"id": 1})

        assert client.send_again().duplicate
        assert client.post_json("/x", {"id": 2}).status == 429


def test_a_queue_is_full_of_jobs_that_nobody_ran() -> None:
    client = make_client(job="json.dumps", max_queued=2)
    assert [client.post_json("/x", 1).status for _ in range(3)] == [202, 202, 503]
    assert client.run_jobs() == ["1", "1"]

    assert client.post_json("/x", 1).status == 202


def test_a_queue_can_be_pretended_to_be_full_or_late() -> None:
    client = make_client(queue="hooks", max_queued=10, max_lag="5m")
    with client.backlog(10):
        assert client.post("/x").rejected == (503, "No more events are taken now; send it again.")
    with client.backlog(9, seconds=299):
        assert client.post("/x").status == 202
    with client.backlog(1, seconds=301):
        assert client.post("/x").status == 503
    with client.backlog(10, queue="other"):
        assert client.post("/x").status == 202


def test_jobs_grow_old_while_the_clock_moves() -> None:
    client = make_client(max_lag="5m")
    with client.at(NOON) as clock:
        client.post("/x")
        clock.tick(301)

        assert client.post("/x").status == 503


def test_of_a_request_all_is_taken_or_nothing() -> None:
    client = make_client(split=True, rate="3/h", dedupe="data:id")
    with client.at(NOON):
        assert client.post_json("/x", [{"id": n} for n in range(2)]).status == 202
        assert client.post_json("/x", [{"id": n} for n in (2, 3)]).rejected.status == 429  # type: ignore[union-attr]
        assert client.post_json("/x", [{"id": n} for n in range(3)]).queued == [queued(data={"id": 2})]


# Outages


def test_without_a_spool_an_outage_refuses() -> None:
    client = make_client()
    with client.outage():
        assert client.post("/x").rejected == (503, "The event cannot be kept now; send it again.")
        assert client.get("/-/ready").status == 503

    assert client.get("/-/ready").status == 200
    client.assert_nothing_queued()


def test_with_a_spool_an_outage_keeps_events_until_it_is_over() -> None:
    client = make_client(spool="nowhere.db", dedupe="data:id")
    with client.outage():
        first = client.post_json("/x", {"id": 1})
        assert client.post_json("/x", {"id": 1}).duplicate
        assert client.get("/-/ready").status == 200
        assert (first.status, first.queued, first.spooled) == (202, [], [queued(data={"id": 1})])
        assert client.spooled == first.spooled
        assert "1 job in the spool" in first.said

    assert client.queued == [queued("tests.jobs.echo", {"id": 1})]
    assert client.spooled == []
    assert client.send_again(first).duplicate
    assert not Path("nowhere.db").exists()


def test_a_route_that_refuses_does_so_though_there_is_a_spool() -> None:
    client = make_client(spool="nowhere.db", on_outage="refuse")
    with client.outage():
        assert client.post("/x").status == 503


def test_an_outage_ends_with_its_block_whatever_happens_in_it() -> None:
    client = make_client()
    with pytest.raises(ZeroDivisionError), client.outage():
        _ = 1 / 0

    assert client.post("/x").status == 202


# Lost replies


def test_after_one_lost_reply_the_relay_writes_again_and_doubles_nothing() -> None:
    client = make_client()
    with client.lost_reply():
        answer = client.post("/x")

    assert (answer.status, answer.duplicate) == (202, False)
    assert client.queued == answer.queued == [queued()]


def test_after_two_lost_replies_its_sender_tries_again_and_is_known() -> None:
    client = make_client(dedupe="data:id")
    with client.lost_reply(2):
        answer = client.post_json("/x", {"id": 1})

    assert answer.rejected == (503, "The event cannot be kept now; send it again.")
    assert answer.queued == [queued()]
    assert client.send_again().duplicate
    assert len(client.queued) == 1


def test_after_two_lost_replies_a_route_without_a_duplicate_key_doubles() -> None:
    """Which is what a user wants to find out in a test."""
    client = make_client()
    with client.lost_reply(2):
        client.post_json("/x", {"id": 1})
    client.send_again()

    assert len(client.queued) == 2


def test_what_is_spooled_for_a_lost_reply_is_not_doubled() -> None:
    client = make_client(spool="nowhere.db")
    with client.lost_reply(2):
        answer = client.post("/x")

    assert answer.status == 202
    assert len(client.queued) == 1


# Dead letters


def test_a_dead_letter_whose_event_is_sent_again_gives_way_to_it() -> None:
    broken = [True]

    def transform(event: Any) -> Any:
        if broken:
            raise KeyError("broken")
        return event.data

    client = make_client(transform=transform, dedupe="data:id", raise_errors=False)
    client.post_json("/x", {"id": 1})
    assert client.send_again().duplicate
    broken.clear()

    assert client.send_again().queued == [queued(data={"id": 1})]
    assert client.dead_letters == []


# What became of it, asked later


def test_the_address_of_an_event_tells_what_became_of_it() -> None:
    client = make_client(status=True, job="json.dumps")
    where = client.post_json("/x", [1]).headers["Location"]
    assert client.get(where).json["state"] == "queued"
    client.run_jobs()

    assert client.get(where).json["jobs"][0]["result"] == "[1]"
    assert client.get(where + "0").status == 404


def test_the_address_of_a_spooled_event_says_so() -> None:
    client = make_client(status=True, spool="nowhere.db")
    with client.outage():
        where = client.post_json("/x", [1]).headers["Location"]
        assert client.get(where).json["state"] == "spooled"


# Beside the real one


@pytest.mark.rq
def test_it_answers_as_the_real_outbox_does(redis_url: str) -> None:
    """The same requests, to a real Redis and to the stand-in."""
    options: dict[str, Any] = {"verify": None, "job": "tests.jobs.echo", "dedupe": "data:id", "dedupe_window": "1h"}

    def declare(relay: Relay) -> None:
        relay.add(Route("/one", **options))
        relay.add(Route("/full", **options, max_queued=2, queue="full"))
        relay.add(Route("/fast", **options, rate="2/h", queue="fast"))
        relay.add(Route("/many", **options, split=True, max_queued=3, queue="many"))

    requests: list[tuple[str, Any]] = [
        ("/one", {"id": 1}),
        ("/one", {"id": 1}),
        ("/one", {}),
        ("/one", {}),
        *[("/full", {"id": n}) for n in (1, 2, 1, 3, 2)],
        *[("/fast", {"id": n}) for n in (1, 2, 1, 3, 2)],
        ("/many", [{"id": 1}, {"id": 1}, {"id": 2}]),
        ("/many", [{"id": 2}, {"id": 3}, {"id": 4}]),
        ("/many", [{"id": 1}, {"id": 4}]),
        ("/many", [{"id": 4}, {"id": 5}]),
    ]
    with closing(Relay(redis_url)) as relay:
        declare(relay)
        app = TestApp(relay.app)
        real = [app.post_json(path, data, expect_errors=True) for path, data in requests]
        client = relay_client(relay)
        pretended = [client.post_json(path, data) for path, data in requests]

    assert [answer.status for answer in pretended] == [answer.status_int for answer in real]
    assert [same_ids(answer.json) for answer in pretended] == [same_ids(answer.json) for answer in real]


def same_ids(said: Any) -> Any:
    """Give what an answer says without what differs from run to run: how many jobs, and which ids are alike."""
    if "detail" in said:
        return said["detail"]
    events = said.get("events", [said])
    order = list(dict.fromkeys(event["id"] for event in events))
    return [(order.index(event["id"]), len(event["jobs"])) for event in events]


def test_utc_is_what_the_time_is_in() -> None:
    client = make_client(transform=lambda event: event.received_at.tzinfo is UTC)

    assert client.post("/x").data is True


@pytest.mark.rq
def test_what_it_repeats_of_the_real_outbox_is_so() -> None:
    from trafficrelay.outbox import replies, rq
    from trafficrelay.testing import outbox

    assert outbox.TRIES == rq.TRIES
    assert outbox.PATIENCE == replies.BACKLOG_PATIENCE
