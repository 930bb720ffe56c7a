"""fsync that fails, and writes that a power cut undoes: `disk_faults.c`, compiled and told what to do."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_suffix(".c")
_HEAD: Final = struct.Struct("=QQQ")


def missing() -> str | None:
    """Say what stands in the way of disk faults on this machine; `None` if nothing does."""
    if sys.platform != "linux":
        return "LD_PRELOAD is Linux's"
    if shutil.which("cc") is None:
        return "there is no C compiler (cc)"
    return None


class DiskFaults:
    """Faults of the disk for processes that are started with `environment`.

    Args:
        directory: where the library and its state are kept; it is made.
        match: acts on files whose path holds this text.
    """

    def __init__(self, directory: Path, match: str) -> None:
        self._directory = directory
        self._match = match
        (directory / "undo").mkdir(parents=True)
        self._library = directory / "disk_faults.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O2", "-o", str(self._library), str(_SOURCE), "-ldl"],
            check=True,
            capture_output=True,
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """What the environment of a process needs so that its disk can fail."""
        return {
            "LD_PRELOAD": str(self._library),
            "CHAOS_DISK": str(self._directory),
            "CHAOS_DISK_MATCH": self._match,
        }

    def set_failing(self, failing: bool) -> None:
        """Have every fsync fail from now on, or no more."""
        switch = self._directory / "failing"
        if failing:
            switch.touch()
        else:
            switch.unlink(missing_ok=True)

    def cut_power(self) -> int:
        """Undo every write that no fsync has followed, and give their number; call it when the processes were killed.

        This is the worst that a power cut may do to the files' contents. (It may also do less, and in any order.)
        """
        undone = 0
        for undo in (self._directory / "undo").iterdir():
            path = Path(undo.name.replace("%", "/"))
            entries = _read(undo.read_bytes())
            if path.exists():
                _put_back(path, entries)
                undone += len(entries)
            undo.unlink()
        return undone


def _read(data: bytes) -> list[tuple[int, bytes, int]]:
    """Read an undo file: offset, old bytes and old size of each entry.

    The last one may be torn: its write never was.
    """
    entries, at = [], 0
    while at + _HEAD.size <= len(data):
        offset, length, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + length > len(data):
            break
        entries.append((offset, data[at : at + length], size))
        at += length
    return entries


def _put_back(path: Path, entries: list[tuple[int, bytes, int]]) -> None:
    with path.open("r+b") as file:
        for offset, old, size in reversed(entries):
            file.seek(offset)
            file.write(old)
            file.flush()
            os.ftruncate(file.fileno(), size)
