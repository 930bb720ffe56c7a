"""The main job, end to end: GitHub's webhooks through a relay in a Bottle host into a stock `rq worker` and out."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bottle
import pytest
import redis
from rq import Queue
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry, FinishedJobRegistry
from webtest import TestApp

from tests.support import make_event
from trafficrelay import Event, Relay
from trafficrelay.verify import github

pytestmark = pytest.mark.rq

REPO = Path(__file__).parents[1]
SECRET = "It's a Secret to Everybody"

REAL = Path(__file__).parents[2] / "shared/data/github-webhooks.ndjson"
"""What GitHub really sent; too large for the repository."""

OWN = Path(__file__).with_name("data") / "github.ndjson"


@dataclass(frozen=True)
class Delivery:
    """One delivery as GitHub makes it."""

    event: str
    body: bytes
    id: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers that GitHub sends; the signature is made here, not by the package that verifies it."""
        signature = hmac.new(SECRET.encode(), self.body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/044aadd",
            "X-GitHub-Delivery": self.id,
            "X-GitHub-Event": self.event,
            "X-Hub-Signature-256": f"sha256={signature}",
        }


def read(file: Path) -> list[Delivery]:
    if not file.exists():
        pytest.skip(f"{file} is not at hand")
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    return [
        Delivery(line["event"], json.dumps(line["payload"], ensure_ascii=False).encode(), str(uuid.uuid4()))
        for line in lines
    ]


def reshape(event: Event) -> dict[str, Any]:
    """Keep what a job would want, and all of the payload, so that the test sees every value come out again."""
    payload = event.data
    return {
        "kind": event.headers["X-GitHub-Event"],
        "repository": payload.get("repository", {}).get("full_name"),
        "sender": payload.get("sender", {}).get("login"),
        "payload": payload,
    }


def alone(delivery: Delivery) -> dict[str, Any]:
    """Give what the transform makes of a delivery, without a relay."""
    return reshape(make_event(headers=delivery.headers, body=delivery.body, data=json.loads(delivery.body)))


STOCK = "rq.worker.Worker"
RELAY = "trafficrelay.worker.RelayWorker"


def make_relay(url: str) -> Relay:
    relay = Relay(url)
    relay.route(
        "/github",
        verify=github(secret=SECRET),
        job="tests.jobs.echo",
        queue="hooks",
        dedupe="header:X-GitHub-Delivery",
        result_ttl="1h",
    )(reshape)
    return relay


def send(app: TestApp, deliveries: list[Delivery]) -> list[dict[str, Any]]:
    return [app.post("/relay/github", one.body, one.headers, status=202).json for one in deliveries]


@pytest.mark.parametrize(
    ("file", "count", "worker"),
    [(OWN, 8, STOCK), (REAL, 329, STOCK), (OWN, 8, RELAY), (REAL, 329, RELAY)],
    ids=["own", "real", "own, RelayWorker", "real, RelayWorker"],
)
def test_every_webhook_becomes_one_finished_job(
    redis_url: str, client: redis.Redis, file: Path, count: int, worker: str
) -> None:
    """Each job's result is what the transform alone gives; a second sending queues nothing and is answered alike."""
    deliveries = read(file)
    host = bottle.Bottle()
    with closing(make_relay(redis_url)) as relay:
        host.mount("/relay/", relay.app)
        app = TestApp(host)
        first = send(app, deliveries)
        queue = Queue("hooks", connection=client)
        waiting = queue.job_ids
        while_waiting = send(app, deliveries)
        waiting_after = queue.job_ids
        subprocess.run(
            [sys.executable, "-m", "rq.cli", "worker", "-w", worker, "--url", redis_url, "--burst", "hooks"],
            cwd=REPO,
            capture_output=True,
            check=True,
            timeout=100,
        )
        finished = FinishedJobRegistry("hooks", connection=client).get_job_ids()
        when_finished = send(app, deliveries)
    jobs = [job for job in RQJob.fetch_many(waiting, connection=client) if job]

    assert len(deliveries) == count
    assert waiting == waiting_after == [f"{answer['id']}-1" for answer in first]
    assert [answer["jobs"] for answer in first] == [[id_] for id_ in waiting]
    assert sorted(finished) == sorted(waiting)
    assert [job.return_value() for job in jobs] == [alone(delivery) for delivery in deliveries]
    assert while_waiting == when_finished == first
    assert queue.count == 0
    assert FailedJobRegistry("hooks", connection=client).count == 0


def test_a_delivery_with_another_signature_is_not_taken(redis_url: str, client: redis.Redis) -> None:
    """The verifier is part of the way: a changed body leaves no job, and the true one is no duplicate afterwards."""
    [delivery, *_] = read(OWN)
    with closing(make_relay(redis_url)) as relay:
        app = TestApp(relay.app)
        app.post("/github", delivery.body + b" ", delivery.headers, status=401)
        left = client.keys()
        app.post("/github", delivery.body, delivery.headers, status=202)

    assert left == []
    assert Queue("hooks", connection=client).count == 1
