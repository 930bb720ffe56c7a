"""What an earlier version wrote is read by this one. The files do not change with the code."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry

from trafficrelay import Event, Relay

pytestmark = pytest.mark.rq

DATA = Path(__file__).parent / "data"

relay = Relay()


@relay.route("/old/<shop>", verify=None, job="tests.jobs.echo", queue="hooks")
def mended(event: Event) -> dict[str, Any]:
    return {"shop": event.params["shop"], "order": event.data["order"], "query": event.query, "a": event.headers["x-a"]}


def put_back(client: redis.Redis, stored: dict[str, Any]) -> str:
    """Put a failed job into Redis as it was written then."""
    read = {
        part: {name: base64.b64decode(value) for name, value in stored[part].items()} for part in ("hash", "result")
    }
    client.hset(f"rq:job:{stored['id']}", mapping=read["hash"])
    client.xadd(f"rq:results:{stored['id']}", read["result"])
    client.zadd("rq:failed:hooks", {stored["id"]: -1})
    client.sadd("rq:queues", "rq:queue:hooks")
    id_: str = stored["id"]
    return id_


@pytest.mark.parametrize("serializer", ["pickle", "json"])
def test_a_dead_letter_of_format_1_is_run_again(client: redis.Redis, serializer: str) -> None:
    """By a stock worker, after `rq requeue`; its traceback is read too."""
    id_ = put_back(client, json.loads((DATA / "dead-letter-v1.json").read_text())[serializer])
    said = None if serializer == "pickle" else serializer
    letter = RQJob.fetch(id_, connection=client, serializer=said)
    assert "KeyError" in letter.latest_result().exc_string
    FailedJobRegistry("hooks", connection=client, serializer=said).requeue(id_)
    relay._source = relay._outbox = None
    relay._serializer = said
    SimpleWorker([Queue("hooks", connection=client, serializer=said)], connection=client, serializer=said).work(
        burst=True
    )

    (made,) = [key.decode()[7:] for key in client.keys("rq:job:*") if not key.endswith(b"-0")]
    expected = {"shop": "acme", "order": 7, "query": {"a": ["1", "2"]}, "a": "b"}
    assert RQJob.fetch(id_, connection=client, serializer=said).return_value() == [made]
    assert list(RQJob.fetch(made, connection=client, serializer=said).args) == [expected]
