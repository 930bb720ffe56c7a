"""What the tests of the spool's file share: entries that can be recomputed, processes, and copies of live files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trafficrelay.outbox.spool_file import Entry, SpoolFile

ROOT = Path(__file__).parent.parent
LARGE = 1 << 30

_BEGIN = """\
import os, sys, threading, time
from pathlib import Path
from tests.spool_support import *

spool = SpoolFile(Path(sys.argv[1]), max_size=LARGE)
"""

ADDING = """\
import random
chance = random.Random(int(sys.argv[2]))
first = int(sys.argv[3])
while True:
    batch = [an_entry(number) for number in range(first, first + chance.choice([1, 1, 3, 20]))]
    first += len(batch)
    spool.add(batch)
    print(*(entry.id for entry in batch), flush=True)
"""
"""Adds, and tells what it has added. Its arguments are a seed and the first entry's number."""


def payload_of(id_: str, size: int = 1500) -> bytes:
    """Give the payload that the entry of an id has in all these tests."""
    return hashlib.shake_256(id_.encode()).digest(size)


def an_entry(number: int = 1, **fields: Any) -> Entry:
    """Make the entry of a number; `fields` replace what it says."""
    usual = {
        "id": f"{number:032x}",
        "count": 1,
        "dedupe": None,
        "route": "/hooks/<shop>",
        "since": 1_700_000_000.25 + number,
        "doubtful": False,
    }
    merged = usual | fields
    return Entry(**({"payload": payload_of(merged["id"])} | merged))


def ids(spool: SpoolFile) -> list[str]:
    """Give the ids of all that can be taken, in order."""
    return [stored.entry.id for stored in spool.take(1_000_000)]


@contextmanager
def python(
    code: str, file: Path, *args: object, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run code in a process that has the spool's file as `spool`; it is killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _BEGIN + code, str(file), *map(str, args)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def said(process: subprocess.Popen[str]) -> str:
    """Wait for a process' next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], line: str = "") -> None:
    """Write a line to a process."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def words(lines: Iterable[str]) -> list[str]:
    """Give the words of whole lines; the last may be torn."""
    return [word for line in lines if line.endswith("\n") for word in line.split()]


def copy(file: Path, target: Path, suffixes: Iterable[str] = ("", "-wal")) -> Path:
    """Copy a live spool.

    In another process: one that opens and closes the file itself loses the locks that SQLite has on it. The database
    first, then the log: pages that are copied from the log into the database meanwhile are in the log as well, until
    that is begun again, and then its header has other salts (`log_salts`).
    """
    target.parent.mkdir(exist_ok=True)
    subprocess.run(
        ["sh", "-c", 'f=$0 t=$1; shift; for s; do cp "$f$s" "$t$s"; done', str(file), str(target), "", *suffixes],
        check=True,
    )
    return target


def log_salts(file: Path) -> bytes:
    """Give what tells a write-ahead log from the one that was there before it was begun again."""
    log = file.with_name(file.name + "-wal")
    return log.read_bytes()[16:24] if log.exists() else b""


def beside(file: Path, kind: str) -> list[Path]:
    """Give the databases that were set aside, in order."""
    return sorted(
        path for path in file.parent.glob(f"{file.name}.{kind}-*") if not path.name.endswith(("-wal", "-shm"))
    )
