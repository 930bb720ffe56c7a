"""The files that a spool consists of: SQLite's database, its write-ahead log, and what SQLite keeps beside them.

Nothing here opens the database while SQLite has it open: closing any descriptor of it drops the locks that SQLite holds
on it, for the whole process (https://sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path
from typing import Final, TypeAlias

_log = logging.getLogger("trafficrelay.spool")

Inode: TypeAlias = tuple[int, int] | None
"""Which file it is, whatever its name: its device and its number there. `None`: there is none."""

_SUFFIXES: Final = ("", "-wal", "-shm", "-journal", "-hidden", "-fresh")
_MAGIC: Final = b"SQLite format 3\x00"

# A database with this little room left is refused more: SQLite needs some for its log and its index.
_ROOM: Final = 64 * 1024

_SET_ASIDE: Final = {
    "corrupt": "The spool %s is damaged. It was set aside as %s, and the spool begins anew.",
    "foreign": "The file %s is no spool of trafficrelay. It was set aside as %s, and the spool begins anew.",
}


class Files:
    """The files of one spool.

    Args:
        path: the database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._all = tuple(path.with_name(path.name + suffix) for suffix in _SUFFIXES)
        self._hidden, self._fresh = self._all[4:]

    def inode(self) -> Inode:
        """Say which file lies at the path."""
        return _inode(self.path)

    def inodes(self) -> tuple[Inode, ...]:
        """Say which files lie there as database, log and index of the log."""
        return tuple(_inode(path) for path in self._all[:3])

    def size(self) -> int:
        """Give the database's bytes, 0 where there is none."""
        return _size(self.path)

    def log_size(self) -> int:
        """Give the write-ahead log's bytes, 0 where there is none."""
        return _size(self._all[1])

    def log(self) -> bytes:
        """Give the write-ahead log. SQLite has no locks on it."""
        return self._all[1].read_bytes()

    def hide_log(self) -> None:
        """Take the log away from SQLite, which would delete it when it closes the database."""
        self._all[1].replace(self._hidden)
        _sync(self.path.parent)

    def show_log(self) -> None:
        """Put a log that was hidden back, if there is one and nothing has taken its place."""
        if self._hidden.exists():
            if self.log_size():
                self._hidden.unlink()
            else:
                self._hidden.replace(self._all[1])
            _sync(self.path.parent)

    def put_log(self, log: bytes) -> None:
        """Put a log in the place of the one that was hidden."""
        os.close(open_private(self._fresh))
        with self._fresh.open("wb") as file:
            file.write(log)
            file.flush()
            os.fsync(file.fileno())
        self._fresh.replace(self._all[1])
        _sync(self.path.parent)

    def is_open(self) -> bool:
        """Say whether anybody has the database open: the last to close it deletes the log's index."""
        return self._all[2].exists()

    def make(self) -> None:
        """Make an empty database. SQLite would make it with the umask."""
        os.close(open_private(self.path))
        _sync(self.path.parent)

    def make_private(self) -> None:
        """Take the files away from all but their owner. What SQLite makes later has the database's mode."""
        for path in self._all:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mode & 0o777 != 0o600:
                    path.chmod(0o600)

    def looks_like(self, application_id: int) -> bool:
        """Say whether its header, damaged perhaps, is SQLite's or has our id. It costs a connection its locks."""
        header = self._header()
        return header.startswith(_MAGIC) or header[68:72] == application_id.to_bytes(4, "big")

    def forbids_writing(self) -> bool:
        """Say whether its header lets nobody write it. It costs a connection its locks."""
        return self._header()[18:19] not in (b"", b"\x01", b"\x02")  # those are: with a journal, with a log

    def set_aside(self, kind: str) -> None:
        """Rename them all, and log where they are. In a turn, or another process' fresh file might be meant.

        Args:
            kind: `"corrupt"` or `"foreign"`.
        """
        target = self._free_name(kind)
        # The database first: connections of others that see it gone leave the log alone when they close.
        for path in self._all:
            with contextlib.suppress(FileNotFoundError):
                path.rename(target.with_name(target.name + path.name.removeprefix(self.path.name))).chmod(0o600)
        _sync(self.path.parent)
        _log.error(
            _SET_ASIDE[kind] + " `trafficrelay spool --file %s show` tells what can be read of it.",
            self.path,
            target,
            target,
        )

    def disk_is_full(self) -> bool:
        """Say whether the disk has no room worth speaking of."""
        try:
            disk = os.statvfs(self.path.parent)
        except OSError:
            return False
        return disk.f_blocks > 0 and disk.f_bavail * disk.f_frsize < _ROOM

    def _header(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                return file.read(100)
        except OSError:
            return b""

    def _free_name(self, kind: str) -> Path:
        stem = f"{self.path.name}.{kind}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        target, number = self.path.with_name(stem), 1
        while any(target.with_name(target.name + suffix).exists() for suffix in _SUFFIXES):
            number += 1
            target = self.path.with_name(f"{stem}-{number}")
        return target


def open_private(path: Path) -> int:
    """Open a file, made if need be, that is its owner's alone.

    What root makes is given to the directory's owner, as SQLite does with its own files: a command that an
    administrator runs must not lock the relay out.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        stat = os.fstat(file)
        if stat.st_uid == os.geteuid():
            os.fchmod(file, 0o600)  # whatever the umask took away
        directory = path.parent.stat()
        if stat.st_uid == os.geteuid() == 0 and directory.st_uid:
            os.fchown(file, directory.st_uid, directory.st_gid)
    except BaseException:
        os.close(file)
        raise
    return file


def _sync(directory: Path) -> None:
    """Make what was made or renamed in a directory outlast a power failure."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _inode(path: Path) -> Inode:
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_dev, stat.st_ino


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0
