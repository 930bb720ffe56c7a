"""The examples run as they stand: each README's commands, as a user pastes them, in a copy of its folder."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from pathlib import Path

import pytest
import redis
from rq import Queue
from webtest import TestApp

from tests.hosts.running import Command, blocks, shell, user_environment
from trafficrelay import MemoryOutbox, Relay

EXAMPLES = Path(__file__).parents[1] / "examples"
HOSTS = ["bottle", "django", "fastapi", "flask", "pyramid", "thread"]
SAYS = re.compile(r"the (?:worker|first) says `(.+?)`")

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


def copied(name: str, tmp_path: Path) -> tuple[Path, str]:
    """Copy an example to where a user may have it, and give its README."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__", ".venv", ".trafficrelay"))
    return folder, (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", HOSTS)
def test_an_examples_commands_take_an_order_in_and_run_its_job(
    name: str, tmp_path: Path, redis_url: str, client: redis.Redis
) -> None:
    folder, readme = copied(name, tmp_path)
    _, serve, work, send = blocks(readme)
    environ = user_environment(redis_url)
    says = SAYS.search(readme)
    assert says is not None

    with Command(serve, folder, environ) as server, Command(work, folder, environ) as worker:
        server.wait_until_up()
        answer = shell(send.replace("8000", str(server.port)), folder, environ)
        worker.wait_for(says[1])
        unsigned = shell(
            send.replace("8000", str(server.port)).replace("hmac change-me", "hmac other"), folder, environ
        )
        page = ""
        if name != "thread":
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/") as response:
                page = response.read().decode()
        ended = server.end()

    assert " 202 " in answer.splitlines()[0]
    assert " 401 " in unsigned.splitlines()[0]
    assert "application/problem+json" in unsigned
    assert page.strip('"') == ("" if name == "thread" else "the shop's own page")
    assert ended in (0, -15, 143), server.log
    assert Queue("orders", connection=client).count == 0
    if name == "django":  # whose LOGGING is the relay's too
        assert "INFO trafficrelay POST /orders/<shop> answered 401" in server.log


def test_the_standalone_examples_commands_need_nothing_else(tmp_path: Path) -> None:
    folder, readme = copied("standalone", tmp_path)
    _, run, send, attempt = blocks(readme)
    environ = user_environment()
    says = SAYS.search(readme)
    assert says is not None

    with Command(run, folder, environ) as relay:
        relay.wait_until_up()
        answer = shell(send.replace("8000", str(relay.port)), folder, environ)
        relay.wait_for(says[1])
        ended = relay.end()
    tried = shell(attempt, folder, environ)

    assert " 202 " in answer.splitlines()[0]
    assert ended == 0, relay.log
    assert '"order": 7' in tried
    assert "4111" not in tried.splitlines()[-1]
