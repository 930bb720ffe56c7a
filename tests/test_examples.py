"""The examples run as they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from rq import Queue
from webtest import TestApp

from trafficrelay import MemoryOutbox, Relay

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.rq


def test_the_quickstart_takes_a_signed_hook_and_refuses_an_unsigned_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)
    from examples.quickstart.hooks import hook, relay
    from examples.quickstart.jobs import on_hook

    outbox = MemoryOutbox()
    copy = Relay(outbox=outbox)
    for route in relay.routes:
        copy.add(route)
    body = json.dumps({"hello": "world"}).encode()
    signature = relay.routes[0].verify.sign(body, None)  # type: ignore[union-attr]
    app = TestApp(copy.app)
    app.post("/hooks/acme", body, {**signature, "Content-Type": "application/json"}, status=202)
    app.post("/hooks/acme", body, status=401)

    assert callable(hook)
    (job,) = outbox.jobs
    on_hook(job.data)
    assert capsys.readouterr().out == "acme said {'hello': 'world'}\n"


def test_the_mounted_example_takes_readings_beside_the_hosts_own_page(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFICRELAY_REDIS_URL", redis_url)
    from examples.mounted.host import host, relay
    from examples.mounted.jobs import on_reading

    host.mount("/relay/", relay.app)
    app = TestApp(host)
    app.post("/relay/devices/7", "celsius=21&celsius=22.5", status=202)
    app.post("/relay/devices/7", "celsius=20", status=202)
    jobs = Queue("events", connection=client).jobs
    relay.close()

    assert app.get("/").text == "the host's own page"
    assert [on_reading(*job.args) for job in jobs] == [22.5, 20.0]


def test_the_thread_example_serves_a_beacon_and_ends(redis_url: str, client: redis.Redis) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.in_a_thread"],
        cwd=ROOT,
        env={**os.environ, "TRAFFICRELAY_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (job,) = Queue("default", connection=client).jobs

    assert "200 image/gif" in done.stdout
    assert job.args == ({"page": "home"},)
