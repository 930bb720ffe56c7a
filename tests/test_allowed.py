"""With JSON a worker can run what the routes name and nothing else: nothing else is imported, called or unpickled."""

from __future__ import annotations

import base64
import importlib
import json
import pickle
import subprocess
import sys
import uuid
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry, StartedJobRegistry
from webtest import TestApp

from tests.support import make_route
from trafficrelay import DeclarationError, Event, Relay, per_event
from trafficrelay.errors import JobRefused
from trafficrelay.worker.allowed import Allowed, DisarmedJob

pytestmark = pytest.mark.rq

relay = Relay(serializer="json")


@relay.route("/a", verify=None, job="tests.jobs.echo", queue="hooks")
def take(event: Event) -> Any:
    if event.data == "wrong":
        raise KeyError("mend me")
    return event.data


ALLOWED = Allowed.of(relay)


class Checked(RQJob):
    """What a worker that asks does: it asks before it runs a job."""

    def perform(self) -> Any:
        ALLOWED.check(self)
        return super().perform()


class Trap:
    """A module that leaves a trace when it is imported, and a pickle that does when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.name = f"trap_{uuid.uuid4().hex}"
        self.trace = folder / "sprung"
        touch = f"import pathlib\npathlib.Path({str(self.trace)!r}).touch()\n"
        (folder / f"{self.name}.py").write_text(f"{touch}def run(*_, **__): pass\n")
        self.pickle = pickle.dumps(_Touching(self.trace))


class _Touching:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.trace,)


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trap:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    return Trap(tmp_path)


@pytest.fixture
def id_(redis_url: str) -> str:
    """A job of the relay, in its queue."""
    return send(redis_url, {"n": 1})


def send(url: str, data: Any) -> str:
    with closing(Relay(url, serializer="json")) as mine:
        mine._module = __name__
        mine.route("/a", verify=None, job="tests.jobs.echo", queue="hooks")(take)
        said = TestApp(mine.app).post_json("/a", data, status=202).json
    return str(said["jobs"][0] if said["jobs"] else f"{said['id']}-0")


def rewrite(client: redis.Redis, id_: str, data: Any, **fields: Any) -> None:
    """Write into a job as somebody does who can write to Redis."""
    written = data if isinstance(data, bytes) else json.dumps(data).encode()
    client.hset(f"rq:job:{id_}", mapping={"data": zlib.compress(written), **fields})


def fetched(client: redis.Redis, id_: str, cls: type[RQJob] = RQJob) -> RQJob:
    return cls.fetch(id_, connection=client, serializer="json")  # type: ignore[arg-type]


def work(client: redis.Redis, job_class: type[RQJob] = Checked) -> None:
    queue = Queue("hooks", connection=client, serializer="json", job_class=job_class)
    SimpleWorker([queue], connection=client, serializer="json", job_class=job_class).work(burst=True)


def failure(client: redis.Redis, id_: str) -> str:
    result = fetched(client, id_).latest_result()
    assert result is not None
    return str(result.exc_string).rstrip().splitlines()[-1]


# What is allowed


def test_the_jobs_of_the_routes_are_run(client: redis.Redis, id_: str) -> None:
    """As without the list."""
    work(client)

    assert fetched(client, id_).return_value() == {"n": 1}


def test_all_that_the_routes_name_is_allowed_and_what_the_relay_needs() -> None:
    """Dead letters are run again by jobs of the relay's own, and deliveries are such jobs."""
    assert sorted(ALLOWED.functions) == [
        "tests.jobs.echo",
        "trafficrelay.dead_letter.hand_over",
        "trafficrelay.dead_letter.replay",
        "trafficrelay.deliver.deliver",
    ]


def test_a_dead_letter_is_run_again(redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a worker that asks, after `rq requeue`."""
    letter = send(redis_url, "wrong")
    monkeypatch.setattr(relay, "_source", redis_url)
    FailedJobRegistry("hooks", connection=client, serializer="json").requeue(letter)
    work(client)

    assert failure(client, letter) == "KeyError: 'mend me'"


@pytest.mark.parametrize("serializer", [None, "pickle", "tests.jobs"])
def test_another_serializer_than_json_is_refused(serializer: str | None) -> None:
    """A pickle runs code when it is read, before anything could be asked."""
    with pytest.raises(DeclarationError, match='serializer="json"'):
        Allowed.of(Relay(serializer=serializer))


def test_json_may_be_named_in_full() -> None:
    """As `rq worker --serializer` is given it."""
    assert Allowed.of(Relay(serializer="rq.serializers.JSONSerializer")).functions


def test_a_route_that_chooses_its_job_is_refused_unless_its_jobs_are_named() -> None:
    """Nobody knows what it may choose."""
    choosing = Relay(serializer="json")
    choosing.add(make_route(rule="/choose", job=per_event(lambda event: event.data["job"])))
    with pytest.raises(DeclarationError, match="/choose chooses its job for each event") as refused:
        Allowed.of(choosing)
    allowed = Allowed.of(choosing, also=["shop.jobs.one", "shop.jobs.two"])

    assert refused.value.option == "job"
    assert {"shop.jobs.one", "shop.jobs.two"} <= allowed.functions


# What is refused


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (["os.system", None, ["true"], {}], "The job's function is none that a route names. (os.system)"),
        (["tests.jobs.fail", None, [1], {}], "none that a route names. (tests.jobs.fail)"),
        (["tests.jobs.echo\n", None, [1], {}], "none that a route names. (tests.jobs.echo�)"),
        (["echo", "tests.jobs", [1], {}], "names an object in place of a function."),
        ([["tests.jobs.echo"], None, [1], {}], "names an object in place of a function."),
        ("abcd", "names an object in place of a function."),
        (["tests.jobs.echo", None, "args", {}], "The job's arguments are none. (tests.jobs.echo)"),
        (["tests.jobs.echo", None, [1], [2]], "The job's arguments are none."),
        (["tests.jobs.echo", None, [1]], "The job's data is no JSON of RQ's; nothing of it was read."),
        (7, "no JSON of RQ's"),
        (b"\xff", "no JSON of RQ's"),
        (b"[" * 100_000, "no JSON of RQ's"),
        (pickle.dumps(("tests.jobs.echo", None, (1,), {})), "no JSON of RQ's"),
    ],
)
def test_a_job_that_somebody_rewrote_is_refused(client: redis.Redis, id_: str, data: Any, text: str) -> None:
    """It fails with a sentence, and is not run."""
    rewrite(client, id_, data)
    with pytest.raises(JobRefused) as refused:
        ALLOWED.check(fetched(client, id_))

    assert text in str(refused.value)


def test_a_function_that_no_route_names_is_not_even_imported(client: redis.Redis, id_: str, trap: Trap) -> None:
    """Importing a module runs it. Without the list it is: the trap works."""
    data = [f"{trap.name}.run", None, ["x"], {}]
    rewrite(client, id_, data)
    work(client)
    refused = failure(client, id_)
    sprung = trap.trace.exists()
    Queue("hooks", connection=client, serializer="json").enqueue_job(fetched(client, id_))
    work(client, RQJob)

    assert refused.startswith("trafficrelay.errors.working.JobRefused: The job's function is none that a route names.")
    assert not sprung
    assert trap.trace.exists()


@pytest.mark.parametrize("kind", ["success", "failure", "stopped"])
def test_a_callback_is_refused_and_not_called(client: redis.Redis, id_: str, trap: Trap, kind: str) -> None:
    """Neither for the job, nor for its failure."""
    client.hset(f"rq:job:{id_}", f"{kind}_callback_name", f"{trap.name}.run")
    work(client)

    assert "The job has a callback, and the relay gives none." in failure(client, id_)
    assert not trap.trace.exists()


def test_a_failure_of_a_rewritten_job_calls_no_callback(client: redis.Redis, id_: str, trap: Trap) -> None:
    """Whatever it is refused for."""
    rewrite(client, id_, ["os.system", None, ["true"], {}], failure_callback_name=f"{trap.name}.run")
    work(client)
    refused = failure(client, id_)
    rewrite(client, id_, b"\xff")
    job = fetched(client, id_)
    with pytest.raises(JobRefused):
        ALLOWED.check(job)

    assert refused.endswith("(os.system)")
    assert job.failure_callback is None
    assert not trap.trace.exists()


def test_a_webhook_of_rqs_is_refused_and_not_sent(client: redis.Redis, id_: str) -> None:
    """It would have the worker send requests to wherever somebody likes."""
    hooks = [{"url": "http://127.0.0.1:1/", "job_status": "failed", "method": "GET", "headers": None, "timeout": 1}]
    client.hset(f"rq:job:{id_}", "webhooks", json.dumps(hooks))
    job = fetched(client, id_)
    with pytest.raises(JobRefused, match="has a webhook of RQ's"):
        ALLOWED.check(job)

    assert job.webhooks == []


@pytest.mark.parametrize("function", ["trafficrelay.dead_letter.replay", "trafficrelay.deliver.deliver"])
def test_a_job_of_the_relays_own_imports_nothing_else(client: redis.Redis, id_: str, trap: Trap, function: str) -> None:
    """They are told where the relay is, and look for it there."""
    rewrite(client, id_, [function, None, [{"v": 1, "modules": [__name__, trap.name], "event": {}}], {}])
    work(client)

    assert failure(client, id_).endswith(f"in a module that does not declare it. ({trap.name})")
    assert not trap.trace.exists()


@pytest.mark.parametrize("arguments", [[], [1], [{}, {}], [{"modules": "os"}], [{"modules": [7]}], [{"modules": {}}]])
def test_a_job_of_the_relays_own_has_the_relays_argument(client: redis.Redis, id_: str, arguments: list[Any]) -> None:
    """Anything else is none of its."""
    rewrite(client, id_, ["trafficrelay.dead_letter.replay", None, arguments, {}])
    with pytest.raises(JobRefused, match="none that the relay wrote"):
        ALLOWED.check(fetched(client, id_))


@pytest.mark.parametrize("field", ["data", "meta", "result", "results", "exc_info"])
def test_a_pickle_is_never_loaded(client: redis.Redis, id_: str, trap: Trap, field: str) -> None:
    """Wherever it is put. With RQ's default serializer it is: the trap works."""
    if field == "results":
        client.xadd(f"rq:results:{id_}", {"type": 1, "return_value": base64.b64encode(trap.pickle)})
    elif field == "data":
        rewrite(client, id_, trap.pickle)
    else:
        client.hset(f"rq:job:{id_}", field, trap.pickle)
    work(client)

    assert not trap.trace.exists()
    if field == "meta":
        client.hset(f"rq:job:{id_}", field, trap.pickle)
        RQJob.fetch(id_, connection=client)
        assert trap.trace.exists()


def test_a_worker_that_reads_pickles_is_refused(client: redis.Redis, id_: str) -> None:
    """Nothing of the job's data has been read by then."""
    job = RQJob.fetch(id_, connection=client)
    rewrite(client, id_, b"never read")
    with pytest.raises(JobRefused, match="give it `--serializer json`"):
        ALLOWED.check(job)


@pytest.mark.parametrize(("job_class", "sprung"), [(DisarmedJob, False), (RQJob, True)])
def test_the_clean_up_of_what_died_calls_no_callback(
    client: redis.Redis, id_: str, trap: Trap, job_class: type[RQJob], *, sprung: bool
) -> None:
    """RQ calls the failure callback of jobs that it finds abandoned, which nobody has checked."""
    client.hset(f"rq:job:{id_}", mapping={"status": "started", "failure_callback_name": f"{trap.name}.run"})
    client.zadd("rq:wip:hooks", {f"{id_}:execution": 1})
    StartedJobRegistry("hooks", connection=client, serializer="json", job_class=job_class).cleanup()

    assert fetched(client, id_).get_status() == "failed"
    assert trap.trace.exists() is sprung


def test_what_is_named_is_cut_and_harmless() -> None:
    """Its words end up in the log and in the failed job."""
    with pytest.raises(JobRefused) as refused:
        ALLOWED._check_modules("x", [{"modules": ["\x1b" + "y" * 10_000]}])

    assert len(refused.value.named) == 100
    assert "\x1b" not in str(refused.value)


def test_a_worker_that_asks_needs_no_bottle() -> None:
    """Importing it costs what workers have anyway."""
    code = "import sys, trafficrelay.worker.allowed\nprint('bottle' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
