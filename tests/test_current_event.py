"""`current_event()`: a job knows the event that it came from."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker, Worker
from rq.job import Job as RQJob
from webtest import TestApp

from trafficrelay import Relay, current_event
from trafficrelay.errors import DeadLetterError

pytestmark = pytest.mark.rq


def send(url: str, job: str, serializer: str | None = None) -> tuple[str, str]:
    """Send an event to a relay with such a job; give its id and its job's."""
    with closing(Relay(url, serializer=serializer)) as relay:

        @relay.route("/hooks/<shop>", verify=None, job=f"tests.jobs.{job}", queue="hooks")
        def take(event: Any) -> Any:
            return {"shop": event.params["shop"], **event.data}

        headers = {"X-Kind": "push", "Authorization": "Bearer s3cret"}
        said = TestApp(relay.app).post_json("/hooks/acme?token=1", {"n": 1}, headers=headers, status=202).json
    return said["id"], said["jobs"][0]


def run(client: redis.Redis, worker: Callable[..., Any] = SimpleWorker, serializer: str | None = None) -> None:
    queue = Queue("hooks", connection=client, serializer=serializer)
    worker([queue], connection=client, serializer=serializer).work(burst=True)


@pytest.mark.parametrize("serializer", [None, "json"])
@pytest.mark.parametrize("worker", [SimpleWorker, Worker])
def test_a_job_sees_its_event(redis_url: str, client: redis.Redis, worker: Any, serializer: str | None) -> None:
    """Under RQ's own workers; what does not travel with jobs is empty."""
    event, id_ = send(redis_url, "say_event", serializer)
    run(client, worker, serializer)
    job = RQJob.fetch(id_, connection=client, serializer=serializer)  # type: ignore[arg-type]
    said = job.return_value()
    headers = said.pop("headers")

    assert said == {
        "id": event,
        "route": "/hooks/<shop>",
        "received_at": job.meta["trafficrelay"]["received_at"],
        "method": "POST",
        "params": {"shop": "acme"},
        "rest": [{}, "", ""],
        "data": {"shop": "acme", "n": 1},
        "same": True,
        "job": id_,
    }
    assert headers["x-kind"] == "push"
    assert "authorization" not in headers


def test_event_and_job_have_the_same_ids_in_every_run(redis_url: str, client: redis.Redis) -> None:
    """That is what a job can fence with."""
    _, id_ = send(redis_url, "say_event")
    run(client)
    first = RQJob.fetch(id_, connection=client).return_value()
    Queue("hooks", connection=client).enqueue_job(RQJob.fetch(id_, connection=client))
    run(client)

    assert RQJob.fetch(id_, connection=client).return_value() == first


def test_jobs_of_others_have_no_event(client: redis.Redis) -> None:
    """Whatever they keep in their meta."""
    queue = Queue("hooks", connection=client)
    metas: list[Any] = [
        {},
        {"trafficrelay": "mine"},
        {"trafficrelay": {"v": 1}},
        {"trafficrelay": {"v": 1, "event": 7}},
    ]
    jobs = [queue.enqueue("tests.jobs.no_event", 1, meta=meta) for meta in metas]
    run(client)

    assert [RQJob.fetch(job.id, connection=client).return_value() for job in jobs] == [True] * 4


def test_there_is_no_event_outside_of_a_job() -> None:
    """In the relay's own program, say."""
    assert current_event() is None


def test_threads_see_the_events_of_their_own_jobs(redis_url: str, client: redis.Redis) -> None:
    """Many jobs may run at once in a process."""
    ids = [send(redis_url, "say_event") for _ in range(8)]
    jobs = [RQJob.fetch(id_, connection=client) for _, id_ in ids]
    seen: dict[str, str] = {}
    barrier = threading.Barrier(8)

    def perform(job: RQJob) -> None:
        barrier.wait(10)
        for _ in range(50):
            seen[job.id] = job.perform()["id"]

    threads = [threading.Thread(target=perform, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == {job: event for event, job in ids}


def test_an_event_of_a_later_version_is_told(redis_url: str, client: redis.Redis) -> None:
    """It must not look like a job of somebody else's."""
    _, id_ = send(redis_url, "say_event")
    job = RQJob.fetch(id_, connection=client)
    job.meta["trafficrelay"]["v"] = 2

    with pytest.raises(DeadLetterError, match="has format 2; this trafficrelay reads format 1"):
        job.perform()


def test_asking_imports_neither_rq_nor_bottle() -> None:
    """A web host that asks in its own requests does not pay for them."""
    code = (
        "import sys, trafficrelay, trafficrelay.logs\nassert trafficrelay.current_event() is None\n"
        "print([name for name in ('rq', 'redis', 'bottle') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
