"""Stock `rq worker` processes on what a relay took: jobs, retries, delays, dead letters and their replay."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest
import redis
from rq import Queue
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry
from webtest import TestApp

from tests.waiting import wait_until
from trafficrelay import Relay, Route
from trafficrelay.event import now
from trafficrelay.verify import basic, bearer, github, hmac_signature, standard_webhooks

pytestmark = pytest.mark.rq

REPO = Path(__file__).parents[1]

Run = Callable[..., str]


@pytest.fixture
def rq(redis_url: str, tmp_path: Path) -> Run:
    """Run one of RQ's own commands, `worker` until there is no work, and give what it printed."""

    def run(command: str, *args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "rq.cli", command, "--url", redis_url, *args],
            cwd=REPO,
            # Modules that tests write anew within a second must not be read from a cache.
            env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


@pytest.fixture
def work(rq: Run) -> Callable[[], str]:
    return lambda: rq("worker", "--burst", "hooks")


@pytest.fixture
def take(redis_url: str) -> Iterator[Callable[..., list[str]]]:
    """Send one event through a relay with a route of these options, and give the ids of its jobs."""
    relays = []

    def post(data: Any, **options: Any) -> list[str]:
        relay = Relay(redis_url)
        relays.append(relay)
        relay.add(Route("/a", **({"verify": None, "job": "tests.jobs.echo", "queue": "hooks"} | options)))
        jobs: list[str] = TestApp(relay.app).post_json("/a", data, status=202).json["jobs"]
        return jobs

    yield post
    for relay in relays:
        relay.close()


def fetch(client: redis.Redis, id_: str) -> RQJob:
    return RQJob.fetch(id_, connection=client)


def failed(client: redis.Redis) -> list[str]:
    ids: list[str] = FailedJobRegistry("hooks", connection=client).get_job_ids()
    return ids


# Jobs


def test_a_stock_worker_runs_what_the_relay_took(
    take: Callable[..., list[str]], work: Callable[[], str], client: redis.Redis
) -> None:
    """The job's argument is the data, its result is kept, and it lies in the finished registry."""
    data = {"name": "Zoë", "items": [1, 2.5, None, True]}
    [id_] = take(data)
    work()

    assert fetch(client, id_).return_value() == data
    assert fetch(client, id_).get_status() == "finished"
    assert FinishedJobRegistry("hooks", connection=client).get_job_ids() == [id_]


def test_jobs_run_in_the_order_of_their_events(
    take: Callable[..., list[str]], work: Callable[[], str], client: redis.Redis
) -> None:
    """First in, first out, except for what goes to the front."""
    ids = [take(number, at_front=number == 2)[0] for number in range(3)]
    work()
    ended = [fetch(client, id_).ended_at for id_ in (ids[2], ids[0], ids[1])]

    assert None not in ended
    assert ended == sorted(ended)


def test_a_failing_job_is_tried_again_and_kept(
    take: Callable[..., list[str]], work: Callable[[], str], client: redis.Redis
) -> None:
    """With retry=2 it runs three times and ends in the failed registry with its traceback."""
    [id_] = take("data", job="tests.jobs.fail", retry=2)
    printed = work()
    job = fetch(client, id_)
    result = job.latest_result()

    assert printed.count("RuntimeError: this job always fails") == 3
    assert failed(client) == [id_]
    assert (job.get_status(), job.retries_left) == ("failed", 0)
    assert result is not None
    assert "this job always fails" in str(result.exc_string)


def test_a_job_without_retry_is_tried_once(
    take: Callable[..., list[str]], work: Callable[[], str], client: redis.Redis
) -> None:
    """No retry is RQ's default and the relay's."""
    [id_] = take("data", job="tests.jobs.fail")
    printed = work()

    assert printed.count("RuntimeError: this job always fails") == 1
    assert failed(client) == [id_]


def test_a_delayed_job_waits_for_its_time_and_a_scheduler(
    take: Callable[..., list[str]], rq: Run, client: redis.Redis
) -> None:
    """Before its time even a worker with a scheduler leaves it; after it one runs it."""
    [id_] = take("data", delay=2)
    due = client.zscore("rq:scheduled:hooks", id_)
    rq("worker", "--burst", "--with-scheduler", "hooks")
    early, now = fetch(client, id_).get_status(), time.time()
    wait_until(lambda: time.time() > due + 0.5)
    rq("worker", "--burst", "--with-scheduler", "hooks")

    assert early == "scheduled" or now > due, "the machine was too slow to look before the time"
    assert fetch(client, id_).return_value() == "data"
    assert ScheduledJobRegistry("hooks", connection=client).count == 0


def test_delayed_retries_wait_in_the_scheduled_registry(
    take: Callable[..., list[str]], work: Callable[[], str], client: redis.Redis
) -> None:
    """retry=[60] schedules the second try a minute later."""
    [id_] = take("data", job="tests.jobs.fail", retry=[60])
    work()

    assert ScheduledJobRegistry("hooks", connection=client).get_job_ids() == [id_]
    assert time.time() + 30 < client.zscore("rq:scheduled:hooks", id_) < time.time() + 90


def test_rq_info_shows_the_relays_queues(take: Callable[..., list[str]], rq: Run) -> None:
    """RQ's own tools see the queues and what waits in them."""
    take("data")
    take("data")
    take("data", queue="other")
    shown = [line.replace(",", " ").split() for line in rq("info", "--raw", "--only-queues").splitlines()]

    assert sorted(line[1:3] for line in shown if line[:1] == ["queue"]) == [["hooks", "2"], ["other", "1"]]


def test_rq_requeue_runs_a_failed_job_again(
    take: Callable[..., list[str]], rq: Run, work: Callable[[], str], client: redis.Redis
) -> None:
    """A job that failed goes back into its queue and runs again."""
    [id_] = take("data", job="tests.jobs.fail")
    work()
    rq("requeue", "--queue", "hooks", id_)
    waiting = Queue("hooks", connection=client).job_ids
    printed = work()

    assert waiting == [id_]
    assert "this job always fails" in printed
    assert failed(client) == [id_]


def test_a_worker_needs_nothing_of_the_relay(
    take: Callable[..., list[str]], work: Callable[[], str], client: redis.Redis, tmp_path: Path
) -> None:
    """Running a plain job imports neither trafficrelay nor what it serves with."""
    (tmp_path / "plain_jobs.py").write_text("import sys\ndef modules(data): return sorted(sys.modules)\n")
    [id_] = take("data", job="plain_jobs.modules")
    work()
    modules = {name.partition(".")[0] for name in fetch(client, id_).return_value()}

    assert "rq" in modules
    assert not modules & {"trafficrelay", "bottle", "waitress", "granian", "msgspec"}


# The context


CREDENTIALS = {
    "Authorization": "Bearer t0ken-authorization",
    "Proxy-Authorization": "Basic t0ken-proxy",
    "Cookie": "session=t0ken-cookie",
    "X-Api-Key": "t0ken-api-key",
    "X-Auth-Token": "t0ken-auth-token",
}


def test_a_jobs_meta_says_where_it_comes_from(
    take: Callable[..., list[str]], client: redis.Redis, redis_url: str
) -> None:
    """job.meta holds the event's context with a format version."""
    relay = Relay(redis_url)
    relay.add(Route("/hooks/<shop>/<number:int>", verify=None, job="tests.jobs.echo", queue="hooks"))
    with closing(relay):
        answer = (
            TestApp(relay.app)
            .post_json(f"/hooks/{quote('møbler')}/7?token=s3cret", {}, headers={"X-GitHub-Event": "push"})
            .json
        )
    meta = fetch(client, answer["jobs"][0]).meta
    context = meta["trafficrelay"]

    assert list(meta) == ["trafficrelay"]
    assert (context["v"], context["event"]) == (1, answer["id"])
    assert (context["route"], context["method"]) == ("/hooks/<shop>/<number:int>", "POST")
    assert context["params"] == {"shop": "møbler", "number": 7}
    assert context["headers"]["x-github-event"] == "push"
    assert "s3cret" not in repr(meta)


def stored(client: redis.Redis, id_: str) -> str:
    job = fetch(client, id_)
    return repr((job.args, job.kwargs, job.meta, job.description))


@pytest.mark.parametrize("broken", [False, True], ids=["job", "dead letter"])
@pytest.mark.parametrize(
    "verifier",
    [
        None,
        github(secret="k"),
        hmac_signature("k", header="X-Shop-Hmac", encoding="base64"),
        standard_webhooks("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        bearer("t0ken-bearer"),
        basic("ada", "t0ken-basic"),
    ],
    ids=["none", "github", "hmac", "standard", "bearer", "basic"],
)
def test_no_credential_is_stored(redis_url: str, client: redis.Redis, verifier: Any, broken: bool) -> None:
    """Neither a job nor a dead letter holds what proves something by being known, nor the name of its header."""

    def transform(event: Any) -> Any:
        return None if broken else event.data

    relay = Relay(redis_url)
    relay.add(Route("/a", verify=verifier, job="tests.jobs.echo", queue="hooks", transform=transform))
    body = b'{"order": 1}'
    proof = verifier.sign(body, now()) if verifier else {}
    headers = CREDENTIALS | proof | {"Content-Type": "application/json", "X-Plain": "kept"}
    with closing(relay):
        event = TestApp(relay.app).post("/a", body, headers, status=202).json["id"]
    text = stored(client, f"{event}-{0 if broken else 1}")
    signature = [value for name, value in proof.items() if name.lower() not in ("webhook-id", "webhook-timestamp")]

    assert "'x-plain': 'kept'" in text
    assert "t0ken" not in text
    assert not any(value in text for value in signature)
    assert not any(f"'{name.lower()}'" in text for name in CREDENTIALS)


# Dead letters


class Hooks:
    """A module with a relay whose transform can be broken and mended, in a file that workers import."""

    BROKEN = "raise ValueError('mend me, ' + event.data['name'])"
    WORSE = "raise KeyError('still broken')"
    MENDED = "return {'name': event.data['name'], 'shop': event.params['shop'], 'kind': event.headers['x-kind']}"
    SPLITTING = "yield from event.data['name']"

    def __init__(self, folder: Path) -> None:
        self.name = f"hooks_{uuid.uuid4().hex}"
        self.file = folder / f"{self.name}.py"

    def write(self, body: str, options: str = "") -> None:
        self.file.write_text(
            dedent(f"""
            from trafficrelay import Relay

            relay = Relay()

            @relay.route("/hooks/<shop>", verify=None, job="tests.jobs.echo", queue="hooks", {options})
            def transform(event):
                {body}
            """)
        )

    def load(self) -> ModuleType:
        importlib.invalidate_caches()
        return importlib.import_module(self.name)


@pytest.fixture
def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hooks]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    hooks = Hooks(tmp_path)
    yield hooks
    sys.modules.pop(hooks.name, None)


def send(relay: Relay, redis_url: str, data: Any, path: str = "/hooks/acme") -> dict[str, Any]:
    """Post one event to a relay that is in no program yet, and give the answer."""
    relay.bind(redis_url)
    with closing(relay):
        answer: dict[str, Any] = TestApp(relay.app).post_json(path, data, headers={"X-Kind": "new"}, status=202).json
        return answer


@pytest.fixture
def letter(hooks: Hooks, redis_url: str) -> str:
    """The id of a dead letter's job: an event whose transform raised."""
    hooks.write(Hooks.BROKEN)
    return f"{send(hooks.load().relay, redis_url, {'name': 'Zoë'})['id']}-0"


def test_an_event_whose_transform_raised_lies_among_the_failed_jobs(letter: str, client: redis.Redis, rq: Run) -> None:
    """With its traceback, and with no job in a queue; `rq info` counts it."""
    result = fetch(client, letter).latest_result()
    queued = Queue("hooks", connection=client).job_ids

    assert failed(client) == [letter]
    assert queued == []
    assert result is not None
    assert "ValueError: mend me, Zoë" in str(result.exc_string)
    assert "in transform" in str(result.exc_string)
    assert "hooks" in rq("info", "--only-queues")


@pytest.mark.parametrize(
    ("mended", "results"),
    [
        (Hooks.MENDED, [{"name": "Zoë", "shop": "acme", "kind": "new"}]),
        (Hooks.SPLITTING, ["Z", "o", "ë"]),
        ("from trafficrelay import DROP; return DROP", []),
    ],
    ids=["one", "several", "dropped"],
)
def test_a_requeued_letter_becomes_the_events_jobs(
    letter: str,
    hooks: Hooks,
    rq: Run,
    work: Callable[[], str],
    client: redis.Redis,
    mended: str,
    results: list[Any],
) -> None:
    """Once the transform is mended, `rq requeue` and a stock worker do what the first try should have done."""
    hooks.write(mended)
    rq("requeue", "--queue", "hooks", letter)
    work()
    replayed = fetch(client, letter)
    jobs = [f"{letter.removesuffix('0')}{number}" for number in range(1, len(results) + 1)]

    assert (replayed.get_status(), replayed.return_value()) == ("finished", jobs)
    assert [fetch(client, id_).return_value() for id_ in jobs] == results
    assert failed(client) == []


def test_a_replayed_job_has_the_context_of_its_event(
    letter: str, hooks: Hooks, rq: Run, work: Callable[[], str], client: redis.Redis
) -> None:
    """The job cannot tell that its event was a dead letter once."""
    before = fetch(client, letter).meta
    hooks.write(Hooks.MENDED)
    rq("requeue", "--queue", "hooks", letter)
    work()

    assert fetch(client, letter.removesuffix("0") + "1").meta == before


@pytest.mark.parametrize("marks", ["fresh", "expired"])
def test_a_letter_that_is_replayed_twice_hands_over_once(
    letter: str, hooks: Hooks, rq: Run, work: Callable[[], str], client: redis.Redis, marks: str
) -> None:
    """A worker that dies after the handover leaves the letter to be run again, at once or minutes later."""
    hooks.write(Hooks.MENDED)
    rq("requeue", "--queue", "hooks", letter)
    work()
    job = letter.removesuffix("0") + "1"
    first = fetch(client, job).ended_at
    if marks == "expired":
        client.delete(*client.keys("trafficrelay:*"))
    Queue("hooks", connection=client).enqueue_job(fetch(client, letter))
    work()

    assert fetch(client, letter).return_value() == [job]
    assert fetch(client, job).ended_at == first
    assert FinishedJobRegistry("hooks", connection=client).count == 2


def test_a_letter_fails_again_while_the_transform_still_raises(
    letter: str, hooks: Hooks, rq: Run, work: Callable[[], str], client: redis.Redis
) -> None:
    """It is back among the failed jobs with the new traceback, and can be mended later."""
    hooks.write(Hooks.WORSE)
    rq("requeue", "--queue", "hooks", letter)
    work()
    result = fetch(client, letter).latest_result()
    again = failed(client)
    hooks.write(Hooks.MENDED)
    rq("requeue", "--queue", "hooks", letter)
    work()

    assert again == [letter]
    assert result is not None
    assert "KeyError: 'still broken'" in str(result.exc_string)
    assert fetch(client, letter).get_status() == "finished"


def test_a_replay_passes_by_the_duplicate_key(
    hooks: Hooks, redis_url: str, rq: Run, work: Callable[[], str], client: redis.Redis
) -> None:
    """The letter's own event is remembered under the key; that does not stop its replay."""
    hooks.write(Hooks.BROKEN, "dedupe='data:name'")
    letter = f"{send(hooks.load().relay, redis_url, {'name': 'Zoë'})['id']}-0"
    hooks.write(Hooks.MENDED, "dedupe='data:name'")
    rq("requeue", "--queue", "hooks", letter)
    work()

    assert len(fetch(client, letter).return_value()) == 1


def test_a_letter_whose_route_is_gone_says_so(
    letter: str, hooks: Hooks, rq: Run, work: Callable[[], str], client: redis.Redis
) -> None:
    """The reader of the failed registry learns what is missing."""
    hooks.file.write_text("from trafficrelay import Relay\nrelay = Relay()\n")
    rq("requeue", "--queue", "hooks", letter)
    work()
    result = fetch(client, letter).latest_result()

    assert result is not None
    assert "has no relay with the route POST /hooks/<shop>" in str(result.exc_string)


@pytest.mark.parametrize(
    ("declaration", "mended"),
    [
        (
            'relay.add(Route("/hooks/<shop>", transform=TRANSFORMS.split_off, **OPTIONS))',
            "def split_off(event): return event.data['name']",
        ),
        (
            'relay.add(Route("/hooks/<shop>", transform=functools.partial(TRANSFORMS.split_off), **OPTIONS))',
            "def split_off(event): return event.data['name']",
        ),
        (
            'relay.add(Route("/hooks/<shop>", **OPTIONS | {"job": per_event(TRANSFORMS.split_off)}))',
            "def split_off(event): return 'tests.jobs.echo'",
        ),
    ],
    ids=["function of another module", "partial", "no transform, failing chooser"],
)
def test_a_letter_is_replayed_wherever_its_transform_is_defined(
    hooks: Hooks,
    redis_url: str,
    rq: Run,
    work: Callable[[], str],
    client: redis.Redis,
    tmp_path: Path,
    declaration: str,
    mended: str,
) -> None:
    """What counts is the module that declares the relay, not the one that a function happens to be from."""
    transforms = tmp_path / f"transforms_{hooks.name}.py"
    transforms.write_text("def split_off(event): raise ValueError('mend me')\n")
    hooks.file.write_text(
        dedent(f"""
        import functools
        import {transforms.stem} as TRANSFORMS
        from trafficrelay import Relay, Route, per_event

        relay = Relay()
        OPTIONS = dict(verify=None, job="tests.jobs.echo", queue="hooks")
        {declaration}
        """)
    )
    letter = f"{send(hooks.load().relay, redis_url, {'name': 'Zoë'})['id']}-0"
    transforms.write_text(f"{mended}\n")
    rq("requeue", "--queue", "hooks", letter)
    work()
    result = fetch(client, letter).latest_result()

    assert result is not None
    assert result.exc_string is None
    assert len(fetch(client, letter).return_value()) == 1


@pytest.mark.parametrize("start", [["-m", "program"], ["program.py"]], ids=["-m", "a file"])
def test_a_letter_of_a_program_names_a_module_that_others_can_import(tmp_path: Path, start: list[str]) -> None:
    """A relay that is declared in the program which is run is in `__main__` there, and nowhere else."""
    (tmp_path / "program.py").write_text(
        "from trafficrelay import MemoryOutbox, Relay\nfrom webtest import TestApp\n"
        "outbox = MemoryOutbox()\nrelay = Relay(outbox=outbox)\n"
        '@relay.route("/a", verify=None, job="tests.jobs.echo")\n'
        "def broken(event): return None\n"
        'TestApp(relay.app).post("/a", b"x", status=202)\n'
        'print(outbox.dead_letters[0].data["modules"][0])\n'
    )
    done = subprocess.run(
        [sys.executable, *start],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "program\n"
