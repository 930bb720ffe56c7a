"""The job that hands over what was too old in the spool, in real workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry

from tests.handovers import a_handover, a_job, opened, queued
from tests.support import make_event, make_route
from trafficrelay import MemoryOutbox, dead_letter
from trafficrelay.errors import DeadLetterError
from trafficrelay.intake import Intake
from trafficrelay.outbox import Handover
from trafficrelay.outbox.pauses import REFUSE, Pauses
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.outbox.stored import as_letter

pytestmark = pytest.mark.rq

WHY = "This event was kept in the spool for 400 s."


@pytest.fixture
def outbox(redis_url: str) -> Iterator[RQOutbox]:
    with opened(redis_url) as outbox:
        yield outbox


def rq(url: str, command: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rq.cli", command, "--url", url, *args],
        cwd=Path(__file__).parents[1],
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def kept(outbox: RQOutbox, handover: Handover) -> str:
    """Put a handover where the drainer puts what is too old, and give the id of its letter's job."""
    outbox.accept(as_letter(handover, WHY))
    return f"{handover.id}-0"


def work(client: redis.Redis, *, serializer: str | None = None) -> None:
    queue = Queue("hooks", connection=client, serializer=serializer)
    SimpleWorker([queue], connection=client, serializer=serializer).work(burst=True, max_jobs=1)


def requeue(client: redis.Redis, letter: str, *, serializer: str | None = None) -> None:
    FailedJobRegistry("hooks", connection=client, serializer=serializer).requeue(letter)


def error_of(client: redis.Redis, letter: str) -> str:
    result = RQJob.fetch(letter, connection=client).latest_result()
    assert result is not None
    return str(result.exc_string)


def test_rq_requeue_and_a_stock_worker_hand_it_over(redis_url: str, outbox: RQOutbox, client: redis.Redis) -> None:
    """All of its jobs run, with their own arguments and context."""
    handover = a_handover(a_job({"name": "Zoë"}), a_job([1, 2.5, None]))
    letter = kept(outbox, handover)
    rq(redis_url, "requeue", "--queue", "hooks", letter)
    rq(redis_url, "worker", "--burst", "hooks")
    first, second = (RQJob.fetch(id_, connection=client) for id_ in handover.receipt.jobs)

    assert RQJob.fetch(letter, connection=client).return_value() == [first.id, second.id]
    assert (first.return_value(), second.return_value()) == ({"name": "Zoë"}, [1, 2.5, None])
    assert first.meta == {"trafficrelay": handover.context}
    assert FailedJobRegistry("hooks", connection=client).count == 0


@pytest.mark.parametrize("marks", ["fresh", "expired"])
def test_a_letter_that_is_run_twice_hands_over_once(outbox: RQOutbox, client: redis.Redis, marks: str) -> None:
    """A worker that dies after the hand-over leaves it to be run again, at once or a day later."""
    handover = a_handover(a_job(), a_job())
    letter = kept(outbox, handover)
    requeue(client, letter)
    work(client)
    if marks == "expired":
        client.delete(*client.keys("trafficrelay:*"))
    Queue("hooks", connection=client).enqueue_job(RQJob.fetch(letter, connection=client), at_front=True)
    work(client)

    assert RQJob.fetch(letter, connection=client).return_value() == list(handover.receipt.jobs)
    assert queued(client) == list(handover.receipt.jobs)


def test_a_job_of_it_that_is_there_after_all_is_not_written_again(outbox: RQOutbox, client: redis.Redis) -> None:
    """Redis had taken the event before it came into the spool, and whoever requeues its letter does not see that."""
    handover = a_handover(a_job("first"), a_job("second"))
    letter = kept(outbox, handover)
    outbox.accept(replace(handover, replay=True))
    requeue(client, letter)
    Queue("hooks", connection=client).remove(letter)
    Queue("hooks", connection=client).push_job_id(letter, at_front=True)
    work(client)

    assert queued(client) == list(handover.receipt.jobs)


def test_it_passes_by_the_duplicate_key(outbox: RQOutbox, client: redis.Redis) -> None:
    """The letter itself is remembered under it."""
    handover = a_handover(dedupe="delivery 7", dedupe_window=3600)
    letter = kept(outbox, handover)
    requeue(client, letter)
    work(client)

    assert queued(client) == list(handover.receipt.jobs)


def test_a_json_worker_hands_over_what_json_workers_read(redis_url: str, client: redis.Redis) -> None:
    """The jobs are written with the serializer of the worker that runs the letter."""
    handover = a_handover(a_job({"name": "Zoë"}))
    with opened(redis_url, serializer="json") as outbox:
        letter = kept(outbox, handover)
    requeue(client, letter, serializer="json")
    work(client, serializer="json")
    job = RQJob.fetch(handover.receipt.jobs[0], connection=client, serializer="json")  # type: ignore[arg-type]

    assert job.args == [{"name": "Zoë"}]


def test_a_letter_of_an_unknown_format_fails_with_a_sentence(outbox: RQOutbox, client: redis.Redis) -> None:
    """It lies among the failed jobs again, and says what is wrong."""
    letter = as_letter(a_handover(), WHY)
    assert letter.dead_letter is not None
    outbox.accept(replace(letter, dead_letter=replace(letter.dead_letter, data={"v": 7, "handover": {}})))
    requeue(client, f"{letter.id}-0")
    work(client)

    assert FailedJobRegistry("hooks", connection=client).get_job_ids() == [f"{letter.id}-0"]
    assert "format 7; this trafficrelay reads format 1" in error_of(client, f"{letter.id}-0")


def test_a_letter_of_a_paused_route_fails_again(outbox: RQOutbox, client: redis.Redis) -> None:
    """It is not handed over, and not lost."""
    handover = a_handover(route="/a")
    letter = kept(outbox, handover)
    Pauses(client).pause("/a", REFUSE)
    requeue(client, letter)
    work(client)

    assert queued(client) == []
    assert "The route /a is paused." in error_of(client, letter)


def test_outside_of_a_worker_it_says_what_to_do() -> None:
    """There is no connection that it could use."""
    with pytest.raises(DeadLetterError, match="trafficrelay replay"):
        dead_letter.hand_over({"v": 1, "handover": {}})


def test_what_a_route_says_of_its_bodies_today_counts_when_an_event_is_run_again() -> None:
    """That was what had to be mended: JSON that its sender calls text."""
    outbox = MemoryOutbox()
    kept = make_event(headers={"content-type": "text/plain"}, body=b'{"n": 1}', data=None)
    said = {"transform": lambda event: event.data["n"]}
    with pytest.raises(TypeError):
        Intake(outbox).replay(make_route(**said), kept)
    Intake(outbox).replay(make_route(content_type="application/json", **said), kept)

    assert [job.data for job in outbox.jobs] == [1]


def test_an_event_that_holds_several_today_is_not_run_again_and_says_why() -> None:
    """A batch, kept by a relay that read it as one."""
    one = {"specversion": "1.0", "source": "/", "type": "a", "data": 1}
    batch = json.dumps([one | {"id": "1"}, one | {"id": "2"}]).encode()
    several = make_event(headers={"content-type": "application/cloudevents-batch+json"}, body=batch, data=None)

    with pytest.raises(DeadLetterError, match="2 events"):
        Intake(MemoryOutbox()).replay(make_route(), several)
