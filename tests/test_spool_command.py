"""`trafficrelay spool`: what it says of the spool, and what it does about it."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from rq.job import Job as RQJob

from trafficrelay.cli import main
from trafficrelay.outbox import Handover
from trafficrelay.outbox.handover import each
from trafficrelay.outbox.pauses import Pauses
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.outbox.spool_file import Entry, SpoolFile
from trafficrelay.outbox.stored import HAND_OVER, pack, to_dict

from .handovers import a_handover, a_job, queued
from .standalone_support import ROOT, environment

SHOP = """\
from trafficrelay import Relay, Route, Spool

relay = Relay({url!r}, spool=Spool("spool/events.db", max_size="2MB"))
plain = Relay({url!r})
for one in (relay, plain):
    one.add(Route("/in", verify=None, job="tests.jobs.echo", queue="hooks"))
"""

WHY = "Redis refused the event (X)."


class Files:
    """A relay's spool, and what is put into it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, *handovers: Handover, since: float | None = None, doubtful: bool = False) -> list[str]:
        """Put events into it, and give their ids."""
        entries = [
            Entry(
                id=one.id,
                count=len(one.jobs),
                dedupe=one.dedupe_hash,
                route=one.route,
                since=time.time() if since is None else since,
                doubtful=doubtful,
                payload=pack(one),
            )
            for one in handovers
        ]
        with self.opened() as file:
            file.add(entries)
        return [one.id for one in handovers]

    def opened(self) -> Any:
        return _Closing(SpoolFile(self.path, max_size=2**24))

    def hold(self, event: str, why: str = WHY) -> None:
        with self.opened() as file:
            (seq,) = [stored.seq for stored in file.entries() if stored.entry.id == event]
            file.hold(seq, why)

    def ids(self) -> list[str]:
        with self.opened() as file:
            return [stored.entry.id for stored in file.entries()]

    def damage(self, event: str) -> None:
        """Flip a bit in an entry's payload, where it stays JSON."""
        content = self.path.read_bytes()
        place = content.index(b"tests.jobs.echo", content.index(f'"id":"{event}"'.encode()))
        self.path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])

    def set_aside(self) -> Path:
        target = self.path.with_name(f"{self.path.name}.corrupt-20260102T030405Z")
        return self.path.rename(target)


class _Closing:
    def __init__(self, file: SpoolFile) -> None:
        self.file = file

    def __enter__(self) -> SpoolFile:
        return self.file

    def __exit__(self, *_: object) -> None:
        self.file.close()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Files]:
    """The spool of a relay; its Redis is a real one in tests that ask for `client`."""
    url = request.getfixturevalue("redis_url") if "client" in request.fixturenames else "redis://127.0.0.1:1"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "spool").mkdir()
    (tmp_path / "shop.py").write_text(SHOP.format(url=url))
    importlib.invalidate_caches()
    sys.modules.pop("shop", None)
    yield Files(tmp_path / "spool" / "events.db")
    sys.modules.pop("shop", None)


def spool(*options: str) -> int:
    return main(["spool", *options])


def event(data: Any = "data", *, route: str = "/in", **more: Any) -> Handover:
    return a_handover(a_job(data), route=route, **more)


def said_json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_it_shows_what_waits(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers that wait and are held, why, since when, the size and the routes."""
    old, new = time.time() - 7_300, time.time() - 10
    files.put(event(), event(), since=old)
    (held,) = files.put(event(route="/other"), since=new)
    files.hold(held)

    code = spool("show", "shop:relay")

    said = capsys.readouterr().out
    assert code == 0
    assert f"In the spool {files.path}:" in said
    assert "waiting                        2, the oldest for 2 hours" in said
    assert "held back                      1" in said
    assert " of 2.0 MB" in said
    assert "         2  /in\n" in said
    assert "         1  /other\n" in said
    assert f"         1  {WHY}\n" in said


def test_it_shows_the_same_as_json(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """--json says it for programs: times in ISO 8601, ages in seconds, sizes in bytes."""
    since = time.time() - 60
    _, held = files.put(event(), event(route="/other"), since=since)
    files.hold(held)

    code = spool("show", "shop:relay", "--json")

    said = said_json(capsys)
    assert code == 0
    assert (said["waiting"], said["held"], said["max_size"]) == (1, 1, 2**21)
    assert said["oldest"] == datetime.fromtimestamp(since, UTC).isoformat()
    assert 60 <= said["age"] < 120
    assert said["size"] > 0
    assert said["routes"] == {"/in": 1, "/other": 1}
    assert said["reasons"] == {WHY: 1}


@pytest.mark.parametrize("action", ["show", "export", "release"])
def test_no_file_is_made_where_there_is_none(files: Files, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A spool that was never needed is empty, and looking at it leaves nothing behind."""
    code = spool(action, "shop:relay")

    said = capsys.readouterr()
    assert code == 0
    assert said.err == ""
    assert list(files.path.parent.iterdir()) == []


def test_looking_does_not_set_a_damaged_spool_aside(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """That is left to the relay, which begins a fresh one; whoever looks changes nothing."""
    files.path.write_bytes(b"no database at all")

    code = spool("show", "shop:relay")

    assert code == 1
    assert "is no spool of trafficrelay" in capsys.readouterr().err
    assert [path.name for path in files.path.parent.iterdir()] == ["events.db"]


def test_spools_that_were_set_aside_are_named(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever looks at the spool learns of them, and looks into one with --file."""
    files.put(event(), event())
    aside = files.set_aside()
    first = spool("show", "shop:relay")
    one = capsys.readouterr().out
    second = spool("--file", str(aside), "show")
    two = capsys.readouterr().out

    assert (first, second) == (0, 0)
    assert f"Set aside: {aside}" in one
    assert "waiting                        2" in two
    assert " of " not in two.split("size")[1].splitlines()[0]


def test_it_is_shown_while_a_process_uses_it(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """What is only in the write-ahead log of a process that runs is seen too."""
    with files.opened() as file:
        files.put(event())
        claimed = file.claim()
        code = spool("show", "shop:relay", "--json")

    assert claimed
    assert code == 0
    assert said_json(capsys)["waiting"] == 1


def test_it_is_exported_as_json_lines(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, in order, with all that is kept of the event."""
    first, second = event({"name": "Ünï"}, dedupe="key"), event({"n": 2}, route="/other")
    since = time.time()
    files.put(first, second, since=since)
    files.hold(second.id)

    code = spool("export", "shop:relay")

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert lines == [
        {
            "id": one.id,
            "route": one.route,
            "since": datetime.fromtimestamp(since, UTC).isoformat(),
            "held": why,
            "handover": json.loads(json.dumps(to_dict(one))),
        }
        for one, why in ((first, None), (second, WHY))
    ]


def test_damaged_entries_are_named_and_left_out(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are exported, and the exit code is 1."""
    one, two, three = files.put(*(event({"n": number}) for number in range(3)))
    files.damage(two)

    code = spool("export", "--file", str(files.path))

    said = capsys.readouterr()
    assert code == 1
    assert [json.loads(line)["id"] for line in said.out.splitlines()] == [one, three]
    assert said.err.count("cannot be read and was left out.") == 1


def test_an_export_may_be_cut_short(files: Files) -> None:
    """`| head` is no error."""
    files.put(*(event("x" * 500) for _ in range(1000)))
    command = f"{sys.executable} -m trafficrelay spool export shop:relay | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=f"{ROOT}{os.pathsep}{files.path.parents[1]}"),
        check=False,
    )

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_held_events_are_released(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """They wait again; the relay's processes try them again."""
    held, _ = files.put(event(), event())
    files.hold(held)

    code = spool("release", "shop:relay")

    with files.opened() as file:
        summary = file.summary()
    assert code == 0
    assert capsys.readouterr().out.startswith("1 events that were held back wait again in the spool")
    assert (summary.waiting, summary.held) == (2, 0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "the following arguments are required: action"),
        (("look", "shop:relay"), "invalid choice"),
        (("show",), "Say MODULE:RELAY, or --file PATH."),
        (("show", "shop:plain"), "shop:plain has no spool."),
        (("drain", "shop:plain"), "shop:plain has no spool."),
        (("show", "--file", "nowhere.db"), "There is no file nowhere.db."),
        (("release", "--file", "nowhere.db"), "only read"),
        (("drain", "--file", "nowhere.db"), "Say MODULE:RELAY too"),
    ],
)
def test_wrong_usage_is_code_2(
    files: Files, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], sentence: str
) -> None:
    """It is said in one sentence."""
    try:
        code = spool(*options)
    except SystemExit as end:
        code = int(end.code or 0)

    assert code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.rq
def test_it_is_drained_to_redis(files: Files, client: redis.Redis, capsys: pytest.CaptureFixture[str]) -> None:
    """What waits and what was held is handed over in order, and it says how many."""
    ids = files.put(*(event({"n": number}) for number in range(100)))
    files.hold(ids[0])

    code = spool("drain", "shop:relay")

    assert code == 0
    assert "100 events were moved from the spool" in capsys.readouterr().out
    assert queued(client) == [f"{id_}-1" for id_ in ids]
    assert files.ids() == []


@pytest.mark.rq
def test_an_empty_spool_is_drained_at_once(files: Files, client: redis.Redis, capsys: Any) -> None:
    """No file is made for it either."""
    code = spool("drain", "shop:relay")

    assert code == 0
    assert capsys.readouterr().out.startswith("0 events were moved")
    assert list(files.path.parent.iterdir()) == []


@pytest.mark.rq
def test_what_is_left_after_a_drain_is_said(
    files: Files, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """Events of paused routes, and those that cannot be handed over, stay; the exit code is 1."""
    paused, bad, good = event(route="/paused"), event(), event()
    files.put(paused, bad, good)
    Pauses(client).pause("/paused", "spool")
    client.set(f"rq:job:{bad.id}-1", "something else")

    code = spool("drain", "shop:relay", "--json")

    said = said_json(capsys)
    assert code == 1
    assert (said["moved"], said["waiting"], said["held"]) == (1, 1, 1)
    assert sorted(files.ids()) == sorted([paused.id, bad.id])
    assert queued(client) == [f"{good.id}-1"]


def test_a_drain_while_redis_is_away_is_code_1(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is lost by trying."""
    ids = files.put(event(), event())

    code = spool("drain", "shop:relay")

    said = capsys.readouterr().out
    assert code == 1
    assert "Redis does not answer." in said
    assert "2 still wait." in said
    assert files.ids() == ids


@pytest.mark.rq
def test_another_process_that_drains_is_told(
    files: Files, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """One drains at a time; nothing is moved by this one."""
    ids = files.put(event())
    with files.opened() as file:
        assert file.claim()
        code = spool("drain", "shop:relay")

    assert code == 1
    assert "A process of the relay is draining it at this moment." in capsys.readouterr().out
    assert files.ids() == ids
    assert queued(client) == []


@pytest.mark.rq
def test_the_relays_own_file_may_be_named(files: Files, client: redis.Redis) -> None:
    """Named with --file it is drained all the same, not taken for one that was set aside."""
    (one,) = files.put(event())

    code = spool("drain", "shop:relay", "--file", str(files.path))

    assert code == 0
    assert queued(client) == [f"{one}-1"]
    assert files.ids() == []


@pytest.mark.rq
def test_events_that_were_set_aside_become_dead_letters(
    files: Files, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not jobs: whether they were handed over before the file was damaged cannot be told."""
    one, two = event({"n": 1}, dedupe="key"), event({"n": 2})
    files.put(one, two)
    aside = files.set_aside()
    before = aside.read_bytes()

    code = spool("drain", "shop:relay", "--file", str(aside))

    job = RQJob.fetch(f"{one.id}-0", connection=client)
    assert code == 0
    assert f"2 events of {aside} became dead letters" in capsys.readouterr().out
    assert queued(client) == []
    assert (job.func_name, job.get_status()) == (HAND_OVER, "failed")
    assert job.args[0]["handover"]["jobs"][0]["data"] == {"n": 1}
    assert aside.read_bytes() == before


@pytest.mark.rq
def test_events_that_redis_knows_are_left_alone(
    files: Files, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """By their mark, by a job that is still there, or by the letter that an earlier run made of them."""
    marked, there, new = event(), event(), event()
    outbox = RQOutbox(client)
    each(outbox, [marked, there])
    outbox.close()
    client.delete(f"rq:job:{marked.id}-1", f"trafficrelay:1:event:{there.id}")
    files.put(replace(marked), there, new)
    aside = files.set_aside()
    first = spool("drain", "shop:relay", "--file", str(aside), "--json")
    one = said_json(capsys)
    client.delete(f"trafficrelay:1:event:{new.id}")
    second = spool("drain", "shop:relay", "--file", str(aside), "--json")
    two = said_json(capsys)

    assert (first, second) == (0, 0)
    assert (one["dead_letters"], one["known"]) == (1, 2)
    assert (two["dead_letters"], two["known"]) == (0, 3)
    assert not client.exists(f"rq:job:{marked.id}-0", f"rq:job:{there.id}-0")


@pytest.mark.rq
def test_a_failed_job_of_a_later_delivery_is_not_requeued(files: Files, client: redis.Redis) -> None:
    """A sender's second delivery would be; a spool that was set aside is none."""
    old, later = event({"n": 1}, dedupe="key", dedupe_window=600), event({"n": 2}, dedupe="key", dedupe_window=600)
    outbox = RQOutbox(client)
    outbox.accept(later)
    outbox.close()
    client.lrem("rq:queue:hooks", 1, f"{later.id}-1")
    job = RQJob.fetch(f"{later.id}-1", connection=client)
    job.set_status("failed")
    job.failed_job_registry.add(job, ttl=60)
    files.put(old)

    code = spool("drain", "shop:relay", "--file", str(files.set_aside()))

    assert code == 0
    assert queued(client) == []
    assert client.exists(f"rq:job:{old.id}-0")


@pytest.mark.rq
def test_damaged_entries_of_a_file_that_was_set_aside_are_told(
    files: Files, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are salvaged, and the exit code is 1."""
    one, two, three = files.put(*(event({"n": number}) for number in range(3)))
    aside = files.set_aside()
    Files(aside).damage(two)

    code = spool("drain", "shop:relay", "--file", str(aside))

    assert code == 1
    assert "1 entries cannot be read" in capsys.readouterr().out
    assert sorted(key.decode() for key in client.keys("rq:job:*")) == sorted([f"rq:job:{one}-0", f"rq:job:{three}-0"])


@pytest.mark.rq
@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_only(
    files: Files, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """A line says how much is left, and is taken away at the end; where nobody watches there is none."""
    files.put(event())
    errors = io.StringIO()
    monkeypatch.setattr(errors, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", errors)

    code = spool("drain", "shop:relay")

    said = errors.getvalue()
    assert code == 0
    assert ("0 events are left" in said) == terminal
    assert said.endswith("\r") == terminal
