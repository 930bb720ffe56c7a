"""The spool's file when things break: what was acknowledged stays, and what was refused stays away."""

from __future__ import annotations

import logging
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from trafficrelay.errors import SpoolError, SpoolFull
from trafficrelay.outbox import spool_database
from trafficrelay.outbox.spool_file import DAMAGED, NAMELESS, SpoolFile
from trafficrelay.outbox.spool_reader import SpoolReader

from .spool_support import (
    ADDING,
    LARGE,
    an_entry,
    beside,
    copy,
    ids,
    log_salts,
    payload_of,
    python,
    said,
    tell,
    words,
)

SEED = 20260301
PAGE = 4096
FRAME = PAGE + 24
LOG_HEADER = 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool" / "spool.db"


@pytest.fixture
def spool(file: Path) -> Iterator[SpoolFile]:
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        yield spool


def side(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


def overwrite(file: Path, position: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(position)
        opened.write(data)


def filled(file: Path, count: int = 60) -> list[int]:
    """Make a spool that is closed, and give the entries' places."""
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        spool.add([an_entry(number, dedupe=f"d{number}") for number in range(count)])
        return [stored.seq for stored in spool.take(count)]


# Processes that die


def test_what_a_process_was_told_is_there_however_often_it_is_killed(file: Path, spool: SpoolFile) -> None:
    chance = random.Random(SEED)
    told: set[str] = set()
    for round_ in range(12):
        with python(ADDING, file, round_, round_ * 1_000_000) as process:
            told.update(said(process).split())
            time.sleep(chance.uniform(0, 0.06))
            process.kill()
            told.update(words(process.stdout or ()))
        if round_ % 3 == 0:
            assert told <= set(ids(spool))
    found = spool.take(1_000_000)

    assert len(told) > 500
    assert told <= {stored.entry.id for stored in found}
    assert all(stored.entry.payload == payload_of(stored.entry.id) for stored in found)
    assert len(found) == len({stored.entry.id for stored in found})
    assert not beside(file, "*")


def test_two_that_are_killed_while_they_take_turns_leave_what_they_were_told(file: Path) -> None:
    told: set[str] = set()
    for round_ in range(3):
        first = round_ * 10_000_000
        with python(ADDING, file, 1, first) as one, python(ADDING, file, 2, first + 5_000_000) as two:
            for process in (one, two):
                told.update(said(process).split())
            time.sleep(0.05)
            one.kill()
            told.update(said(two).split())
            two.kill()
            for process in (one, two):
                told.update(words(process.stdout or ()))
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        assert told <= set(ids(spool))


def test_a_copy_that_is_taken_while_a_process_adds_has_all_that_was_told_before(file: Path, tmp_path: Path) -> None:
    """The database is copied first, then the log. It holds if the log was not begun again meanwhile: see `copy`."""
    chance = random.Random(SEED)
    told: list[str] = []
    copies: list[tuple[Path, int]] = []

    def listen(lines: Iterator[str]) -> None:
        for line in lines:
            if line.endswith("\n"):
                told.extend(line.split())

    with python(ADDING, file, 1, 0) as process:
        assert process.stdout is not None
        told.extend(said(process).split())
        listener = threading.Thread(target=listen, args=(process.stdout,))
        listener.start()
        for number in range(12):
            time.sleep(chance.uniform(0, 0.05))
            before, count = log_salts(file), len(told)
            copied = copy(file, tmp_path / str(number) / "spool.db")
            if before and before == log_salts(file):
                copies.append((copied, count))
        process.kill()
        listener.join()
    found = []
    for copied, count in copies:
        with closing(SpoolFile(copied, max_size=LARGE)) as spool:
            entries = spool.take(1_000_000)
            found.append({stored.entry.id for stored in entries} >= set(told[:count]) and not beside(copied, "*"))
            assert all(stored.entry.payload == payload_of(stored.entry.id) for stored in entries)

    assert len(copies) >= 4
    assert all(found)


# Torn and flipped


def test_of_a_torn_log_all_earlier_commits_are_there_and_the_torn_one_is_not(
    spool: SpoolFile, file: Path, tmp_path: Path
) -> None:
    for number in range(5):
        spool.add([an_entry(number)])
    before = side(file, "-wal").stat().st_size
    spool.add([an_entry(5, dedupe="d"), an_entry(6)])
    whole = copy(file, tmp_path / "copy" / "spool.db")
    log = side(whole, "-wal").read_bytes()
    assert len(log) > before
    positions = {*range(before, len(log), 397), before, before + 1, len(log) - FRAME, len(log) - 1}
    tears = [log[:position] for position in sorted(positions)]
    # A disk may also write the end before the middle.
    tears += [log[:place] + bytes(FRAME) + log[place + FRAME :] for place in range(before, len(log), FRAME)]
    outcomes = set()
    for number, tear in enumerate(tears):
        torn = tmp_path / f"torn-{number}" / "spool.db"
        torn.parent.mkdir()
        shutil.copy(whole, torn)
        side(torn, "-wal").write_bytes(tear)
        with closing(SpoolFile(torn, max_size=LARGE)) as again:
            outcomes.add(tuple(ids(again)))
            outcomes.add(tuple(one.duplicate for one in again.add([an_entry(4), an_entry(5)])))
            assert len(ids(again)) == 6
        assert not beside(torn, "*")

    assert outcomes == {tuple(an_entry(number).id for number in range(5)), (True, False)}


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_flipped_bit_never_gives_a_wrong_payload_and_never_ends_the_adding(
    spool: SpoolFile, file: Path, tmp_path: Path, suffix: str
) -> None:
    entries = {}
    for number in range(12):
        size = 9000 if number == 3 else 700
        entry = an_entry(number, dedupe=f"d{number}", payload=payload_of(an_entry(number).id, size))
        entries[entry.id] = entry
        spool.add([entry])
    if not suffix:
        spool.close()
    whole = copy(file, tmp_path / "copy" / "spool.db", ["", suffix])
    content = side(whole, suffix).read_bytes()
    chance = random.Random(SEED)
    header = range(100) if not suffix else range(LOG_HEADER)
    positions = [*chance.sample(header, 20), *chance.sample(range(len(content)), 70)]
    damaged = tmp_path / "damaged" / "spool.db"
    for position in positions:
        shutil.rmtree(damaged.parent, ignore_errors=True)
        damaged.parent.mkdir()
        shutil.copy(whole, damaged)
        if suffix:
            shutil.copy(side(whole, "-wal"), side(damaged, "-wal"))
        bit = 1 << chance.randrange(8)
        overwrite(side(damaged, suffix), position, bytes([content[position] ^ bit]))
        where = f"bit {bit} of byte {position}"
        for read in (_all_of, lambda reader: reader.summary() and []):
            with closing(SpoolReader(damaged)) as reader:
                assert _wrong(read, reader, entries) == [], where
        with closing(SpoolFile(damaged, max_size=LARGE)) as again:
            taken = again.take(100)
            assert all(stored.entry == entries.get(stored.entry.id) for stored in taken), where
            (kept,) = again.add([an_entry(100)])
            assert not kept.duplicate, where
            again.check()
            again.remove([stored.seq for stored in taken])
            left = ids(again)
            assert left == [an_entry(100).id] or (not left and beside(damaged, "corrupt")), where
            again.add([an_entry(101)])
            assert an_entry(101).id in ids(again), where


def _all_of(reader: SpoolReader) -> list[object]:
    return [stored for stored in reader.entries() if not stored.error]


def _wrong(
    read: Callable[[SpoolReader], list[object]], reader: SpoolReader, entries: dict[str, object]
) -> list[object]:
    try:
        return [stored for stored in read(reader) if stored.entry != entries.get(stored.entry.id)]  # type: ignore[attr-defined]
    except SpoolError:
        return []


def test_an_entry_whose_digest_does_not_fit_is_held_back_and_logged_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(file, 5)
    position = file.read_bytes().index(payload_of(an_entry(2).id)) + 700
    overwrite(file, position, b"\0\0\0\0")
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        taken = [ids(spool), ids(spool), [stored.entry.id for stored in spool.take(2, after=spool.take(2)[-1].seq)]]
        summary = spool.summary()
        errors = [stored.error for stored in spool.entries()]
        released = spool.release()
        (kept,) = spool.add([an_entry(2)])
        after = ids(spool)
    good = [an_entry(number).id for number in (0, 1, 3, 4)]

    assert taken == [good, good, good[2:]]
    assert (summary.waiting, summary.held) == (4, 1)
    assert errors == ["", "", DAMAGED, "", ""]
    assert released == 0
    assert not kept.duplicate
    assert after == [*good, an_entry(2).id]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "1 entries of the spool" in caplog.text


def test_an_entry_of_which_the_payload_alone_is_whole_is_held_back_with_it(file: Path) -> None:
    """Its description may say another route, or that Redis was not sent it."""
    filled(file, 3)
    position = file.read_bytes().index(b"/hooks/<shop>")
    overwrite(file, position, b"/other")
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        taken = ids(spool)
        released = spool.release()
        (held,) = (stored for stored in spool.entries() if stored.error)
        (kept,) = spool.add([an_entry(int(held.entry.id, 16))])

    assert len(taken) == 2
    assert released == 0
    assert held.error == NAMELESS
    assert held.entry.payload == payload_of(held.entry.id)
    assert not kept.duplicate


def test_damage_that_shows_when_a_page_is_read_sets_the_file_aside_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(file, 2000)  # more than SQLite keeps in memory
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        spool.take(1)
        # In another process: this one would lose SQLite's locks.
        subprocess.run(
            ["dd", "if=/dev/urandom", f"of={file}", f"bs={PAGE}", "seek=50", "count=300", "conv=notrunc"],
            check=True,
            capture_output=True,
        )
        spool.take(2000)
        spool.add([an_entry(7000)])
        found = ids(spool)
    (aside,) = beside(file, "corrupt")
    with closing(SpoolReader(aside)) as reader:
        rescued = [stored for stored in reader.entries() if not stored.error]
        summary = reader.summary()

    assert found == [an_entry(7000).id]
    assert 0 < len(rescued) < 2000
    assert summary.waiting == len(rescued)
    assert all(stored.entry.payload == payload_of(stored.entry.id) for stored in rescued)
    assert f"is damaged. It was set aside as {aside}" in caplog.text


def disorder(file: Path) -> None:
    """Exchange two entries' places in the order of a page, so that they are given but cannot be found."""
    content = file.read_bytes()
    # A leaf of a table whose cells hold entries, not payloads: their text begins with an id.
    leaves = (
        place
        for place in range(0, len(content), PAGE)
        if content[place] == 13 and b"/hooks/<shop>" in content[place : place + PAGE] and place
    )
    pointers = next(leaves) + 8
    swapped = bytearray(content[pointers : pointers + 20])
    swapped[:2], swapped[18:] = swapped[18:], swapped[:2]
    overwrite(file, pointers, bytes(swapped))


def test_a_file_whose_pages_contradict_each_other_is_set_aside_when_it_is_opened(file: Path) -> None:
    filled(file)
    disorder(file)
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        assert spool.take(100) == []
    with closing(SpoolReader(beside(file, "corrupt")[0])) as reader:
        assert len([stored for stored in reader.entries() if not stored.error]) >= 58


def test_entries_that_cannot_be_removed_are_not_given_for_ever(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(file)
    disorder(file)
    monkeypatch.setattr(spool_database, "is_sound", lambda _: True)
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        taken = spool.take(100)
        assert len(taken) >= 58
        spool.remove([stored.seq for stored in taken])

        assert spool.take(100) == []
        assert spool.empty()
    assert len(beside(file, "corrupt")) == 1


def test_a_message_of_sqlite_that_is_no_text_is_damage_too(file: Path) -> None:
    """It quotes the file, and Python cannot decode it."""
    filled(file, 3)
    overwrite(file, file.read_bytes().index(b"CREATE TABLE payloads") + 20, b"\x94 \x94 \x94")
    with closing(SpoolReader(file)) as reader:
        assert [stored.error for stored in reader.entries()] == [DAMAGED] * 3
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        spool.add([an_entry(7)])

        assert ids(spool) == [an_entry(7).id]


def test_of_a_file_that_was_cut_off_the_rest_can_be_read(file: Path) -> None:
    filled(file)
    size = file.stat().st_size
    os.truncate(file, size * 2 // 3 // PAGE * PAGE)
    with closing(SpoolReader(file)) as reader:
        found = list(reader.entries())
        summary = reader.summary()

    payloads = {payload_of(an_entry(number).id) for number in range(60)}
    whole = [stored for stored in found if stored.error != DAMAGED]

    assert len(whole) > 25
    assert {stored.entry.payload for stored in whole} < payloads
    assert summary.waiting + summary.held == len(found)


def test_a_database_whose_log_is_left_alone_is_not_mistaken_for_a_new_one(spool: SpoolFile, file: Path) -> None:
    """SQLite deletes a log that lies beside an empty database."""
    spool.add([an_entry(1)])
    for broken in (file.unlink, lambda: file.write_bytes(b"")):
        log = copy(file, file.parent / "copy.db")
        spool.close()
        broken()
        side(log, "-wal").replace(side(file, "-wal"))
        spool.add([an_entry(2)])

        assert ids(spool) == [an_entry(2).id]
    assert len(list(file.parent.glob("*.corrupt-*-wal"))) == 2


SETTING_ASIDE = (
    "print('ready', flush=True); sys.stdin.readline()\nspool.add([an_entry(int(sys.argv[2]))])\nprint('done')"
)


def test_of_two_processes_that_find_it_damaged_one_sets_it_aside(file: Path) -> None:
    """The other must not set aside the fresh file, with what is in it already."""
    for round_ in range(4):
        filled(file)
        overwrite(file, PAGE, bytes(PAGE * 3))
        with python(SETTING_ASIDE, file, 1) as one, python(SETTING_ASIDE, file, 2) as two:
            for process in (one, two):
                assert said(process) == "ready"
            for process in (one, two):
                tell(process)
            for process in (one, two):
                assert said(process) == "done"
        with closing(SpoolFile(file, max_size=LARGE)) as spool:
            assert sorted(ids(spool)) == [an_entry(1).id, an_entry(2).id]
        assert len(beside(file, "corrupt")) == round_ + 1


def test_a_process_that_had_the_damaged_file_open_goes_on_with_the_fresh_one(file: Path) -> None:
    """And leaves the fresh one's log alone when it lets go of the old one."""
    filled(file)
    code = (
        "spool.take(1)\nprint('open', flush=True)\nsys.stdin.readline()\n"
        "print(*ids(spool), flush=True)\nspool.add([an_entry(8)])\nspool.close()\nprint('closed', flush=True)"
    )
    with python(code, file) as process:
        assert said(process) == "open"
        overwrite(file, 0, b"SQLite format 9\0")
        with closing(SpoolFile(file, max_size=LARGE)) as spool:
            spool.add([an_entry(7)])
            tell(process)
            theirs = said(process)
            closed = said(process)
            spool.add([an_entry(9)])
            found = ids(spool)

    assert theirs == an_entry(7).id
    assert closed == "closed"
    assert found == [an_entry(number).id for number in (7, 8, 9)]
    assert len(beside(file, "corrupt")) == 1


# Disks


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    path.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("needs the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_takes_no_more_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    added: list[str] = []
    with small_disk(disk, "1m"), closing(SpoolFile(disk / "spool.db", max_size=LARGE)) as spool:

        def fill() -> None:
            for number in range(1000):
                spool.add([an_entry(number, payload=payload_of(str(number), 10_000))])
                added.append(an_entry(number).id)

        with pytest.raises(SpoolFull, match=r"The disk that the spool .* is on is full"):
            fill()
        with pytest.raises(SpoolFull):
            spool.check()
        held = ids(spool)
        with closing(SpoolFile(disk / "spool.db", max_size=LARGE)) as other:
            there = ids(other)
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        spool.check()
        spool.add([an_entry(9000)])
        spool.remove([stored.seq for stored in spool.take(len(added))])
        left = ids(spool)

    assert len(added) > 10
    assert held == there == added
    assert left == [an_entry(9000).id]


def test_a_disk_that_is_full_from_the_start_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "64k"), closing(SpoolFile(disk / "spool.db", max_size=LARGE)) as spool:
        (disk / "filling").write_bytes(bytes(60 * 1024))
        for ask in (lambda: spool.add([an_entry(1)]), spool.check):
            with pytest.raises(SpoolFull):
                ask()
        (disk / "filling").unlink()
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        spool.add([an_entry(1)])

        assert ids(spool) == [an_entry(1).id]
        assert not beside(disk / "spool.db", "*")


def test_a_disk_that_became_read_only_is_told_and_nothing_is_set_aside(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "4m"), closing(SpoolFile(disk / "spool.db", max_size=LARGE)) as spool:
        spool.add([an_entry(1)])
        spool.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for ask in (lambda: spool.add([an_entry(2)]), spool.check):
            with pytest.raises(SpoolError, match="cannot be used"):
                ask()
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        spool.add([an_entry(3)])

        assert ids(spool) == [an_entry(1).id, an_entry(3).id]
        assert not beside(disk / "spool.db", "*")


FAILING = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* An fsync fails while the file that FAIL_SYNC names is there. What was written stays where it is. */
static int failing(void) { return access(getenv("FAIL_SYNC"), F_OK) == 0; }

int fsync(int fd) {
    if (failing()) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
    if (failing()) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""

COMMANDS = """\
for line in sys.stdin:
    words = line.split()
    try:
        if words[0] == "check":
            spool.check()
        elif words[0] == "remove":
            spool.remove([stored.seq for stored in spool.take(1)])
        else:
            spool.add([an_entry(int(word)) for word in words])
    except Exception as error:
        print(type(error).__name__, flush=True)
    else:
        print("good", flush=True)
"""


@pytest.fixture
def failing_sync(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """What makes fsyncs fail in a process: its environment, and the file that switches it on."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    source, library, switch = (tmp_path / name for name in ("failing.c", "failing.so", "failing"))
    source.write_text(FAILING)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "FAIL_SYNC": str(switch)}, switch


@pytest.mark.parametrize("goes_on", ["killed", "closed", "healed"])
def test_what_was_refused_because_an_fsync_failed_does_not_come_back(
    file: Path, failing_sync: tuple[dict[str, str], Path], goes_on: str
) -> None:
    """Its frames lie whole in the log, where a recovery would find them."""
    environment, switch = failing_sync

    def ask(line: str) -> str:
        tell(process, line)
        return said(process)

    with python(COMMANDS, file, env=environment) as process:
        answers = [ask("1 2"), ask("3")]
        switch.touch()
        answers += [ask("4 5 6"), ask("7"), ask("check"), ask("remove")]
        if goes_on == "healed":
            switch.unlink()
            answers += [ask("check"), ask("8")]
        elif goes_on == "closed":
            # The last that has it open: SQLite would bring the log into the database now.
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
    switch.unlink(missing_ok=True)
    with python(COMMANDS, file, env=environment) as process:
        answers.append(ask("9"))
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        found = ids(spool)

    refused = ["SpoolError"] * 4
    healed = ["good", "good"] if goes_on == "healed" else []
    assert answers == ["good", "good", *refused, *healed, "good"]
    assert found == [an_entry(number).id for number in (1, 2, 3, *([8] if healed else []), 9)]
    assert not beside(file, "*")


def test_after_a_failed_fsync_nothing_is_acknowledged_before_the_log_was_begun_again(
    file: Path, failing_sync: tuple[dict[str, str], Path]
) -> None:
    """The kernel calls pages clean that it could not write, and says so once: what comes behind them in the log would
    be lost with them.
    """
    environment, switch = failing_sync
    with python(COMMANDS, file, env=environment) as process:
        tell(process, "1")
        answers = [said(process)]
        before = log_salts(file)
        switch.touch()
        tell(process, "2")
        answers.append(said(process))
        switch.unlink()
        tell(process, "3")
        answers.append(said(process))
        after = log_salts(file)

    assert answers == ["good", "SpoolError", "good"]
    assert before != after


def test_after_a_failed_fsync_a_reader_that_keeps_the_log_from_being_begun_again_is_waited_for(
    file: Path, failing_sync: tuple[dict[str, str], Path]
) -> None:
    environment, switch = failing_sync
    with (
        python(COMMANDS, file, env=environment) as process,
        closing(sqlite3.connect(file, isolation_level=None)) as reader,
    ):
        answers = []
        for line in ("1", "2", "3", "4"):
            if line == "2":
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM entries").fetchone()
                switch.touch()
            if line == "4":
                reader.execute("ROLLBACK")
            tell(process, line)
            answers.append(said(process))
            switch.unlink(missing_ok=True)

    assert answers == ["good", "SpoolError", "SpoolError", "good"]


def test_damage_in_the_place_of_the_last_entry_does_not_end_the_adding(file: Path) -> None:
    """One place behind it is none that SQLite can count to."""
    filled(file, 3)
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE entries SET seq = 9223372036854775807 WHERE seq = (SELECT max(seq) FROM entries)")
        database.commit()
    with closing(SpoolFile(file, max_size=LARGE)) as spool:
        spool.add([an_entry(7)])

        assert an_entry(7).id in ids(spool)
    assert len(beside(file, "corrupt")) == 1


# The write-ahead log


@pytest.fixture
def logged(spool: SpoolFile, file: Path, tmp_path: Path) -> Path:
    """A copy of a spool whose process was killed: ten commits, of which the log alone has the last nine."""
    for number in range(10):
        spool.add([an_entry(number, dedupe=f"d{number}")])
        if number == 0:
            spool._access.empty_log()
    return copy(file, tmp_path / "logged" / "spool.db")


def commits(log: bytes) -> list[int]:
    """Give where each commit's frames end."""
    places = range(LOG_HEADER, len(log), FRAME)
    return [place + FRAME for place in places if log[place + 4 : place + 8] != bytes(4)]


def test_what_comes_behind_a_flipped_bit_in_the_log_is_not_forgotten(
    logged: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite believes a log up to there. All but the entry that the bit is in, and the last commit, is given."""
    chance = random.Random(SEED)
    log = side(logged, "-wal").read_bytes()
    ends = commits(log)
    assert len(ends) == 9
    headers = [place + chance.randrange(24) for place in range(LOG_HEADER, ends[-3], FRAME)]
    pages = [place + 24 + chance.randrange(PAGE) for place in range(LOG_HEADER, ends[-3], FRAME)]
    lost, held = 0, 0
    for position in [*range(0, 32, 3), *chance.sample(headers, 20), *chance.sample(pages, 30)]:
        target = tmp_path / f"{position}" / "spool.db"
        target.parent.mkdir()
        shutil.copy(logged, target)
        flipped = bytearray(log)
        flipped[position] ^= 1 << chance.randrange(8)
        side(target, "-wal").write_bytes(flipped)
        with closing(SpoolFile(target, max_size=LARGE)) as spool:
            found = spool.take(100)
            assert all(stored.entry.payload == payload_of(stored.entry.id) for stored in found)
            held += spool.summary().held
            spool.add([an_entry(99)])
        with closing(SpoolFile(target, max_size=LARGE)) as spool:
            assert len(ids(spool)) in (len(found) + 1, 1)
        asides = beside(target, "corrupt")
        if asides:
            with closing(SpoolReader(asides[0])) as reader:
                found = [stored for stored in reader.entries() if not stored.error]
        lost = max(lost, 10 - len(found))
        assert len(found) >= 9, f"byte {position}"
        assert not side(target, "-hidden").exists()

    assert lost <= 1
    assert held > 0
    assert "was damaged, and was mended" in caplog.text


def test_mending_that_was_interrupted_is_done_again(logged: Path, tmp_path: Path) -> None:
    """Whether the damaged log was just hidden, or a mended one half written, or in its place."""
    log = side(logged, "-wal").read_bytes()
    damaged = bytearray(log)
    damaged[LOG_HEADER + 100] ^= 1
    for number, (shown, hidden, fresh) in enumerate(
        [(b"", damaged, b""), (b"", damaged, log[: 2 * FRAME]), (log, damaged, b""), (damaged, b"", log[: 2 * FRAME])]
    ):
        target = tmp_path / str(number) / "spool.db"
        target.parent.mkdir()
        shutil.copy(logged, target)
        for suffix, content in {"-wal": shown, "-hidden": hidden, "-fresh": fresh}.items():
            if content:
                side(target, suffix).write_bytes(content)
        with closing(SpoolFile(target, max_size=LARGE)) as spool:
            assert len(ids(spool)) >= 9
        assert not side(target, "-hidden").exists()


def test_a_page_that_there_is_not_does_not_keep_a_log_from_being_mended(logged: Path) -> None:
    """The bit is in a page's number: SQLite would take the log for torn again."""
    overwrite(side(logged, "-wal"), LOG_HEADER + 8 * FRAME, bytes(4))
    with closing(SpoolFile(logged, max_size=LARGE)) as spool:
        found = ids(spool)
        spool.add([an_entry(99)])
        assert an_entry(99).id in ids(spool)
    for aside in beside(logged, "corrupt"):
        with closing(SpoolReader(aside)) as reader:
            found += [stored.entry.id for stored in reader.entries() if not stored.error]

    assert len(set(found)) >= 8


def test_a_log_that_cannot_be_mended_is_set_aside(logged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the adding goes on."""
    monkeypatch.setattr(spool_database, "mended", lambda _raw, _seen: bytes(100))
    with closing(SpoolFile(logged, max_size=LARGE)) as spool:
        spool.add([an_entry(99)])

        assert ids(spool) == [an_entry(99).id]
    assert len(beside(logged, "corrupt")) == 1


@pytest.mark.parametrize("room", [9, 20])
def test_a_full_disk_keeps_the_log_from_being_mended_but_not_for_ever(logged: Path, tmp_path: Path, room: int) -> None:
    """Be it that the log cannot be copied into the database, or that a mended one cannot be written."""
    disk = tmp_path / "disk"
    with small_disk(disk, "1m"):
        damaged = bytearray(side(logged, "-wal").read_bytes())
        damaged[LOG_HEADER + FRAME * 30 + 100] ^= 1
        target = disk / "spool.db"
        shutil.copy(logged, target)
        side(target, "-wal").write_bytes(damaged)
        (disk / "filling").write_bytes(bytes((os.statvfs(disk).f_bavail - room) * PAGE))
        with closing(SpoolFile(target, max_size=LARGE)) as spool:
            with pytest.raises(SpoolFull):
                spool.take(1)
            assert side(target, "-wal").read_bytes() == damaged
            (disk / "filling").unlink()
            found = ids(spool)

    assert len(found) >= 9


TRYING = """\
from trafficrelay.errors import SpoolError
try:
    spool.add([an_entry(50)])
except SpoolError as error:
    print(error)
"""


def test_nothing_is_written_over_what_a_reader_keeps_from_being_mended(logged: Path) -> None:
    """A reader that came first has made SQLite forget, and it does so for all until the reader goes."""
    log = side(logged, "-wal")
    damaged = bytearray(log.read_bytes())
    damaged[LOG_HEADER + FRAME * 6 + 100] ^= 1
    log.write_bytes(damaged)
    with python("print('ready', flush=True)", logged) as process:
        said(process)
    with closing(SpoolReader(logged)) as reader:
        seen = len(list(reader.entries()))
        with python(TRYING, logged) as process:
            refused = said(process)
    with closing(SpoolFile(logged, max_size=LARGE)) as spool:
        after = len(ids(spool))

    assert seen < 5
    assert "cannot be mended until a process that reads it has ended" in refused
    assert after >= 9
