"""The connection to the spool's file: made when it is needed, judged before it is used, dropped after an error.

What is known about SQLite and disks is here:

- All writing, and with it every checkpoint, happens in a turn that one process at a time has (`spool_lock.Turn`). It
  keeps a file from being set aside under another's commit, and SQLite before 3.51.3 from its WAL-reset bug, which
  needs two connections that write or checkpoint at once (https://sqlite.org/wal.html#walresetbug).
- A refused commit must not come back. When an fsync fails, the commit's frames lie in the write-ahead log, whole, and
  whoever has to recover the log takes them for committed. So they are written over at once. And as the kernel may call
  pages clean that never reached the disk, nothing is acknowledged after such a failure until the log has been copied
  into the database, synced and emptied. What remains open: power that fails between the failing fsync and the writing
  over, and a disk that takes neither.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
from typing import Final

from ..errors import SpoolError, SpoolFull
from .spool_files import Files, Inode
from .spool_log import mended, recoverable
from .spool_sqlite import (
    DAMAGE,
    FAILURES,
    PAGE_SIZE,
    Failure,
    Unfit,
    code_of,
    connect,
    frames_seen,
    is_sound,
    judged,
    log_is_emptied,
    read_format,
    settle,
    touch,
)

_log = logging.getLogger("trafficrelay.spool")

WAL_LIMIT: Final = 64 * 2**20
"""Bytes after which the log must be emptied before anything is added. Only a reader that does not end, in a frozen
process say, lets it grow so."""

_TRIES: Final = 3

# Nothing is wrong with the connection after these.
_PASSING: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY)


class _Forgetful(Exception):
    """SQLite does not see all that was committed.

    Attributes:
        log: the write-ahead log, mended.
    """

    def __init__(self, log: bytes) -> None:
        super().__init__("the write-ahead log is damaged")
        self.log = log


class Database:
    """One process' connection. For one thread at a time.

    Args:
        files: the spool's files.
        max_size: how large the database may become, in bytes.
    """

    def __init__(self, files: Files, *, max_size: int) -> None:
        self._files = files
        self._max_pages = max(max_size // PAGE_SIZE, 1)
        self._connection: sqlite3.Connection | None = None
        self._inodes: tuple[Inode, ...] = ()
        self._checked: Inode = None
        self._condemned: Inode = None
        self._unsynced = False
        self._inherited: sqlite3.Connection | None = None

    def current(self) -> sqlite3.Connection | None:
        """Give the connection, if there is one and its files are still those at the path."""
        return self._connection if self._connection is not None and self._inodes == self._files.inodes() else None

    def open(self, *, create: bool) -> sqlite3.Connection | None:
        """Give the connection, made now if need be. What lies at the path and cannot be used is set aside. In a turn.

        Args:
            create: whether a file is made where there is none; without it `None` is given then.

        Raises:
            SpoolError: it cannot be opened now.
            Failure, OSError: the same, not yet translated.
        """
        if self._inherited is not None:
            raise self._error(
                "was open when this process was forked by something that is not Python; fork before events come"
            )
        connection = self.current()
        if connection is not None:
            return connection
        if self._connection is not None:
            self._leave()
        for attempt in range(_TRIES):
            if not create and not self._files.inode():
                return None
            try:
                self._connection = self._opened(mend=attempt == 0)
            except (Unfit, _Forgetful):
                continue  # it was set aside, or mended
            self._inodes = self._files.inodes()
            return self._connection
        raise self._error("is damaged again as soon as it is mended or made; the disk may be failing")

    def is_open(self) -> bool:
        """Say whether there is a connection, whatever became of its files."""
        return self._connection is not None

    def limit(self, connection: sqlite3.Connection, *, spare: int = 0) -> None:
        """Set how large the database may become, with `spare` pages for what makes room in the end."""
        connection.execute(f"PRAGMA max_page_count = {self._max_pages + spare}")

    def bound_log(self, connection: sqlite3.Connection) -> None:
        """See to it that the write-ahead log does not grow without end. In a turn.

        Raises:
            SpoolError: somebody keeps it from being emptied.
        """
        if self._files.log_size() > WAL_LIMIT and not log_is_emptied(connection):
            raise self._error("cannot empty its write-ahead log, because a process, frozen perhaps, reads without end")

    def failed(self, error: Failure, *, writing: bool, again: bool) -> bool:
        """Drop the connection after an error, if need be, and say whether another try makes sense.

        Args:
            error: what SQLite said.
            writing: whether it was a write, and so in a turn.
            again: whether this was another try already: then a file that is damaged is set aside next, even if it
                looks well when it is checked.
        """
        code = code_of(error)
        if self._connection is not None:
            with contextlib.suppress(*FAILURES):
                self._connection.rollback()
            if code == sqlite3.SQLITE_IOERR and writing:
                self._unsynced = True
                with contextlib.suppress(*FAILURES):
                    touch(self._connection)
        if code in _PASSING:
            return False
        self.close()
        if code not in (*DAMAGE, sqlite3.SQLITE_ERROR):
            return False
        self._checked = None
        if again and code in DAMAGE:
            self._condemned = self._files.inode()
        return True

    def close(self) -> None:
        """Close the connection. In a turn, where that can be had."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(*FAILURES):
                connection.close()

    def inherit(self) -> None:
        """Give up in a child that was forked with a connection, which should not happen.

        Neither it nor a new one can be used, nor can it be closed: SQLite believes to hold locks that only the parent
        holds (https://sqlite.org/howtocorrupt.html, 2.6). Measured: a child's new connection committed, the parent
        closed its own, believed that it was the last, and deleted the log with the child's commits.
        """
        if self._connection is not None:
            self._inherited, self._connection = self._connection, None

    def check_disk(self) -> None:
        """Return if the disk has room.

        Raises:
            SpoolFull: it has not.
        """
        if self._files.disk_is_full():
            raise self._disk_full()

    def translated(self, error: Failure | OSError) -> SpoolError:
        """Say what an error means; it becomes the cause. SQLite's own words may quote a damaged page."""
        code = code_of(error)
        if isinstance(error, TimeoutError) or code == sqlite3.SQLITE_BUSY:
            meaning = self._error("is kept locked by another process")
        elif self._files.disk_is_full() or getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
            meaning = self._disk_full()
        elif code == sqlite3.SQLITE_FULL:
            limit = self._max_pages * PAGE_SIZE
            path = str(self._files.path)
            meaning = SpoolFull(f"The spool {path} has reached its size of {limit} bytes.", path=path)
        elif isinstance(error, OSError):
            meaning = self._error(f"cannot be used ({error.strerror})")
        else:
            meaning = self._error(f"cannot be used ({getattr(error, 'sqlite_errorname', type(error).__name__)})")
        meaning.__cause__ = error
        return meaning

    def _opened(self, *, mend: bool) -> sqlite3.Connection:
        with contextlib.ExitStack() as stack:
            try:
                self._files.show_log()  # of a process that was killed when it mended it
                if self._files.inode() and self._condemned == self._files.inode():
                    raise Unfit("corrupt")
                if not self._files.size():
                    if self._files.log_size():
                        # Somebody took away, or emptied, the database that it belongs to. SQLite would delete it.
                        raise Unfit("corrupt")
                    self._files.make()
                self._files.make_private()
                connection = stack.enter_context(contextlib.closing(connect(self._files.path, "rw")))
                self._settle(connection, mend=mend)
            except _Forgetful as forgetful:
                self._files.hide_log()
                stack.close()
                self._put_log(forgetful.log)
                raise
            except (*FAILURES, Unfit) as error:
                kind = judged(error, self._files)
                if kind:
                    # Before the connection is closed: SQLite would delete the log, or bring it into the database.
                    self._files.set_aside(kind)
                    raise Unfit(kind) from error
                raise
            stack.pop_all()
        return connection

    def _settle(self, connection: sqlite3.Connection, *, mend: bool) -> None:
        is_new = not read_format(connection, self._files.path)
        self._see_all(connection, mend=mend)
        settle(connection, self._files.path, is_new=is_new)
        inode = self._files.inode()
        if inode != self._checked:
            if not is_sound(connection):
                raise Unfit("corrupt")
            self._checked = inode
        self._renew_log(connection)
        self.limit(connection)

    def _see_all(self, connection: sqlite3.Connection, *, mend: bool) -> None:
        """See to it that SQLite forgets nothing of a damaged log. Before anything is written.

        Raises:
            _Forgetful: it would have.
            Unfit: it would, and was mended already.
        """
        if not self._files.log_size():
            return
        raw = self._files.log()
        try:
            log = mended(raw, frames_seen(connection))
        except sqlite3.OperationalError:
            # On a full disk SQLite does not say. What can be read and removed is to be, but not written over.
            if mended(raw, recoverable(raw)) is not None:
                raise
            return
        if log is not None:
            raise _Forgetful(log) if mend else Unfit("corrupt")

    def _put_log(self, log: bytes) -> None:
        """Put a mended log in the place of the one that was hidden, or show that again."""
        try:
            if self._files.is_open():
                raise self._error("has a damaged log, which cannot be mended until a process that reads it has ended")
            self._files.put_log(log)
        finally:
            self._files.show_log()
        _log.error(
            "The write-ahead log of the spool %s was damaged, and was mended. Entries that are damaged themselves "
            "will be held back.",
            self._files.path,
        )

    def _renew_log(self, connection: sqlite3.Connection) -> None:
        """Bring into the database what an earlier connection left in the log; see above, of fsync."""
        if self._unsynced:
            touch(connection)
            if not log_is_emptied(connection):
                raise self._error("cannot be used until another process has read it to the end")
            self._unsynced = False
        elif self._files.log_size():
            # On a full disk it must wait. An earlier process may have died of an error that it could not tell.
            with contextlib.suppress(sqlite3.OperationalError):
                log_is_emptied(connection)

    def _leave(self) -> None:
        """Leave files that somebody deleted or replaced. What is only in a log that was deleted is saved."""
        if self._connection is not None and self._inodes[0] == self._files.inode():
            with contextlib.suppress(*FAILURES):
                self._connection.execute("PRAGMA wal_checkpoint")
        else:
            _log.error(
                "The spool %s was deleted or replaced; what was in it will not be handed over.", self._files.path
            )
        self.close()

    def _disk_full(self) -> SpoolFull:
        path = str(self._files.path)
        return SpoolFull(f"The disk that the spool {path} is on is full.", path=path)

    def _error(self, what: str) -> SpoolError:
        return SpoolError(f"The spool {self._files.path} {what}.", path=str(self._files.path))
