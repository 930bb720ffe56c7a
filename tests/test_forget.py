"""`trafficrelay forget`: what it erases, what it leaves, and what it says."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry, ScheduledJobRegistry
from webtest import TestApp

from trafficrelay import forgetting
from trafficrelay.cli import main
from trafficrelay.errors import DeclarationError
from trafficrelay.outbox import Handover
from trafficrelay.outbox.erasure import Erasure
from trafficrelay.outbox.handover import each
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.outbox.spool_file import Entry, SpoolFile
from trafficrelay.outbox.stored import as_letter, pack
from trafficrelay.search import condition

from .handovers import Dump, a_handover, a_job, dump, queued
from .standalone_support import environment
from .waiting import wait_until

pytestmark = pytest.mark.rq

ANN = "ann@example.com"
BOB = "bob@example.com"

SHOP = """\
from trafficrelay import Relay

relay = Relay({url!r}, serializer={serializer!r}, spool={spool!r})
OPEN = {{"verify": None, "queue": "hooks", "methods": ["GET", "POST"]}}
relay.route("/echo", job="tests.jobs.echo", **OPEN)(lambda event: event.data)
relay.route("/fail", job="tests.jobs.fail", **OPEN)(lambda event: event.data)
relay.route("/later", job="tests.jobs.echo", delay=3600, **OPEN)(lambda event: event.data)
relay.route("/gate", job="gate.wait", **OPEN)(lambda event: event.data)


@relay.route("/each", job="tests.jobs.echo", **OPEN)
def each(event):
    yield from event.data


@relay.route("/broken", job="tests.jobs.echo", **OPEN)
def broken(event):
    raise KeyError("nothing of it fits")
"""

GATE = """\
import time
from pathlib import Path


def wait(data):
    Path("running").touch()
    while not Path("gate").exists():
        time.sleep(0.01)
    return data
"""


class Shop:
    """A relay in a module of its own, with events in it."""

    def __init__(self, module: ModuleType, client: redis.Redis, serializer: str | None, spool: Path) -> None:
        self.relay = module.relay
        self.client = client
        self.serializer = serializer
        self.spool = spool
        self.queue = Queue("hooks", connection=client, serializer=serializer)

    def send(self, path: str, data: Any) -> str:
        """Send an event, and give its id."""
        answer = TestApp(self.relay.app).post_json(path, data, status=202)
        return str(answer.json["id"])

    def job(self, event: str, number: int = 1) -> RQJob:
        return RQJob.fetch(f"{event}-{number}", connection=self.client, serializer=self.serializer)

    def work(self) -> None:
        """Run what is queued."""
        SimpleWorker([self.queue], connection=self.client, serializer=self.serializer).work(burst=True)

    def put(self, data: Any, *, held: str = "", event: str | None = None) -> str:
        """Put an event into the spool, and give its id."""
        handover = a_handover(a_job(data), event=event, route="/echo")
        entry = as_entry(handover)
        file = SpoolFile(self.spool, max_size=2**24)
        file.add([entry])
        if held:
            (seq,) = [stored.seq for stored in file.entries() if stored.entry.id == handover.id]
            file.hold(seq, held)
        file.close()
        return handover.id

    def spooled(self) -> list[str]:
        file = SpoolFile(self.spool, max_size=2**24)
        ids = [stored.entry.id for stored in file.entries()]
        file.close()
        return ids


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "PAUSES", (0.0, 0.02, 0.02))


@pytest.fixture
def make_shop(
    client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Shop]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "gate.py").write_text(GATE)
    shops: list[Shop] = []

    def make(serializer: str | None = None) -> Shop:
        spool = tmp_path / "spool" / "events.db"
        spool.parent.mkdir(exist_ok=True)
        (tmp_path / "shop.py").write_text(SHOP.format(url=redis_url, serializer=serializer, spool=str(spool)))
        importlib.invalidate_caches()
        sys.modules.pop("shop", None)
        shops.append(Shop(importlib.import_module("shop"), client, serializer, spool))
        return shops[-1]

    yield make
    for shop in shops:
        shop.relay.close()
    sys.modules.pop("shop", None)


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    return make_shop()


def as_entry(handover: Handover) -> Entry:
    return Entry(
        id=handover.id,
        count=len(handover.jobs),
        dedupe=None,
        route=handover.route,
        since=time.time(),
        doubtful=False,
        payload=pack(handover),
    )


def forget(*options: str) -> int:
    return main(["forget", "shop:relay", *options])


def without(written: Dump, *events: str) -> set[bytes]:
    """The keys that stay when events go: all but their jobs and what hangs on these."""
    return {key for key in written if not any(f":{event}-".encode() in key for event in events)}


def put_in_all_states(shop: Shop, who: str) -> list[str]:
    """Send an event for each state that a job can rest in."""
    data = {"customer": {"email": who}}
    finished, failed, stopped = shop.send("/echo", data), shop.send("/fail", data), shop.send("/fail", data)
    shop.work()
    shop.job(stopped).set_status("stopped")
    scheduled, letter, queued_ = shop.send("/later", data), shop.send("/broken", data), shop.send("/echo", data)
    canceled = shop.send("/echo", data)
    shop.job(canceled).cancel()
    requeued = shop.send("/broken", data)
    FailedJobRegistry(queue=shop.queue).requeue(f"{requeued}-0")
    # Only users' code makes a job of ours wait for another.
    first, deferred = shop.send("/later", data), shop.send("/later", data)
    job = shop.job(deferred)
    ScheduledJobRegistry(queue=shop.queue).remove(job)
    job._dependency_ids = [f"{first}-1"]
    job.save()
    job.register_dependency()
    shop.queue.deferred_job_registry.add(job)
    job.set_status("deferred")
    return [finished, failed, stopped, scheduled, letter, queued_, canceled, requeued, first, deferred]


@pytest.mark.parametrize("serializer", [None, "json"])
def test_jobs_are_erased_in_every_state(make_shop: Callable[..., Shop], serializer: str | None) -> None:
    """Nothing of the events that are meant is left in Redis but their marks, and nothing else is touched."""
    shop = make_shop(serializer)
    gone, stay = put_in_all_states(shop, ANN), put_in_all_states(shop, BOB)
    before = dump(shop.client)

    code = forget("--where", f"customer.email={ANN}", "--yes")

    after = dump(shop.client)
    everything = repr(after).encode()
    assert code == 0
    assert set(after) == without(before, *gone)
    assert not any(f"{event}-".encode() in everything for event in gone)
    assert all(f"{event}-".encode() in everything for event in stay)
    assert {key: after[key][:2] for key in after if b"rq:job:" in key} == {
        key: before[key][:2] for key in after if b"rq:job:" in key
    }
    assert ANN.encode() not in everything


def test_what_is_found_is_counted_by_place(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many lie where, and shows neither the value nor a payload."""
    put_in_all_states(shop, ANN)
    shop.put({"customer": {"email": ANN}})
    shop.put({"customer": {"email": ANN}}, held="Redis refused the event (X).")

    code = forget("--where", f"customer.email={ANN}", "--dry-run", "--json")

    said = capsys.readouterr().out
    found = json.loads(said)
    assert code == 0
    assert found["events"] == 12
    assert found["found"] == {
        "spool, waiting": 1,
        "spool, held": 1,
        "jobs finished": 1,
        "jobs failed": 1,
        "jobs stopped": 1,
        "jobs scheduled": 2,
        "dead letters": 1,
        "jobs queued": 2,
        "jobs canceled": 1,
        "jobs deferred": 1,
        "results": 5,
    }
    assert found["erased"] is None
    assert ANN not in said


def test_a_dry_run_changes_nothing(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run leaves Redis and the spool as they are, and says so."""
    put_in_all_states(shop, ANN)
    spooled = shop.put({"customer": {"email": ANN}})
    before = dump(shop.client)

    code = forget("--where", f"customer.email={ANN}", "--dry-run")

    assert code == 0
    assert "Found 11 events:" in capsys.readouterr().out
    assert set(dump(shop.client)) == set(before)
    assert shop.spooled() == [spooled]


def test_jobs_of_others_are_left_alone(shop: Shop) -> None:
    """A job that is not a relay's stays, whatever it holds and whatever its id begins with."""
    foreign = [
        shop.queue.enqueue("tests.jobs.echo", {"email": ANN}),
        shop.queue.enqueue("tests.jobs.echo", {"email": ANN}, job_id=f"{uuid.uuid4().hex}"),
        shop.queue.enqueue("tests.jobs.echo", {"email": ANN}, job_id=f"{uuid.uuid4().hex}-x1"),
    ]
    before = dump(shop.client)

    code = forget("--where", f"email={ANN}", "--yes")

    assert code == 0
    assert dump(shop.client) == before
    assert shop.queue.job_ids == [job.id for job in foreign]


def test_an_event_goes_whole(shop: Shop) -> None:
    """If one job of an event holds the value, all of its jobs go, and those of other events keep their order."""
    first = shop.send("/each", [{"n": 1}, {"n": 2}])
    event = shop.send("/each", [{"n": 1}, {"email": ANN}, {"n": 3}])
    last = shop.send("/each", [{"n": 3}])

    code = forget("--where", f"email={ANN}", "--yes")

    assert code == 0
    assert queued(shop.client) == [f"{first}-1", f"{first}-2", f"{last}-1"]
    assert not any(event in key.decode() for key in shop.client.keys("rq:*"))


def test_jobs_that_were_pushed_to_the_front_are_erased(shop: Shop) -> None:
    """The order in which an event's jobs stand in the queue does not matter."""
    with_front = a_handover(*(a_job({"email": ANN}, at_front=True) for _ in range(5)))
    other = a_handover(a_job({"email": BOB}))
    with_some = a_handover(*(a_job({"email": ANN}) for _ in range(5)))
    outbox = RQOutbox(shop.client)
    each(outbox, [with_front, other, with_some])
    shop.client.lrem("rq:queue:hooks", 1, f"{with_some.id}-3")
    shop.client.rpush("rq:queue:hooks", f"{with_some.id}-3")
    outbox.close()

    code = forget("--where", f"email={ANN}", "--yes")

    assert code == 0
    assert queued(shop.client) == [f"{other.id}-1"]
    assert not shop.client.keys(f"rq:job:{with_some.id}*")


def test_dead_letters_are_looked_into_as_they_were_received(shop: Shop) -> None:
    """A form's field, a field of the query, and what a stored handover holds are found."""
    app = TestApp(shop.relay.app)
    form = app.post("/broken", {"email": ANN, "n": "1"}, status=202).json["id"]
    query = app.get("/broken", {"email": ANN}, status=202).json["id"]
    both = app.post_json(f"/broken?email={ANN}", {"email": BOB}, status=202).json["id"]
    other = app.post_json("/broken", {"email": BOB}, status=202).json["id"]
    letter = as_letter(a_handover(a_job({"email": ANN})), "It is old.")
    outbox = RQOutbox(shop.client)
    outbox.accept(letter)
    outbox.close()

    code = forget("--where", f"email={ANN}", "--yes")

    left = {key.decode().removeprefix("rq:job:") for key in shop.client.keys("rq:job:*")}
    assert code == 0
    assert left == {f"{other}-0"}
    assert {form, query, both, letter.id} & left == set()


def test_events_are_erased_by_their_ids(shop: Shop) -> None:
    """An id is an event's or one of its jobs'; the results go too where the job has gone before them."""
    one, two, three = (shop.send("/echo", {"n": number}) for number in range(3))
    shop.work()
    shop.client.delete(f"rq:job:{two}-1")

    code = forget("--id", f"{one}-1", "--id", two.upper(), "--yes")

    left = {key.decode() for key in shop.client.keys("rq:job:*") + shop.client.keys("rq:results:*")}
    assert code == 0
    assert left == {f"rq:job:{three}-1", f"rq:results:{three}-1"}


def test_what_is_not_there_is_no_error(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing found is said, and the exit code is 0; no spool's file is made for it."""
    code = forget("--id", uuid.uuid4().hex, "--yes")

    assert code == 0
    assert "Nothing was found." in capsys.readouterr().out
    assert list(shop.spool.parent.iterdir()) == []


def test_a_running_job_is_left_and_told(shop: Shop, tmp_path: Path, redis_url: str, capsys: Any) -> None:
    """An event of which a job runs stays whole; when it has finished the same command erases it."""
    event, other = shop.send("/gate", {"email": ANN}), shop.send("/echo", {"email": ANN})
    command = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--url", redis_url, "hooks"]
    environ = environment()
    environ["PYTHONPATH"] += f":{tmp_path}"
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.DEVNULL) as worker:
        wait_until((tmp_path / "running").exists)
        first = forget("--where", f"email={ANN}", "--yes")
        said = capsys.readouterr().out
        kept = {key.decode() for key in shop.client.keys("rq:job:*")}
        (tmp_path / "gate").touch()
        assert worker.wait(30) == 0
    result = shop.job(event).return_value()
    second = forget("--where", f"email={ANN}", "--yes")

    assert (first, second) == (1, 0)
    assert f"{event}-1" in said
    assert "Run the command again when they have finished." in said
    assert kept == {f"rq:job:{event}-1"}
    assert other not in said
    assert result == {"email": ANN}
    assert not shop.client.keys("rq:job:*") + shop.client.keys("rq:results:*")


def test_an_event_of_which_one_job_runs_stays_whole(shop: Shop) -> None:
    """The job in which it was found must not go before the one that runs: nobody would find the event again."""
    event = shop.send("/each", [{"email": ANN}, {"n": 2}])
    shop.job(event, 2).set_status("started")
    before = dump(shop.client)

    code = forget("--where", f"email={ANN}", "--yes")

    assert code == 1
    assert dump(shop.client) == before


def test_a_job_on_its_way_to_a_worker_is_taken_for_one_that_runs(shop: Shop) -> None:
    """A worker has it between the queue and its start: in RQ's intermediate list, or nowhere at all."""
    moved, popped = shop.send("/echo", {"n": 1}), shop.send("/echo", {"n": 2})
    shop.client.lmove("rq:queue:hooks", "rq:queue:hooks:intermediate", "LEFT", "RIGHT")
    shop.client.lpop("rq:queue:hooks")
    erasure = Erasure(shop.client)
    first = erasure.erase(erasure.locate({moved, popped}))
    second = erasure.erase(erasure.locate({moved, popped}), stranded_too=True)

    assert sorted(first.running) == sorted([f"{moved}-1", f"{popped}-1"])
    assert (first.jobs, second.jobs) == (0, 1)
    assert second.running == (f"{moved}-1",)


def test_a_job_with_a_live_execution_runs(shop: Shop) -> None:
    """RQ notes an execution before it says that a job is started; one that has expired is of a worker that died."""
    event = shop.send("/echo", {"n": 1})
    shop.client.lpop("rq:queue:hooks")
    executions = f"rq:executions:{event}-1"
    erasure = Erasure(shop.client)
    shop.client.zadd(executions, {"an-execution": time.time() + 60})
    first = erasure.erase(erasure.locate({event}), stranded_too=True)
    shop.client.zadd(executions, {"an-execution": time.time() - 60})
    second = erasure.erase(erasure.locate({event}), stranded_too=True)

    assert (first.jobs, first.running) == (0, (f"{event}-1",))
    assert (second.jobs, second.running) == (1, ())
    assert not shop.client.exists(executions)


def test_a_job_that_a_dead_worker_left_behind_is_erased(shop: Shop) -> None:
    """What is queued and stands in no queue at any look has no worker that will start it."""
    event = shop.send("/echo", {"email": ANN})
    shop.client.lpop("rq:queue:hooks")

    code = forget("--where", f"email={ANN}", "--yes")

    assert code == 0
    assert not shop.client.keys(f"*{event}-*")


def test_a_worker_passes_over_a_job_that_has_gone(shop: Shop) -> None:
    """A worker that has taken the id of a job whose hash has gone goes on with the next."""
    gone, next_ = shop.send("/echo", {"n": 1}), shop.send("/echo", {"n": 2})
    shop.client.delete(f"rq:job:{gone}-1")
    shop.work()

    assert shop.job(next_).return_value() == {"n": 2}
    assert not shop.client.keys(f"rq:*{gone}*")


def test_a_job_that_is_written_back_is_erased_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """RQ's scheduler may have read a job before it was erased, and write it back."""
    event = shop.send("/later", {"email": ANN})
    job = shop.job(event)

    def write_back(seconds: float) -> None:
        if seconds and not written:
            shop.queue._enqueue_job(job)
            written.append(seconds)

    written: list[float] = []
    monkeypatch.setattr(forgetting.time, "sleep", write_back)
    code = forget("--where", f"email={ANN}", "--yes")

    assert written
    assert code == 0
    assert not shop.client.keys("rq:job:*")
    assert queued(shop.client) == []


def test_spooled_events_are_erased_from_the_disk(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that wait and those that are held go; their bytes are in none of the spool's files any more."""
    ours = [shop.put({"email": ANN, "n": number, "pad": "x" * 9000}) for number in range(20)]
    ours.append(shop.put({"email": ANN}, held="Redis refused the event (X)."))
    other = shop.put({"email": BOB})
    letter = as_letter(a_handover(a_job({"email": ANN})), "It is old.")
    file = SpoolFile(shop.spool, max_size=2**24)
    file.add([as_entry(letter)])
    code = forget("--where", f"email={ANN}", "--yes")
    file.close()

    assert code == 0
    assert "22 entries in the spool" in capsys.readouterr().out
    assert shop.spooled() == [other]
    for path in shop.spool.parent.iterdir():
        content = path.read_bytes()
        assert ANN.encode() not in content
        assert not any(event.encode() in content for event in ours)


def test_what_was_handed_over_before_is_erased_from_the_spools_log(shop: Shop) -> None:
    """SQLite's write-ahead log keeps old pages until they are written over."""
    event = shop.put({"email": ANN})
    file = SpoolFile(shop.spool, max_size=2**24)
    file.remove([stored.seq for stored in file.entries()])
    before = b"".join(path.read_bytes() for path in shop.spool.parent.iterdir())
    code = forget("--id", event, "--yes")
    after = b"".join(path.read_bytes() for path in shop.spool.parent.iterdir())
    file.close()

    assert code == 0
    assert ANN.encode() in before
    assert ANN.encode() not in after


@pytest.mark.parametrize("found_in", ["spool", "redis"])
def test_an_event_in_the_spool_and_in_redis_goes_from_both(shop: Shop, found_in: str, capsys: Any) -> None:
    """Redis may have taken an event and not said so; it is found in one place and goes from the other too."""
    sought, other = {"email": ANN}, {"renamed": ANN}
    event = shop.send("/echo", sought if found_in == "redis" else other)
    shop.put(sought if found_in == "spool" else other, event=event)

    code = forget("--where", f"email={ANN}", "--yes", "--json")

    assert code == 0
    assert json.loads(capsys.readouterr().out)["found"] == {"spool, waiting": 1, "jobs queued": 1}
    assert shop.spooled() == []
    assert not shop.client.keys(f"rq:*{event}*")


def test_an_event_of_which_a_job_runs_stays_in_the_spool_too(shop: Shop) -> None:
    """It can be found again, in the place where it was found."""
    event = shop.send("/echo", {"renamed": ANN})
    shop.put({"email": ANN}, event=event)
    shop.job(event).set_status("started")

    code = forget("--where", f"email={ANN}", "--yes")

    assert code == 1
    assert shop.spooled() == [event]


def test_a_process_that_drains_is_waited_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between the spool and Redis an event would be overlooked. If that does not end it is said, and nothing erased."""
    event = shop.put({"email": ANN})
    draining = SpoolFile(shop.spool, max_size=2**24)
    assert draining.claim()
    monkeypatch.setattr(forgetting, "CLAIM_PATIENCE", 0.0)
    code = forget("--where", f"email={ANN}", "--yes")
    draining.close()

    assert code == 1
    assert "A process moves the spool's events to Redis all the time; nothing was erased." in capsys.readouterr().err
    assert shop.spooled() == [event]


def test_an_event_that_is_moved_while_somebody_decides_goes_too(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was found in the spool and lies in Redis when it is erased."""
    event = shop.put({"email": ANN})
    answer = io.StringIO("y\n")

    def move() -> str:
        assert main(["spool", "drain", "shop:relay"]) == 0
        assert queued(shop.client) == [f"{event}-1"]
        return "y\n"

    monkeypatch.setattr(answer, "isatty", lambda: True)
    monkeypatch.setattr(answer, "readline", move)
    monkeypatch.setattr(sys, "stdin", answer)
    code = forget("--where", f"email={ANN}")

    assert code == 0
    assert not shop.client.keys(f"rq:*{event}*")


def test_damaged_entries_are_told_and_erased_by_their_ids(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether one of them holds the value cannot be said, so the exit code is 1."""
    event = shop.put({"email": BOB})
    content = shop.spool.read_bytes()
    place = content.index(BOB.encode())
    shop.spool.write_bytes(content[:place] + b"X" + content[place + 1 :])
    first = forget("--where", f"email={ANN}", "--yes")
    said = capsys.readouterr().out
    second = forget("--id", event, "--yes")

    assert (first, second) == (1, 0)
    assert "1 entry in the spool could not be read" in said
    assert shop.spooled() == []


def test_jobs_that_cannot_be_read_are_told(
    make_shop: Callable[..., Shop], client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether they hold the value cannot be said, so the exit code is 1; by its id an event goes unread."""
    make_shop("json")
    outbox = RQOutbox(client)
    handover = a_handover(a_job({"email": ANN}))
    outbox.accept(handover)
    outbox.close()
    first = forget("--where", f"email={ANN}", "--yes")
    said = capsys.readouterr().out
    second = forget("--id", handover.id, "--yes")

    assert (first, second) == (1, 0)
    assert "1 job in Redis could not be read with this relay's serializer" in said
    assert not client.keys("rq:job:*")


def test_it_does_not_erase_unasked(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal and without --yes it refuses before it looks."""
    event = shop.send("/echo", {"email": ANN})

    code = forget("--where", f"email={ANN}")

    assert code == 2
    assert "say --yes" in capsys.readouterr().err
    assert queued(shop.client) == [f"{event}-1"]


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_it_asks_on_a_terminal(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, left: int
) -> None:
    """It shows what it found and erases only when the answer is yes."""
    shop.send("/echo", {"email": ANN})
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)

    code = forget("--where", f"email={ANN}")

    said = capsys.readouterr().out
    assert code == left
    assert len(queued(shop.client)) == left
    assert "Erase 1 event for good? [y/N]" in said
    assert ("Nothing was erased." in said) == bool(left)


def test_what_it_cannot_reach_is_named(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Copies that are not the relay's to erase are said at the end, spools that were set aside by name."""
    aside = shop.spool.with_name("events.db.corrupt-20260102T030405Z")
    for name in (aside.name, f"{aside.name}-wal", "other.db.corrupt-20260102T030405Z"):
        (shop.spool.parent / name).touch()

    forget("--where", f"email={ANN}", "--yes")

    said = capsys.readouterr().out
    assert "BGREWRITEAOF" in said
    assert said.count("corrupt-") == 1
    assert str(aside) in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "one of the arguments --id --where is required"),
        (("--where", "email"), "--where takes PATH=VALUE"),
        (("--where", "a..b=x"), "--where takes PATH=VALUE"),
        (("--where", "a[0]=x"), "--where takes PATH=VALUE"),
        (("--where", "=secret"), "--where takes PATH=VALUE"),
        (("--id", "order-7"), "--id takes an event's id"),
        (("--id", "0" * 32, "--json"), "say --yes"),
    ],
)
def test_wrong_usage_is_code_2(
    shop: Shop, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], sentence: str
) -> None:
    """It is said in one sentence, without the value."""
    try:
        code = forget(*options)
    except SystemExit as end:
        code = int(end.code or 0)

    said = capsys.readouterr().err
    assert code == 2
    assert sentence in said
    assert "secret" not in said


def test_a_redis_that_is_away_is_code_1(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is erased then, from the spool neither."""
    event = shop.put({"email": ANN})

    code = forget("--where", f"email={ANN}", "--yes", "--redis", "redis://127.0.0.1:1")

    assert code == 1
    assert "Run the command again" in capsys.readouterr().err
    assert shop.spooled() == [event]


@pytest.mark.parametrize(
    ("path", "value", "data"),
    [
        ("email", ANN, {"email": ANN}),
        ("a.b", "1", {"a": {"b": 1}}),
        ("a.b", "1", {"a": {"b": "1"}}),
        ("a", "12.50", {"a": 12.5}),
        ("a", "12", {"a": 12.0}),
        ("a", "true", {"a": True}),
        ("a", "", {"a": ""}),
        ("a.1.b", "x", {"a": [0, {"b": "x"}]}),
        ("a.b", "x", {"a": [{"b": "y"}, {"b": "x"}]}),
        ("a", "x", {"a": ["y", "x"]}),
        ("b", "x", [{"b": "x"}]),
        ("1", "x", {"1": "x"}),
        ("0", "x", [["x"]]),
        ("a", "=x=", {"a": "=x="}),
        ("a", str(10**30), {"a": 10**30}),
    ],
)
def test_a_path_leads_to_a_value(path: str, value: str, data: Any) -> None:
    """Strings, numbers and booleans are compared as text; a step that is no number looks into all items of a list."""
    assert condition(f"{path}={value}").matches(data)


@pytest.mark.parametrize(
    ("path", "value", "data"),
    [
        ("email", ANN, {"email": BOB}),
        ("email", ANN, {"customer": {"email": ANN}}),
        ("a", "1", {"a": True}),
        ("a", "True", {"a": True}),
        ("a", "None", {"a": None}),
        ("a", "{}", {"a": {}}),
        ("a", "x", {"a": {"a": "x"}}),
        ("a.0.b", "x", {"a": [0, {"b": "x"}]}),
        ("a.b", "x", {"a": "x"}),
        ("a", "x", "x"),
        ("a", "x", b"x"),
        ("a", "nan", {"a": float("inf")}),
        ("a", "1" * 5000, {"a": 7**9000}),
    ],
)
def test_a_path_does_not_lead_to_a_value(path: str, value: str, data: Any) -> None:
    """What is elsewhere, or of another kind, does not match."""
    assert not condition(f"{path}={value}").matches(data)


def test_lists_may_be_nested_as_deep_as_they_like() -> None:
    """A sender chooses that."""
    data: Any = "x"
    for _ in range(100_000):
        data = [data]

    assert condition("a=x").matches({"a": data})


def test_a_conditions_value_is_not_shown() -> None:
    """It is somebody's name, perhaps."""
    assert ANN not in repr(condition(f"email={ANN}"))
    with pytest.raises(DeclarationError) as raised:
        condition("a..b=hush")
    assert "hush" not in str(raised.value)
