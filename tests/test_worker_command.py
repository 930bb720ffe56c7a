"""`trafficrelay worker`: it knows its relay's queues, and runs what the relay names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import redis
from rq import Queue
from rq.job import Job as RQJob
from rq.job import JobStatus
from webtest import TestApp

from tests.standalone_support import environment
from trafficrelay import Relay
from trafficrelay.cli import main
from trafficrelay.errors import DeclarationError
from trafficrelay.worker.settings import Settings

pytestmark = pytest.mark.rq

HOOKS = """\
from trafficrelay import Relay, per_event

relay = Relay(serializer="json")
chosen = Relay()
pickled = Relay()


@relay.route("/a", verify=None, job="tests.jobs.echo", queue="hooks")
def take(event):
    return event.data


@relay.route("/b", verify=None, job="tests.jobs.say_event", queue="late", at_least_once=False)
def also(event):
    return event.data


chosen.route("/a", verify=None, job="tests.jobs.echo", queue=lambda event: "some")(take)
pickled.route("/a", verify=None, job="tests.jobs.echo", queue="hooks")(take)
"""

Worker = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Worker:
    """Run the command until there is no more work."""
    (tmp_path / "worked.py").write_text(HOOKS)

    def run(target: str, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trafficrelay", "worker", target, "--redis", redis_url, "--burst", *options]
        return subprocess.run(
            command, cwd=tmp_path, env=environment(**more), capture_output=True, text=True, timeout=60, check=False
        )

    return run


def post(redis_url: str, path: str, data: object, **options: object) -> RQJob:
    """Send one event through the same routes, and give RQ's job of it."""
    relay = Relay(redis_url, serializer="json")
    kind = "tests.jobs.echo" if path == "/a" else "tests.jobs.say_event"
    relay.route(path, verify=None, job=kind, queue="hooks" if path == "/a" else "late")(lambda event: event.data)
    (job,) = TestApp(relay.app).post_json(path, data, status=202).json["jobs"]
    relay.close()
    return RQJob.fetch(job, connection=redis.Redis.from_url(redis_url), serializer="json")


def test_it_works_on_all_queues_that_the_routes_name(worker: Worker, redis_url: str) -> None:
    jobs = [post(redis_url, "/a", {"n": 1}), post(redis_url, "/b", {"n": 2})]
    done = worker("worked:relay")

    assert done.returncode == 0, done.stderr
    assert [job.get_status() for job in jobs] == [JobStatus.FINISHED, JobStatus.FINISHED]
    assert jobs[0].return_value() == {"n": 1}


def test_a_job_knows_its_event_in_a_thread_of_it(worker: Worker, redis_url: str) -> None:
    jobs = [post(redis_url, "/b", {"n": number}) for number in range(20)]
    worker("worked:relay", "--concurrency", "10")

    said = [job.return_value() for job in jobs]
    assert [one["data"]["n"] for one in said] == list(range(20))
    assert [one["job"] for one in said] == [job.id for job in jobs]
    assert {one["route"] for one in said} == {"/b"}


def test_two_processes_share_the_work(worker: Worker, redis_url: str) -> None:
    jobs = [post(redis_url, "/a", number) for number in range(20)]
    done = worker("worked:relay", "--processes", "2")

    assert done.returncode == 0, done.stderr
    assert {job.get_status() for job in jobs} == {JobStatus.FINISHED}
    assert len(set(re.findall(r"Worker (\w+): started with PID", done.stderr))) == 2


def test_only_what_the_routes_name_is_run_if_that_is_said(worker: Worker, client: redis.Redis, redis_url: str) -> None:
    """Somebody who can write to Redis has put another function into a job: it is refused before it is imported."""
    good, bad = post(redis_url, "/a", {"n": 1}), post(redis_url, "/a", {"n": 2})
    client.hset(bad.key, "data", json.dumps(["os.mkdir", None, ["made"], {}]).encode())
    done = worker("worked:relay", "--only-declared")

    assert good.get_status() == JobStatus.FINISHED
    assert bad.get_status() == JobStatus.FAILED
    assert "The job's function is none that a route names. (os.mkdir)" in done.stderr
    assert "Traceback" not in done.stderr


def test_more_jobs_may_be_named(worker: Worker, client: redis.Redis, redis_url: str) -> None:
    job = Queue("hooks", connection=client, serializer="json").enqueue("tests.jobs.no_event", None)
    worker("worked:relay", "--only-declared", "--also", "tests.jobs.no_event")

    assert job.get_status() == JobStatus.FINISHED


def test_pickles_cannot_be_told_apart_before_they_run(worker: Worker) -> None:
    done = worker("worked:pickled", "--only-declared")

    assert done.returncode == 2
    assert 'serializer="json"' in done.stderr


def test_queues_that_functions_choose_have_to_be_named(worker: Worker, client: redis.Redis) -> None:
    job = Queue("some", connection=client).enqueue("tests.jobs.echo", 1)
    refused = worker("worked:chosen")
    done = worker("worked:chosen", "--queue", "some")

    assert refused.returncode == 2
    assert "--queue" in refused.stderr
    assert done.returncode == 0
    assert job.get_status() == JobStatus.FINISHED


def test_log_lines_say_which_event_they_are_of(worker: Worker, redis_url: str, tmp_path: Path) -> None:
    job = post(redis_url, "/a", {"n": 1})
    (tmp_path / "logged.py").write_text(
        dedent("""\
        import logging
        from worked import relay
        logging.basicConfig(format="[%(event_id)s %(event_route)s %(job_id)s] %(message)s", level="WARNING")
        relay._routes[0].transform
        """)
    )
    (tmp_path / "lines.py").write_text("import logging\ndef say(data): logging.warning('here')\n")
    client = redis.Redis.from_url(redis_url)
    client.hset(job.key, "data", json.dumps(["lines.say", None, [1], {}]).encode())
    done = worker("logged:relay")

    assert f"[{job.id.partition('-')[0]} /a {job.id}] here" in done.stderr


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["worker", "--help"])

    assert "trafficrelay worker shop.hooks:relay --concurrency" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["0", "1001", "many", "-1", "1.5", "\u0661"])
def test_an_environment_that_says_nonsense_is_refused(value: str) -> None:
    with pytest.raises(DeclarationError, match="TRAFFICRELAY_CONCURRENCY is a number from 1 to 1000"):
        Settings.of({"TRAFFICRELAY_CONCURRENCY": value})


def test_an_environment_that_says_nothing_gives_the_defaults() -> None:
    assert Settings.of({"TRAFFICRELAY_CONCURRENCY": ""}) == Settings(concurrency=10, max_deaths=5)
