"""The test client runs jobs on the spot, as a worker would."""

from __future__ import annotations

from typing import Any

import pytest

from tests import testing_jobs
from trafficrelay import Relay, Route
from trafficrelay.errors import ClientError
from trafficrelay.testing import RelayClient, relay_client

pytestmark = pytest.mark.rq


def make_client(job: Any, *, serializer: str | None = None, **options: Any) -> RelayClient:
    relay = Relay("redis://redis.invalid:6379/0", serializer=serializer)
    relay.add(Route("/x", verify=None, job=f"tests.testing_jobs.{job}", **options))
    return relay_client(relay)


@pytest.mark.parametrize("serializer", [None, "json"])
def test_a_job_is_called_with_its_data_and_finds_its_event(serializer: str | None) -> None:
    client = make_client("say", serializer=serializer, queue="hooks")
    answer = client.post_json("/x", {"n": [1]}, headers={"X-Kind": "push"})

    assert client.run_jobs() == [
        {"data": {"n": [1]}, "event": answer.id, "kind": "push", "job": answer.queued[0].id, "queue": "hooks"}
    ]


def test_jobs_run_once_in_their_order() -> None:
    client = make_client("give")
    client.post_json("/x", 1)
    client.post_json("/x", 2)

    assert client.run_jobs() == [1, 2]
    assert client.run_jobs() == []
    assert len(client.queued) == 2


def test_the_jobs_of_one_queue_can_be_run_alone() -> None:
    client = make_client("give", queue=lambda event: event.data["queue"])
    client.post_json("/x", {"queue": "a"})
    client.post_json("/x", {"queue": "b"})

    assert client.run_jobs("b") == [{"queue": "b"}]
    assert client.run_jobs() == [{"queue": "a"}]


def test_a_coroutine_is_awaited_as_rq_does() -> None:
    client = make_client("give_later")
    client.post_json("/x", 7)

    assert client.run_jobs() == [7]


def test_a_job_changes_nothing_that_was_queued() -> None:
    client = make_client("spoil")
    answer = client.post_json("/x", {"n": 1})
    client.run_jobs()

    assert answer.data == {"n": 1}


def test_what_a_job_raises_fails_the_test_and_the_rest_waits() -> None:
    client = make_client("fail")
    client.post_json("/x", {"fail": True})
    client.post_json("/x", {"fail": False})
    with pytest.raises(ArithmeticError, match="a bug in a job") as caught:
        client.run_jobs()

    assert [entry.name for entry in caught.traceback][-2:] == ["run_jobs", "fail"] or caught.traceback[
        -1
    ].name == "fail"
    assert client.run_jobs() == ["well"]


def test_a_job_that_failed_waits_again_when_its_event_is_sent_again() -> None:
    client = make_client("fail_once", dedupe="data:id", status=True)
    testing_jobs.TRIED.clear()
    answer = client.post_json("/x", {"id": 1})
    with pytest.raises(ArithmeticError):
        client.run_jobs()
    assert client.get(answer.headers["Location"]).json["state"] == "failed"

    assert client.send_again(answer).duplicate
    assert client.get(answer.headers["Location"]).json["state"] == "queued"
    assert client.run_jobs() == ["well"]
    assert client.send_again(answer).duplicate
    assert client.run_jobs() == []


def test_nothing_is_left_running_after_a_job_has_failed() -> None:
    client = make_client("fail")
    client.post_json("/x", {"fail": True})
    with pytest.raises(ArithmeticError):
        client.run_jobs()

    assert testing_jobs.current() is None


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("missing", "has no missing"),
        ("NUMBER", "is no function"),
    ],
)
def test_a_job_that_no_worker_could_import_is_told(job: str, said: str) -> None:
    client = make_client(job)
    client.post_json("/x", 1)
    with pytest.raises(ClientError, match=f"tests.testing_jobs.{job} would fail in every worker.*{said}"):
        client.run_jobs()


def test_a_job_may_note_its_progress() -> None:
    client = make_client("note_progress")
    client.post_json("/x", 1)

    assert client.run_jobs() == ["noted"]


def test_a_job_that_asks_redis_is_told_that_there_is_none() -> None:
    client = make_client("ask_redis")
    client.post_json("/x", 1)
    with pytest.raises(ClientError, match="A job asked Redis for something"):
        client.run_jobs()
