"""The spool's file, from outside: its rows, copies of it, damage to it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SUFFIXES: Final = ("", "-wal")

_WAL_HEAD: Final = 32
_FRAME_HEAD: Final = 24
_PAGE: Final = 4096


def waiting(spool: Path, *, held: bool = False) -> int | None:
    """Count the events that wait in a spool, or those that are held back; `None` where that cannot be read now."""
    if not spool.exists():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(f"{spool.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM entries WHERE (error <> '') = ?", (held,)).fetchone()
            return int(count)
    except sqlite3.Error:
        return None


def copy(spool: Path, to: Path) -> bool:
    """Copy a spool that is in use, as a backup does that knows nothing of SQLite; say whether there was anything."""
    to.parent.mkdir(parents=True)
    copied = False
    for suffix in _SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(spool.with_name(spool.name + suffix), to.with_name(to.name + suffix))
            copied = True
    return copied


def tear(spool: Path, dice: random.Random) -> None:
    """Leave behind what a crash in the middle of a commit leaves: a frame at the log's end that is not whole.

    It has the salts of the log, so that it looks as if it belonged to it. Call it when no process has the spool open.
    """
    log = _log(spool)
    if not log.exists() or log.stat().st_size < _WAL_HEAD:
        return
    with log.open("r+b") as file:
        head = file.read(_WAL_HEAD)
        end = _end(log, head)
        frame = dice.randbytes(8) + head[16:24] + dice.randbytes(8 + _PAGE)
        file.seek(end)
        file.write(frame[: dice.randrange(1, len(frame) + 1)])


def flip_a_bit(spool: Path, dice: random.Random) -> str | None:
    """Flip one bit, and say where: `wal` or `db`; `None` where there is no file.

    In the log only in that part which holds what was committed since it was begun, without the last commit: a bit
    that is wrong there cannot be told from a commit that was torn. Call it when no process has the spool open.
    """
    lengths = {}
    if spool.exists():
        lengths["db"] = spool.stat().st_size
    log = _log(spool)
    if log.exists() and log.stat().st_size > _WAL_HEAD:
        with log.open("rb") as file:
            lengths["wal"] = _last_commit(log, _end(log, file.read(_WAL_HEAD)))
    lengths = {name: length for name, length in lengths.items() if length}
    if not lengths:
        return None
    # By turns, not by their sizes: the log is the smaller one, and more depends on it.
    name = dice.choice(sorted(lengths))
    with (log if name == "wal" else spool).open("r+b") as file:
        place = dice.randrange(lengths[name])
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1 << dice.randrange(8)]))
    return name


def ids_beside(spool: Path, wanted: set[str]) -> set[str]:
    """Find which events' ids stand in files that were set aside, or in rows that are held back: so they can be seen."""
    found: set[str] = set()
    for path in spool.parent.glob(f"{spool.name}.*-*"):
        data = path.read_bytes()
        found |= {one for one in wanted if f'"x-id":"{one}"'.encode() in data}
    return found | _held(spool, wanted)


def set_aside(spool: Path) -> list[Path]:
    """List the databases that were set aside."""
    return sorted(path for path in spool.parent.glob(f"{spool.name}.*-*") if not path.name.endswith(("-wal", "-shm")))


def _held(spool: Path, wanted: set[str]) -> set[str]:
    if not spool.exists():
        return set()
    query = "SELECT payload FROM entries JOIN payloads USING (seq) WHERE error <> ''"
    try:
        with contextlib.closing(sqlite3.connect(f"{spool.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
            data = b"".join(bytes(row[0]) for row in connection.execute(query))
    except sqlite3.Error:
        return set()
    return {one for one in wanted if f'"x-id":"{one}"'.encode() in data}


def _log(spool: Path) -> Path:
    return spool.with_name(spool.name + "-wal")


def _last_commit(log: Path, end: int) -> int:
    """Find where the last commit begins; 0 where it is the only one."""
    commits = []
    with log.open("rb") as file:
        for place in range(_WAL_HEAD, end, _FRAME_HEAD + _PAGE):
            file.seek(place + 4)
            # The size of the database after a commit; 0 in its frames before the last.
            if file.read(4) != bytes(4):
                commits.append(place + _FRAME_HEAD + _PAGE)
    return commits[-2] if len(commits) > 1 else 0


def _end(log: Path, head: bytes) -> int:
    """Find where the frames end that have the salts of the log's head; those behind are of before it was begun anew."""
    end, size = _WAL_HEAD, log.stat().st_size
    with log.open("rb") as file:
        while end + _FRAME_HEAD + _PAGE <= size:
            file.seek(end + 8)
            if file.read(8) != head[16:24]:
                break
            end += _FRAME_HEAD + _PAGE
    return end


def small_disk_missing() -> str | None:
    """Say what stands in the way of a small file system; `None` if nothing does."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        return "mounting a small file system needs Linux and root"
    return None


@contextlib.contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system of this size at a directory, which is made."""
    directory.mkdir(parents=True)
    options = f"size={megabytes}m,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=True, capture_output=True)
    try:
        yield directory
    finally:
        # Lazily: a process that is just ending may still have a file open there.
        subprocess.run(["umount", "--lazy", str(directory)], check=True, capture_output=True)
