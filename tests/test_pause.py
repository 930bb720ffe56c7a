"""`trafficrelay pause` and `resume`: they count at once, for every process of a relay, and lose nothing."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import bottle
import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry
from webtest import TestApp, TestResponse

from tests.handovers import dump, queued
from tests.standalone_support import Run, post, write_modules
from tests.waiting import wait_until
from trafficrelay.cli import main

pytestmark = pytest.mark.rq


class Mounted:
    """A relay in a Bottle host, as programs have it, and the command line on the same Redis."""

    def __init__(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.module: ModuleType = importlib.import_module(name)
        self.target = f"{name}:relay"
        host = bottle.Bottle()
        host.mount("/relay/", self.module.relay.app)
        self._app = TestApp(host)
        self._capsys = capsys

    def post(self, data: Any, path: str = "/a", status: int = 202, **headers: str) -> TestResponse:
        return self._app.post_json(f"/relay{path}", data, status=status, headers=headers)

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run a command here; what it says on stdout, or else on stderr."""
        self._capsys.readouterr()
        name, *rest = arguments
        try:
            code = main([name, self.target, *rest])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = self._capsys.readouterr()
        return code, captured.out or captured.err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


@contextlib.contextmanager
def mounted(folder: Path, options: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Mounted]:
    name = f"hooks_{uuid.uuid4().hex}"
    (folder / f"{name}.py").write_text(
        dedent(f"""
        from trafficrelay import Relay

        relay = Relay({options})

        @relay.route("/a", verify=None, job="tests.jobs.echo", queue="hooks", dedupe="header:X-Id")
        @relay.route("/b", verify=None, job="tests.jobs.echo", queue="hooks")
        def transform(event):
            if event.data == "broken":
                raise ValueError
            return event.data
        """)
    )
    importlib.invalidate_caches()
    one = Mounted(name, capsys)
    try:
        yield one
    finally:
        one.module.relay.close()
        sys.modules.pop(name, None)


@pytest.fixture
def plain(folder: Path, redis_url: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Mounted]:
    with mounted(folder, repr(redis_url), capsys) as one:
        yield one


@pytest.fixture
def spooling(folder: Path, redis_url: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Mounted]:
    with mounted(folder, f"{redis_url!r}, spool='spool.db'", capsys) as one:
        yield one


def arguments(client: redis.Redis) -> list[Any]:
    """The arguments of the jobs that wait, in order."""
    return [RQJob.fetch(id_, connection=client).args[0] for id_ in queued(client)]


# Refusing


def test_a_paused_route_refuses_until_it_is_resumed(plain: Mounted, client: redis.Redis) -> None:
    """With 503 and a Retry-After, in the program that has been running all the time; other routes go on."""
    plain.post(1)
    paused = plain.command("pause", "/a")
    refused = plain.post(2, status=503)
    plain.post(3, path="/b")
    resumed = plain.command("resume", "/a")
    plain.post(4)

    assert paused == (0, "/a is paused: its senders get 503\n")
    assert refused.headers["Retry-After"] == "60"
    assert refused.content_type == "application/problem+json"
    assert resumed == (0, "No route is paused.\n")
    assert arguments(client) == [1, 3, 4]


def test_a_refused_event_leaves_no_trace(plain: Mounted, client: redis.Redis) -> None:
    """Neither a mark, which would make the sender's next try a duplicate, nor a dead letter."""
    plain.command("pause", "/a")
    before = dump(client)
    plain.post(1, status=503, X_Id="7")
    plain.post("broken", status=503)

    assert dump(client) == before


def test_a_repeated_event_is_answered_as_the_first_was(plain: Mounted, client: redis.Redis) -> None:
    """It has been taken; there is nothing to send again later."""
    first = plain.post(1, **{"X-Id": "7"}).json
    plain.command("pause", "/a")
    again = plain.post(1, **{"X-Id": "7"}).json
    plain.post(1, status=503, **{"X-Id": "8"})

    assert again == first
    assert queued(client) == first["jobs"]


def test_all_processes_of_a_standalone_relay_refuse(folder: Path, redis_url: str, client: redis.Redis) -> None:
    """Whole batches of them, from the moment at which the command has returned."""
    write_modules(folder)
    with Run(folder, "--redis", redis_url, "--processes", "2") as run, ThreadPoolExecutor(16) as pool:
        run.wait_until_up()

        def send(number: int) -> int:
            return post(run.port, "/in", str(number).encode())[0]

        before = set(pool.map(send, range(50)))
        main(["pause", "hooks:relay", "/in", "--redis", redis_url])
        meanwhile = set(pool.map(send, range(50, 150)))
        main(["resume", "hooks:relay", "/in", "--redis", redis_url])
        after = set(pool.map(send, range(150, 200)))
        run.end()
    sys.modules.pop("hooks")

    assert (before, meanwhile, after) == ({202}, {503}, {202})
    assert sorted(arguments(client)) == [*range(50), *range(150, 200)]


# Spooling


def test_a_route_that_is_paused_with_a_spool_keeps_its_events(spooling: Mounted, client: redis.Redis) -> None:
    """They are answered as ever, nothing of them is in Redis, and once it is resumed each is handed over once."""
    paused = spooling.command("pause", "/a", "--spool")
    before = dump(client)
    answers = [spooling.post(number).json for number in range(20)]
    meanwhile = dump(client)
    spooling.command("resume", "/a")
    wait_until(lambda: client.llen("rq:queue:hooks") == 20)

    assert paused == (0, "/a is paused: its events are spooled\n")
    assert meanwhile == before
    assert queued(client) == [job for answer in answers for job in answer["jobs"]]
    assert arguments(client) == list(range(20))


def test_an_event_that_is_repeated_while_it_is_spooled_is_kept_once(spooling: Mounted, client: redis.Redis) -> None:
    """The spool knows it again as Redis does."""
    spooling.command("pause", "/a", "--spool")
    first, again = (spooling.post(1, **{"X-Id": "7"}).json for _ in range(2))
    spooling.command("resume", "--all")
    spooling.post("last", path="/b")
    wait_until(lambda: client.llen("rq:queue:hooks") == 2)

    assert again == first
    assert sorted(arguments(client), key=str) == [1, "last"]


def test_other_routes_are_not_spooled(spooling: Mounted, client: redis.Redis) -> None:
    """Only the one that is paused."""
    spooling.command("pause", "/a", "--spool")
    spooling.post(1)
    spooling.post(2, path="/b")

    assert arguments(client) == [2]


def test_how_a_route_is_paused_can_be_changed(spooling: Mounted, client: redis.Redis) -> None:
    """The last word counts."""
    spooling.command("pause", "/a", "--spool")
    spooling.post(1)
    spooling.command("pause", "/a")
    spooling.post(2, status=503)
    spooling.command("resume", "/a")
    wait_until(lambda: arguments(client) == [1])


def test_a_letter_that_a_worker_runs_meanwhile_is_not_spooled(spooling: Mounted, client: redis.Redis) -> None:
    """The spool is of the processes that serve; the letter stays among the failed jobs."""
    event = spooling.post("broken").json["id"]
    spooling.command("pause", "/a", "--spool")
    FailedJobRegistry("hooks", connection=client).requeue(f"{event}-0")
    spooling.module.relay.close()
    source = Path(str(spooling.module.__file__))
    source.write_text(source.read_text().replace("raise ValueError", "return 'mended'"))
    sys.modules.pop(spooling.module.__name__)
    SimpleWorker([Queue("hooks", connection=client)], connection=client).work(burst=True)
    result = RQJob.fetch(f"{event}-0", connection=client).latest_result()

    assert result is not None
    assert "The route /a is paused." in str(result.exc_string)
    assert FailedJobRegistry("hooks", connection=client).get_job_ids() == [f"{event}-0"]


# The command line


def test_without_a_rule_it_says_what_is_paused(plain: Mounted, client: redis.Redis) -> None:
    """Of all relays on this Redis."""
    client.hset("trafficrelay:1:paused", "/elsewhere", "spool")
    plain.command("pause", "/a")
    lines = "/a is paused: its senders get 503\n/elsewhere is paused: its events are spooled (no route of this relay)\n"

    assert plain.command("pause") == (0, lines)
    assert json.loads(plain.command("pause", "--json")[1]) == {"paused": {"/a": "refuse", "/elsewhere": "spool"}}


def test_resuming_all_leaves_other_relays_alone(plain: Mounted, client: redis.Redis) -> None:
    """They share the Redis, not the decision."""
    client.hset("trafficrelay:1:paused", "/elsewhere", "refuse")
    plain.command("pause", "/a")
    plain.command("pause", "/b")
    said = plain.command("resume", "--all", "--json")

    assert said[0] == 0
    assert json.loads(said[1]) == {"paused": {"/elsewhere": "refuse"}}


def test_a_route_that_the_relay_has_no_more_can_be_resumed(plain: Mounted, client: redis.Redis) -> None:
    """It was renamed while it was paused."""
    client.hset("trafficrelay:1:paused", "/old", "refuse")

    assert plain.command("resume", "/old") == (0, "No route is paused.\n")


def test_resuming_what_is_not_paused_says_so(plain: Mounted) -> None:
    """It is no failure: the route is as it was to be."""
    assert plain.command("resume", "/a") == (0, "/a was not paused.\nNo route is paused.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("pause", "/aa"), "has no route /aa. Did you mean /a?"),
        (("resume", "/somewhere"), "has no route /somewhere. It has /a, /b."),
        (("pause", "/a", "--spool"), "has no spool to keep events in."),
        (("pause", "--spool"), "--spool needs the rule of the route that is to be paused."),
        (("resume",), "one of the arguments RULE --all is required"),
        (("pause", "--redis", ""), "--redis is empty."),
    ],
)
def test_wrong_usage_is_told(plain: Mounted, client: redis.Redis, arguments: tuple[str, ...], sentence: str) -> None:
    """With code 2, and nothing is paused."""
    code, said = plain.command(*arguments)

    assert code == 2
    assert sentence in said
    assert not client.exists("trafficrelay:1:paused")


def test_a_redis_that_is_away_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With code 1 and a sentence."""
    write_modules(folder)
    code = main(["pause", "hooks:relay", "/in", "--redis", "redis://127.0.0.1:1"])
    sys.modules.pop("hooks")

    assert code == 1
    assert capsys.readouterr().err == "trafficrelay: Redis does not answer.\n"


@pytest.mark.parametrize("name", ["data", "d" * 120], ids=["short", "long"])
def test_the_embedded_valkey_of_a_run_is_found(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Also where the path of its socket would be too long in the data directory, and only until it ends."""
    write_modules(folder)
    with Run(folder, "--no-worker", "--data", name) as run:
        run.wait_until_up()
        code = main(["pause", "hooks:relay", "/in", "--data", name])
        sys.modules.pop("hooks")
        status, _ = post(run.port, "/in", b"[7]")
        run.end()
        wait_until(run.children_gone)
    ended = main(["pause", "hooks:relay", "--data", name])
    sys.modules.pop("hooks")

    assert (code, status, ended) == (0, 503, 2)
    assert f"no Valkey of `trafficrelay run` listens in {name}" in capsys.readouterr().err
