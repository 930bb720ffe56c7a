"""How threads and processes come to the spool's connection: one after the other, and never through a fork."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, TypeVar

from ..errors import SpoolError
from .spool_database import Database
from .spool_files import Files
from .spool_lock import Turn
from .spool_sqlite import FAILURES, Failure, log_is_emptied

PATIENCE: Final = 1.0
"""Seconds that a caller waits for other threads, and as long again for other processes. A sender waits meanwhile."""

_TRIES: Final = 3
_FORK_PATIENCE: Final = 5.0
_CLOSE_PATIENCE: Final = 0.2

# What makes room in the end, or what is small, may go beyond the limit a little.
_SPARE_PAGES: Final = 64

T = TypeVar("T")


class Access:
    """The way to one spool's connection.

    Args:
        path: the database, absolute.
        max_size: how large it may become, in bytes.

    Attributes:
        path: the database.
        files: the spool's files.
        lock: held by the thread that uses the connection.
    """

    def __init__(self, path: Path, *, max_size: int) -> None:
        self.path = path
        self.files = Files(path)
        self.lock = threading.Lock()
        self._database = Database(self.files, max_size=max_size)
        self._turn = Turn(path)
        self._forking: int | None = None
        mine = weakref.ref(self)
        os.register_at_fork(
            before=lambda: _tell(mine, Access._before_fork),
            after_in_parent=lambda: _tell(mine, Access._after_fork_in_parent),
            after_in_child=lambda: _tell(mine, Access._after_fork_in_child),
        )

    def read(self, work: Callable[[sqlite3.Connection], T], default: T) -> T:
        """Let `work` read, and give what it gives; `default` where there is no file.

        Raises:
            SpoolError: the file cannot be read now.
        """
        with self.locked():
            for attempt in range(_TRIES):
                try:
                    connection = self._readable()
                    return default if connection is None else work(connection)
                except OSError as error:
                    raise self.translated(error) from error
                except FAILURES as error:
                    if not self._database.failed(error, writing=False, again=attempt > 0):
                        raise self.translated(error) from error
        raise self._failing()

    def change(self, work: Callable[[sqlite3.Connection], T], default: T) -> T:
        """Let `work` change what is there, and give what it gives; `default` where there is no file.

        Raises:
            SpoolError: the file cannot be written now.
        """
        if not self.files.inode():
            return default
        with self.locked():
            try:
                with self.turn(time.monotonic() + PATIENCE):
                    return self.transaction(work, default, create=False, spare=_SPARE_PAGES)
            except OSError as error:
                raise self.translated(error) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Have the connection to oneself, among the threads, within the block.

        Raises:
            SpoolError: another thread kept it.
        """
        if not self.lock.acquire(timeout=PATIENCE):
            raise self.translated(TimeoutError())
        try:
            yield
        finally:
            self.lock.release()

    def turn(self, deadline: float) -> AbstractContextManager[None]:
        """Have the right to write, among the processes, within the block. With the lock held.

        Args:
            deadline: how long it is waited for, as `time.monotonic` counts.

        Raises:
            TimeoutError, OSError: see `Turn.held`.
        """
        return self._turn.held(deadline)

    def transaction(
        self,
        work: Callable[[sqlite3.Connection], T],
        default: T,
        *,
        create: bool,
        spare: int = 0,
        keep: bool = True,
    ) -> T:
        """Let `work` write, and commit it. With the lock and the turn held. `work` may be called several times.

        Args:
            work: what is done with the connection.
            default: what is given where there is no file.
            create: whether the file is made where there is none.
            spare: how many pages it may become larger than it should.
            keep: whether it is committed, not rolled back.

        Raises:
            SpoolError: nothing was written.
        """
        for attempt in range(_TRIES):
            try:
                connection = self._database.open(create=create)
                if connection is None:
                    return default
                self._database.bound_log(connection)
                self._database.limit(connection, spare=spare)
                result = _run(connection, work, keep=keep)
            except OSError as error:
                raise self.translated(error) from error
            except FAILURES as error:
                if not self._database.failed(error, writing=True, again=attempt > 0):
                    raise self.translated(error) from error
            else:
                # Or else somebody deleted or replaced the file, and the commit is gone with it.
                if self._database.current() is not None:
                    return result
        raise self._failing()

    def empty_log(self) -> bool:
        """Empty the write-ahead log, and say whether nobody was in the way.

        Raises:
            SpoolError: the file cannot be written now.
        """
        if not self.files.inode():
            return True
        with self.locked():
            try:
                with self.turn(time.monotonic() + PATIENCE):
                    connection = self._database.open(create=False)
                    return connection is None or log_is_emptied(connection)
            except OSError as error:
                raise self.translated(error) from error
            except FAILURES as error:
                self._database.failed(error, writing=True, again=False)
                raise self.translated(error) from error

    def check_disk(self) -> None:
        """Return if the disk has room; see `Database.check_disk`."""
        self._database.check_disk()

    def translated(self, error: Failure | OSError) -> SpoolError:
        """Say what an error means; see `Database.translated`."""
        return self._database.translated(error)

    def close(self) -> None:
        """Close the connection, in a turn if there is one to be had soon. With the lock held."""
        if self._database.is_open():
            with contextlib.ExitStack() as stack:
                with contextlib.suppress(OSError):
                    stack.enter_context(self._turn.held(time.monotonic() + _CLOSE_PATIENCE))
                self._database.close()
        # Or else a disk could not be unmounted, nor made read-only, until the process ends.
        self._turn.abandon()

    def _readable(self) -> sqlite3.Connection | None:
        connection = self._database.current()
        if connection is None and self.files.inode():
            with self._turn.held(time.monotonic() + PATIENCE):
                return self._database.open(create=False)
        return connection

    def _failing(self) -> SpoolError:
        return SpoolError(
            f"The spool {self.path} is damaged, deleted or replaced again and again; look at its disk.",
            path=str(self.path),
        )

    def _before_fork(self) -> None:
        # SQLite forbids taking a connection through a fork, and does not forget it either (see `Database.inherit`).
        if self.lock.acquire(timeout=_FORK_PATIENCE):
            self._forking = threading.get_ident()
            self.close()

    def _after_fork_in_parent(self) -> None:
        # Another thread may be forking too, and wait for the lock, or have given up waiting.
        if self._forking == threading.get_ident():
            self._forking = None
            self.lock.release()

    def _after_fork_in_child(self) -> None:
        self.lock = threading.Lock()
        self._forking = None
        self._turn.abandon()
        self._database.inherit()


def _run(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], *, keep: bool) -> T:
    try:
        connection.execute("BEGIN IMMEDIATE")
        result = work(connection)
        connection.execute("COMMIT" if keep else "ROLLBACK")
    except BaseException:
        with contextlib.suppress(*FAILURES):
            connection.rollback()
        raise
    return result


def _tell(mine: weakref.ref[Any], method: Callable[[Any], None]) -> None:
    """Call a method of what may be gone: what is registered for forks stays registered for ever."""
    me = mine()
    if me is not None:
        method(me)
