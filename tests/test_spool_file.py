"""The spool's file: what is added is there, once and in order, for threads, processes and forks, within its size."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trafficrelay.errors import SpoolError, SpoolFull
from trafficrelay.outbox import spool_access, spool_database, spool_sqlite
from trafficrelay.outbox.spool_file import Entry, Kept, SpoolFile
from trafficrelay.outbox.spool_lock import FileLock
from trafficrelay.outbox.spool_reader import SpoolReader

from .spool_support import ADDING, LARGE, an_entry, beside, ids, payload_of, python, said, tell, words
from .waiting import wait_until

DATA = Path(__file__).parent / "data"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "spool.db"


@pytest.fixture
def spool(file: Path) -> Iterator[SpoolFile]:
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        yield spool


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for others gives up soon."""
    monkeypatch.setattr(spool_access, "PATIENCE", 0.05)
    monkeypatch.setattr("trafficrelay.outbox.spool_file.PATIENCE", 0.05)


def side(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


# What goes in


def test_what_was_added_is_given_whole_and_in_order(spool: SpoolFile) -> None:
    entries = [
        an_entry(3, count=0, doubtful=True),
        an_entry(1, dedupe="a" * 40, route="/ü/<x:path>", since=1_700_000_000),
        an_entry(2, payload=b"", count=1000),
        an_entry(4, payload=bytes(range(256)) * 5000, since=0.1 + 0.2),
    ]
    kept = spool.add(entries[:1]) + spool.add(entries[1:])

    assert [stored.entry for stored in spool.take(10)] == entries
    assert [stored.entry for stored in spool.entries()] == entries
    assert kept == [Kept(entry.id, entry.count, duplicate=False) for entry in entries]


def test_payloads_are_in_no_repr(spool: SpoolFile) -> None:
    spool.add([an_entry(payload=b"secret")])

    assert "secret" not in repr(spool.take(1))


@pytest.mark.parametrize("together", [True, False])
def test_a_repeated_event_is_kept_once_and_the_first_is_told(spool: SpoolFile, together: bool) -> None:
    """By its id, or by its duplicate key; the id counts more."""
    entries = [
        an_entry(1, count=3, dedupe="a"),
        an_entry(2, count=2, dedupe="b"),
        an_entry(1, count=7),
        an_entry(3, dedupe="b"),
        an_entry(1, dedupe="b"),
        an_entry(4, dedupe=None),
        an_entry(5, dedupe=an_entry(4).id),
    ]
    kept = spool.add(entries) if together else [spool.add([entry])[0] for entry in entries]
    one, two, four, five = (an_entry(number).id for number in (1, 2, 4, 5))

    assert kept == [
        Kept(one, 3, duplicate=False),
        Kept(two, 2, duplicate=False),
        Kept(one, 3, duplicate=True),
        Kept(two, 2, duplicate=True),
        Kept(one, 3, duplicate=True),
        Kept(four, 1, duplicate=False),
        Kept(five, 1, duplicate=False),
    ]
    assert ids(spool) == [one, two, four, five]


def test_a_repeated_event_is_known_to_other_processes(spool: SpoolFile, file: Path) -> None:
    with python("print(spool.add([an_entry(1, dedupe='a')]))", file) as process:
        said(process)

    assert [kept.duplicate for kept in spool.add([an_entry(1), an_entry(2, dedupe="a"), an_entry(3)])] == [
        True,
        True,
        False,
    ]


def test_an_event_that_is_held_back_is_known_too(spool: SpoolFile) -> None:
    spool.add([an_entry()])
    spool.hold(spool.take(1)[0].seq, "Redis refuses it.")

    assert spool.add([an_entry()])[0].duplicate


@pytest.mark.parametrize(
    "fields",
    [{"route": "/\ud800"}, {"since": float("nan")}, {"count": 2**63}, {"dedupe": "\ud800"}],
    ids=str,
)
def test_what_sqlite_would_not_give_back_is_refused_and_fails_no_other(spool: SpoolFile, fields: Any) -> None:
    with pytest.raises(SpoolError, match="cannot keep an event"):
        spool.add([an_entry(1), replace(an_entry(2), **fields)])

    assert spool.add([an_entry(1)]) == [Kept(an_entry(1).id, 1, duplicate=False)]


def test_nothing_added_is_nothing_kept(spool: SpoolFile, file: Path) -> None:
    assert spool.add([]) == []
    assert not file.exists()


# What is given out


def test_what_is_taken_can_be_limited_and_routes_passed_over(spool: SpoolFile) -> None:
    spool.add([an_entry(number, route=f"/{number % 3}") for number in range(12)])
    first = spool.take(2)

    assert [stored.entry.route for stored in first] == ["/0", "/1"]
    assert [stored.entry.route for stored in spool.take(3, after=first[-1].seq)] == ["/2", "/0", "/1"]
    assert {stored.entry.route for stored in spool.take(99, skip_routes={"/0", "/2"})} == {"/1"}
    assert spool.take(99, skip_routes=("/0", "/1", "/2")) == []
    assert spool.take(0) == []


def test_what_is_held_back_is_passed_over_and_shown_until_it_is_released(spool: SpoolFile) -> None:
    spool.add([an_entry(number) for number in range(3)])
    one, two, _ = spool.take(3)
    spool.hold(one.seq, "It is too large.")
    spool.hold(two.seq, "")
    taken = ids(spool)
    shown = [stored.error for stored in spool.entries()]
    released = spool.release()

    assert taken == [an_entry(2).id]
    assert shown == ["It is too large.", "unknown", ""]
    assert (released, spool.release(), len(ids(spool))) == (2, 0, 3)


def test_what_was_removed_is_gone(spool: SpoolFile) -> None:
    spool.add([an_entry(number) for number in range(5)])
    places = [stored.seq for stored in spool.take(3)]
    spool.remove(places)
    spool.remove([places[0], 7])
    spool.remove([])

    assert ids(spool) == [an_entry(3).id, an_entry(4).id]
    assert not spool.add([an_entry(0)])[0].duplicate


def test_places_are_never_given_again(spool: SpoolFile, file: Path) -> None:
    """Or else who removes what he took before the file was set aside would remove another's entry."""
    seqs = []
    for number in range(3):
        spool.add([an_entry(number), an_entry(number + 10)])
        seqs += [stored.seq for stored in spool.take(2)]
        spool.remove(seqs)
        if number == 1:
            file.unlink()

    assert seqs == sorted(set(seqs))


def test_the_summary_counts(spool: SpoolFile, file: Path) -> None:
    spool.add([an_entry(number, route=f"/{number % 2}") for number in range(5)])
    spool.hold(spool.take(1)[0].seq, "why")
    summary = spool.summary()

    assert (summary.waiting, summary.held, summary.max_size) == (4, 1, LARGE)
    assert summary.oldest == an_entry(1).since
    assert summary.routes == {"/0": 3, "/1": 2}
    assert summary.size == file.stat().st_size + side(file, "-wal").stat().st_size


def test_all_entries_are_given_in_order_while_others_come_and_go(spool: SpoolFile) -> None:
    spool.add([an_entry(number) for number in range(100)])
    seen = []
    for stored in spool.entries():
        seen.append(stored.entry.id)
        if len(seen) == 10:
            spool.remove([later.seq for later in spool.take(5, after=stored.seq + 60)])
            spool.add([an_entry(100)])

    assert set(seen) >= {an_entry(number).id for number in range(100) if not 70 <= number < 76}
    assert seen == sorted(seen)


def test_a_reader_that_stops_in_the_middle_keeps_the_log_from_nothing(spool: SpoolFile, file: Path) -> None:
    spool.add([an_entry(number) for number in range(100)])
    entries = spool.entries()
    next(entries)
    for number in range(100, 3100, 100):
        spool.add([an_entry(number + more) for more in range(100)])

    assert side(file, "-wal").stat().st_size < 3 * spool_sqlite.WAL_PAGES * spool_sqlite.PAGE_SIZE
    assert sum(1 for _ in entries) == 3099


# Files


def test_asking_makes_no_file(spool: SpoolFile, file: Path) -> None:
    assert spool.empty()
    assert spool.take(9) == list(spool.entries()) == []
    assert spool.summary().waiting == 0
    assert spool.summary().oldest is None
    assert spool.release() == 0
    assert spool.erase([1])
    spool.remove([1])
    spool.hold(1, "x")
    spool.close()
    assert not file.parent.exists()


@pytest.mark.parametrize("umask", [0, 0o777])
def test_all_files_are_their_owners_alone(spool: SpoolFile, file: Path, umask: int) -> None:
    if umask:
        file.parent.mkdir(0o700)  # what is made then, only root could use
    before = os.umask(umask)
    try:
        spool.add([an_entry()])
        spool.claim()
        spool.close()
        for suffix in ("", "-wal"):
            side(file, suffix).write_bytes(b"x" * 100)
        spool.add([an_entry()])
    finally:
        os.umask(before)
    files = list(file.parent.iterdir())

    assert len(files) >= 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_file_that_others_may_read_is_taken_away_from_them(spool: SpoolFile, file: Path) -> None:
    file.parent.mkdir()
    file.touch(0o644)
    file.chmod(0o644)
    spool.add([an_entry()])

    assert {stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()} == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_is_the_directorys_owners(spool: SpoolFile, file: Path) -> None:
    """A command that an administrator runs must not lock the relay out."""
    file.parent.mkdir()
    os.chown(file.parent, 65534, 65534)
    spool.add([an_entry()])
    spool.claim()

    assert {path.stat().st_uid for path in file.parent.iterdir()} == {65534}
    assert len(list(file.parent.iterdir())) == 6


def test_it_can_be_used_again_after_it_was_closed(spool: SpoolFile, file: Path) -> None:
    spool.add([an_entry(1)])
    spool.close()
    spool.close()
    spool.add([an_entry(2)])

    assert len(ids(spool)) == 2


def test_a_symbolic_link_leads_to_the_file(tmp_path: Path, file: Path, spool: SpoolFile) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(file)
    with closing(SpoolFile(link, max_size=LARGE)) as other:
        other.add([an_entry(1)])

        assert spool.add([an_entry(1)])[0].duplicate
        assert list(tmp_path.glob("link.db-*")) == []


def test_a_spool_of_format_1_can_be_read(tmp_path: Path) -> None:
    """`data/spool-v1.db` is never to be made anew: it is what lies on disks."""
    file = tmp_path / "spool.db"
    file.write_bytes((DATA / "spool-v1.db").read_bytes())
    with closing(SpoolReader(file)) as reader:
        read = list(reader.entries())
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        entries = list(spool.entries())
        taken = spool.take(9)
        duplicates = [kept.duplicate for kept in spool.add([an_entry(2), an_entry(9, dedupe="d" * 40), an_entry(7)])]

    assert [stored.entry for stored in entries] == [
        an_entry(1, dedupe="d" * 40, doubtful=True),
        an_entry(2, count=3, route="/ü", payload=payload_of(an_entry(2).id, 9000)),
        an_entry(3, payload=b""),
    ]
    assert [stored.error for stored in entries] == ["", "", "Redis refuses it."]
    assert read == entries
    assert taken == entries[:2]
    assert duplicates == [True, True, False]


def test_a_newer_format_is_left_alone(spool: SpoolFile, file: Path) -> None:
    spool.add([an_entry()])
    spool.close()
    with closing(sqlite3.connect(file)) as newer:
        newer.executescript("UPDATE about SET format = 2; PRAGMA user_version = 2; ALTER TABLE entries ADD more")
    before = file.read_bytes()
    for ask in (lambda: spool.add([an_entry()]), lambda: spool.take(1), spool.check, spool.summary):
        with pytest.raises(SpoolError, match=r"newer trafficrelay \(its format is 2"):
            ask()
    with closing(SpoolReader(file)) as reader, pytest.raises(SpoolError, match="newer trafficrelay"):
        list(reader.entries())

    assert not spool.empty()
    assert file.read_bytes() == before
    assert not beside(file, "*")


def test_a_file_of_something_else_is_set_aside(spool: SpoolFile, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.parent.mkdir()
    file.write_text("something else\n" * 50)
    side(file, "-wal").write_text("and more")
    spool.add([an_entry()])
    (aside,) = beside(file, "foreign")

    assert len(ids(spool)) == 1
    assert aside.read_text() == "something else\n" * 50
    assert side(aside, "-wal").read_text() == "and more"
    assert f"set aside as {aside}" in caplog.text
    assert f"trafficrelay spool --file {aside} show" in caplog.text
    with closing(SpoolReader(aside)) as reader, pytest.raises(SpoolError, match="is no spool of trafficrelay"):
        reader.summary()


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_another_programs_database_is_set_aside(spool: SpoolFile, file: Path, mode: str) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as other:
        other.executescript(f"PRAGMA journal_mode = {mode}; CREATE TABLE t (a); INSERT INTO t VALUES (7)")
    taken = spool.take(1)
    spool.add([an_entry()])
    (aside,) = beside(file, "foreign")

    assert taken == []
    assert len(ids(spool)) == 1
    with closing(sqlite3.connect(aside)) as other:
        assert other.execute("SELECT a FROM t").fetchall() == [(7,)]


def test_an_empty_file_is_begun(spool: SpoolFile, file: Path) -> None:
    """Such as is left of a process that was killed when it made the file."""
    file.parent.mkdir()
    file.touch()
    asked = (spool.empty(), spool.take(1))
    spool.add([an_entry()])

    assert asked == (True, [])
    assert len(ids(spool)) == 1
    assert not beside(file, "*")


def test_what_is_added_never_goes_to_a_file_that_was_deleted(
    spool: SpoolFile, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool.add([an_entry(1)])
    for path in file.parent.iterdir():
        path.unlink()
    told = (spool.empty(), spool.take(1))
    spool.add([an_entry(2)])
    with closing(SpoolReader(file)) as reader:
        there = [stored.entry for stored in reader.entries()]

    assert told == (True, [])
    assert there == [an_entry(2)]
    assert "was deleted or replaced" in caplog.text


def test_what_is_added_never_goes_to_a_file_that_was_replaced(spool: SpoolFile, file: Path, tmp_path: Path) -> None:
    spool.add([an_entry(1)])
    with closing(SpoolFile(tmp_path / "other.db", max_size=LARGE)) as other:
        other.add([an_entry(2)])
    for suffix in ("-wal", "-shm"):
        side(file, suffix).unlink()
    (tmp_path / "other.db").replace(file)
    spool.add([an_entry(3)])

    assert ids(spool) == [an_entry(2).id, an_entry(3).id]


def test_a_file_that_is_deleted_during_the_commit_is_not_trusted(
    spool: SpoolFile, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.add([an_entry(1)])
    run = spool_access._run

    def then_deleted(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(spool_access, "_run", run)
        result = run(*args, **kwargs)
        file.unlink()
        side(file, "-wal").unlink()
        return result

    monkeypatch.setattr(spool_access, "_run", then_deleted)
    spool.add([an_entry(2)])
    with python("print(*ids(spool))", file) as process:
        there = said(process)

    assert there == an_entry(2).id


def test_a_deleted_log_loses_nothing(spool: SpoolFile, file: Path) -> None:
    """Of what living processes have added."""
    with python("spool.check()\nprint('open', flush=True)\nsys.stdin.readline()", file) as process:
        assert said(process) == "open"
        spool.add([an_entry(1)])
        side(file, "-wal").unlink()
        spool.add([an_entry(2)])
    with python("print(*ids(spool))", file) as process:
        there = said(process)

    assert there.split() == [an_entry(1).id, an_entry(2).id]


def test_a_directory_that_is_gone_is_made_again(spool: SpoolFile, file: Path, tmp_path: Path) -> None:
    spool.add([an_entry(1)])
    file.parent.rename(tmp_path / "gone")
    spool.check()
    spool.add([an_entry(2)])

    assert ids(spool) == [an_entry(2).id]


def test_what_cannot_be_a_directory_is_told(file: Path, spool: SpoolFile) -> None:
    file.parent.write_text("a file")
    for ask in (lambda: spool.add([an_entry()]), spool.check, spool.claim):
        with pytest.raises(SpoolError, match=r"spool\.db cannot be used \(File exists\)"):
            ask()

    assert spool.empty()


def test_nothing_of_what_was_erased_is_left_in_the_files(spool: SpoolFile, file: Path) -> None:
    spool.add([an_entry(number, payload=b"personal" * 1000) for number in range(50)])
    spool.add([an_entry(50, payload=b"other" * 1000)])
    erased = spool.erase([stored.seq for stored in spool.take(50)])

    assert erased
    assert all(b"personal" not in path.read_bytes() for path in file.parent.iterdir())
    assert ids(spool) == [an_entry(50).id]


# Size


def test_a_full_file_takes_no_more_keeps_what_it_has_and_goes_on_when_there_is_room(file: Path) -> None:
    with closing(SpoolFile(file, max_size=1 << 20)) as spool:
        added: list[str] = []

        def fill() -> None:
            for number in range(1000):
                spool.add([an_entry(number, payload=payload_of(str(number), 20_000))])
                added.append(an_entry(number).id)

        with pytest.raises(SpoolFull, match="has reached its size of 1048576 bytes") as full:
            fill()
        with pytest.raises(SpoolFull):
            spool.check()
        before = ids(spool)
        spool.hold(spool.take(1)[0].seq, "x" * 3000)
        spool.remove([stored.seq for stored in spool.take(10)])
        spool.check()
        spool.add([an_entry(9000)])
        summary = spool.summary()

    assert full.value.path == str(file)
    assert len(added) > 30
    assert before == added
    assert summary.size < (1 << 20) + spool_database.WAL_LIMIT
    assert file.stat().st_size <= (1 << 20) + 64 * 4096


def test_in_a_full_file_entries_can_be_held_back(file: Path) -> None:
    """With a reason, which needs room."""
    with closing(SpoolFile(file, max_size=1 << 20)) as spool:

        def fill() -> None:
            for number in range(10_000):
                spool.add([an_entry(number * 100 + more, payload=b"") for more in range(100)])

        with pytest.raises(SpoolFull):
            fill()
        for stored in spool.take(50):
            spool.hold(stored.seq, "why " * 1000)

        assert spool.summary().held == 50
        assert len(next(spool.entries()).error) == 1000


def test_all_entries_of_a_call_are_in_or_none(file: Path) -> None:
    with closing(SpoolFile(file, max_size=1 << 20)) as spool:
        spool.add([an_entry(0)])
        with pytest.raises(SpoolFull):
            spool.add([an_entry(number) for number in range(1, 2000)])

        assert ids(spool) == [an_entry(0).id]
        assert not spool.add([an_entry(1)])[0].duplicate


def test_an_event_that_can_never_fit_is_refused_at_once(file: Path) -> None:
    with closing(SpoolFile(file, max_size=1 << 20)) as spool, pytest.raises(SpoolFull, match="larger than the spool"):
        spool.add([an_entry(payload=bytes((1 << 20) + 1))])


def test_what_was_removed_makes_room_and_the_log_is_bounded(file: Path) -> None:
    with closing(SpoolFile(file, max_size=2 << 20)) as spool:
        for turn in range(40):
            spool.add([an_entry(turn * 100 + number, payload=bytes(10_000)) for number in range(100)])
            spool.remove([stored.seq for stored in spool.take(100)])
        spool.check()

        assert side(file, "-wal").stat().st_size < 3 * spool_sqlite.WAL_PAGES * spool_sqlite.PAGE_SIZE


def test_a_reader_that_does_not_end_makes_it_refuse_before_the_log_fills_the_disk(
    spool: SpoolFile, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_database, "WAL_LIMIT", 1 << 20)
    monkeypatch.setattr(spool_sqlite, "BUSY_TIMEOUT", 0.05)
    spool.add([an_entry()])

    def fill() -> None:
        for number in range(100):
            spool.add([an_entry(number * 100 + more) for more in range(100)])

    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        with pytest.raises(SpoolError, match="reads without end"):
            fill()
        reader.execute("ROLLBACK")
    spool.add([an_entry(99_999)])

    assert side(file, "-wal").stat().st_size < 4 << 20


# Threads


def counted_commits(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Count the commits of all connections from now on that wrote entries."""
    statements: list[str] = []
    connect = spool_database.connect

    def traced(path: Path, mode: str) -> sqlite3.Connection:
        connection = connect(path, mode)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(spool_database, "connect", traced)

    def count() -> int:
        wrote = commits = 0
        for statement in statements:
            wrote += statement.startswith("INSERT INTO entries")
            if statement == "COMMIT":
                commits += wrote > 0
                wrote = 0
        return commits

    return count


def test_threads_that_add_at_once_share_a_commit(spool: SpoolFile, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = counted_commits(monkeypatch)
    spool.add([an_entry(0)])
    other = FileLock(side(file, ".turn"))
    assert other.take()
    with ThreadPoolExecutor(16) as pool:
        results = [pool.submit(spool.add, [an_entry(number), an_entry(0)]) for number in range(1, 17)]
        wait_until(lambda: len(spool._waiting) == 16)
        other.drop()
        kept = [result.result() for result in results]
    other.abandon()

    assert count() == 2
    assert [[one.duplicate for one in each] for each in kept] == [[False, True]] * 16
    assert [each[0].id for each in kept] == [an_entry(number).id for number in range(1, 17)]
    assert len(ids(spool)) == 17


def test_what_a_group_cannot_commit_fails_for_each_of_it(file: Path) -> None:
    with closing(SpoolFile(file, max_size=1 << 20)) as spool:
        spool.add([an_entry(0)])
        other = FileLock(side(file, ".turn"))
        assert other.take()
        with ThreadPoolExecutor(4) as pool:
            results = [
                pool.submit(spool.add, [an_entry(number, payload=bytes(size))])
                for number, size in enumerate((10, 900_000, 10, 200_000), 1)
            ]
            wait_until(lambda: len(spool._waiting) == 4)
            other.drop()
            errors = [result.exception() for result in results]
        other.abandon()

        assert [type(error) for error in errors] == [SpoolFull] * 4
        assert ids(spool) == [an_entry(0).id]
        assert not spool.add([an_entry(1)])[0].duplicate


def test_threads_add_take_and_remove_at_once(spool: SpoolFile) -> None:
    """Nothing is lost and nothing is given twice."""
    adding = 4
    seen: list[str] = []
    done = threading.Event()

    def add(first: int) -> None:
        for number in range(first, first + 100):
            spool.add([an_entry(number)])

    def drain() -> None:
        while not done.is_set() or not spool.empty():
            taken = spool.take(7)
            seen.extend(stored.entry.id for stored in taken)
            spool.remove([stored.seq for stored in taken])

    with ThreadPoolExecutor(adding + 1) as pool:
        drained = pool.submit(drain)
        list(pool.map(add, range(0, adding * 1000, 1000)))
        done.set()
        drained.result()

    assert sorted(seen) == [an_entry(first + more).id for first in range(0, 4000, 1000) for more in range(100)]


@pytest.mark.usefixtures("impatient")
def test_whoever_waits_too_long_for_another_process_is_refused_and_leaves_nothing_behind(
    spool: SpoolFile, file: Path
) -> None:
    spool.add([an_entry(0)])
    other = FileLock(side(file, ".turn"))
    assert other.take()
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(spool.add, [an_entry(number)]) for number in range(1, 5)]
        errors = [str(result.exception()) for result in results]
    with pytest.raises(SpoolError, match="kept locked"):
        spool.check()
    readable = ids(spool)
    other.drop()
    other.abandon()

    assert all("is kept locked by another process" in error for error in errors)
    assert readable == [an_entry(0).id]
    assert not spool.add([an_entry(1)])[0].duplicate
    assert len(ids(spool)) == 2


def test_what_interrupts_a_commit_leaves_the_others_no_riddle(
    spool: SpoolFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, say, in the thread that commits for others too."""
    spool.add([an_entry(0)])
    put = spool_access._run

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        wait_until(lambda: len(spool._waiting) == 0)
        monkeypatch.setattr(spool_access, "_run", put)
        raise KeyboardInterrupt

    monkeypatch.setattr(spool_access, "_run", interrupted)
    with spool._access.lock, ThreadPoolExecutor(3) as pool:
        results = [pool.submit(spool.add, [an_entry(number)]) for number in (1, 2, 3)]
        wait_until(lambda: len(spool._waiting) == 3)
        spool._access.lock.release()
        errors = [type(result.exception()) for result in results]
        spool._access.lock.acquire()

    assert sorted(errors, key=str) == [KeyboardInterrupt, SpoolError, SpoolError]
    assert ids(spool) == [an_entry(0).id]


# Processes and forks


def test_two_processes_add_at_once(spool: SpoolFile, file: Path) -> None:
    """All that each was told is there, and neither was kept waiting until it was refused."""
    with python(ADDING, file, 1, 0) as one, python(ADDING, file, 2, 1_000_000) as two:
        for _ in range(50):
            assert one.stdout is not None
            assert two.stdout is not None
            said(one)
            said(two)
        told = []
        for process in (one, two):
            process.kill()
            told += words(process.stdout or ())

    assert set(told) <= set(ids(spool))
    assert len(ids(spool)) == len(set(ids(spool)))


def test_a_process_that_is_frozen_in_its_turn_holds_nobody_up_for_long(spool: SpoolFile, file: Path) -> None:
    code = "with spool._access.turn(time.monotonic()):\n    print('mine', flush=True)\n    sys.stdin.readline()"
    with python("spool.add([an_entry(1)])\n" + code, file) as process:
        assert said(process) == "mine"
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(SpoolError, match="kept locked"):
            spool.add([an_entry(2)])
        took = time.monotonic() - began
        process.send_signal(signal.SIGCONT)
        tell(process)
        process.wait()
    spool.add([an_entry(3)])

    assert took < 3
    assert ids(spool) == [an_entry(1).id, an_entry(3).id]


def test_the_claim_is_one_processs_until_it_dies(spool: SpoolFile, file: Path) -> None:
    with python("print(spool.claim(), spool.claim(), flush=True); sys.stdin.readline()", file) as process:
        theirs = said(process)
        ours = spool.claim()
        process.kill()
        process.wait()
        wait_until(spool.claim)
    with closing(SpoolFile(file, max_size=LARGE)) as other:
        refused = other.claim()
        spool.unclaim()
        spool.unclaim()
        granted = other.claim()

    assert theirs == "True True"
    assert (ours, refused, granted) == (False, False, True)


def test_the_claim_does_not_survive_its_lock_file(spool: SpoolFile, file: Path) -> None:
    """Who deleted it lets another process have the claim; both must not think so."""
    assert spool.claim()
    side(file, ".lock").unlink()
    with closing(SpoolFile(file, max_size=LARGE)) as other:
        assert other.claim()
        assert not spool.claim()


def test_the_claim_is_not_inherited_by_a_fork(spool: SpoolFile, file: Path) -> None:
    """A worker's child that outlives its parent must not keep it."""
    code = (
        "spool.claim()\n"
        "if os.fork() == 0:\n"
        "    print(spool.claim(), flush=True)\n"
        "    sys.stdin.readline()\n"
        "    os._exit(0)\n"
        "time.sleep(60)"
    )
    with python(code, file) as process:
        in_child = said(process)
        process.kill()
        process.wait()
        wait_until(spool.claim)
        tell(process)

    assert in_child == "False"


FORKING = """\
spool.add([an_entry(0)])
stop = threading.Event()
def add():
    number = 1000
    while not stop.is_set():
        spool.add([an_entry(number)])
        number += 1
thread = threading.Thread(target=add)
thread.start()
children = []
for first in range(10, 60, 10):
    child = os.fork()
    if child == 0:
        for number in range(first, first + 5):
            spool.add([an_entry(number)])
        os._exit(0 if an_entry(0).id in ids(spool) else 1)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
stop.set()
thread.join()
print(codes)
"""


def test_a_fork_in_the_midst_of_adding_harms_neither_parent_nor_child(spool: SpoolFile, file: Path) -> None:
    with python(FORKING, file) as process:
        codes = said(process)
    found = ids(spool)

    assert codes == "[0, 0, 0, 0, 0]"
    assert {an_entry(first + more).id for first in range(10, 60, 10) for more in range(5)} <= set(found)
    assert len(found) == len(set(found))


def test_what_a_child_adds_stays_when_its_parent_closes_the_file(spool: SpoolFile, file: Path) -> None:
    """SQLite carries through a fork which locks the process had, even for a new connection of the child's: a parent
    that closed as the last one deleted the log with the child's commits.
    """
    code = (
        "spool.add([an_entry(1)])\n"
        "here, there = os.pipe(), os.pipe()\n"
        "if os.fork() == 0:\n"
        "    spool.add([an_entry(2)])\n"
        "    os.write(here[1], b'x')\n"
        "    os.read(there[0], 1)\n"
        "    spool.add([an_entry(3)])\n"
        "    os.kill(os.getpid(), 9)\n"
        "os.read(here[0], 1)\n"
        "spool.take(1)\n"
        "spool.close()\n"
        "os.write(there[1], b'x')\n"
        "os.wait()\n"
        "print('done', flush=True)"
    )
    with python(code, file) as process:
        assert said(process) == "done"

    assert ids(spool) == [an_entry(number).id for number in (1, 2, 3)]


def test_a_child_that_inherits_an_open_connection_refuses(spool: SpoolFile, file: Path) -> None:
    """Where something forked that calls Python's hooks for the child alone, as uWSGI does."""
    spool.add([an_entry(1)])
    spool._access._after_fork_in_child()
    with pytest.raises(SpoolError, match="forked by something that is not Python"):
        spool.add([an_entry(2)])
    with pytest.raises(SpoolError, match="forked"):
        spool.take(1)

    assert not spool.empty()


IN_THE_WAY = """\
from trafficrelay.outbox import spool_access
spool_access._FORK_PATIENCE = 0.0
ready = threading.Event()
def hold():
    spool._make_directory()
    with spool._access.locked(), spool._access.turn(time.monotonic()):
        ready.set()
        time.sleep(60)
threading.Thread(target=hold, daemon=True).start()
ready.wait()
threading.Thread(target=spool.add, args=([an_entry(1)],), daemon=True).start()
while not spool._waiting:
    time.sleep(0.001)
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.readline()
    spool.add([an_entry(2)])
    print("added", flush=True)
    sys.stdin.readline()
    os._exit(0)
time.sleep(60)
"""


def test_a_child_has_nothing_of_what_its_parents_threads_were_at(spool: SpoolFile, file: Path) -> None:
    """Neither their turn, which would last as long as the child, nor what waited to be added, and was refused."""
    with python(IN_THE_WAY, file) as process:
        assert said(process) == "forked"
        process.kill()
        process.wait()
        spool.add([an_entry(3)])
        tell(process)
        assert said(process) == "added"
        tell(process)

    assert ids(spool) == [an_entry(3).id, an_entry(2).id]


def test_two_spools_in_one_process_share_a_file(spool: SpoolFile, file: Path) -> None:
    with closing(SpoolFile(file, max_size=LARGE)) as other, ThreadPoolExecutor(2) as pool:

        def add(each: tuple[SpoolFile, int]) -> None:
            for number in range(50):
                each[0].add([an_entry(each[1] + number)])

        list(pool.map(add, [(spool, 0), (other, 1000)]))

        assert len(ids(other)) == 100


def test_an_entry_says_what_it_is() -> None:
    entry: Entry = an_entry()

    assert entry == an_entry()
    with pytest.raises(AttributeError):
        entry.count = 2  # type: ignore[misc]


def test_a_mended_file_is_logged_but_once(spool: SpoolFile, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trafficrelay.spool")
    spool.add([an_entry()])
    spool.take(1)
    spool.summary()

    assert caplog.records == []
