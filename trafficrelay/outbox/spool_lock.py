"""Locks between processes, each on a file of its own.

With `flock`, not SQLite's locks: those are polled with growing pauses, so that of two processes which write all the
time one starves (measured: 6,200 commits a second against 170, and "database is locked" after 2 s).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .spool_files import open_private

# A turn takes about as long as an fsync: 0.2 ms to 10 ms. Whoever waits long waits for something else.
_SHORT_PAUSE: Final = 0.0001
_LONG_PAUSE: Final = 0.001
_SHORT_PAUSES: Final = 20


class FileLock:
    """A lock that one process at a time holds. The kernel drops it when its holder ends, however that comes about.

    For one thread at a time.

    Args:
        path: the file; it is made when the lock is first wanted, for its owner alone, and stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self, seconds: float = 0.0) -> bool:
        """Take it, and say whether that was possible within `seconds`.

        Raises:
            OSError: the file cannot be made.
        """
        deadline = time.monotonic() + seconds
        pauses = 0
        while True:
            if self._file is None:
                self._file = open_private(self._path)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_SHORT_PAUSE if pauses < _SHORT_PAUSES else _LONG_PAUSE)
                pauses += 1
                continue
            if self.is_at_path():
                return True
            # Somebody deleted the file meanwhile; others lock the one that took its place.
            self.abandon()

    def drop(self) -> None:
        """Give it back; without effect where it is not held."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def abandon(self) -> None:
        """Close the file. After a fork, in the child: the parent goes on holding the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def is_at_path(self) -> bool:
        """Whether the file that is locked is still the one that others find."""
        try:
            return self._file is not None and os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False


class Claim:
    """A right that one process at a time has, until it gives it back or ends. For any number of threads.

    Args:
        path: the lock's file.
    """

    def __init__(self, path: Path) -> None:
        self._file = FileLock(path)
        self._is_ours = False
        self._lock = threading.Lock()
        mine = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forked(mine))

    def take(self) -> bool:
        """Take it, and say whether that was possible. Nobody is waited for.

        Raises:
            OSError: the file cannot be made.
        """
        with self._lock:
            if not (self._is_ours and self._file.is_at_path()):
                self._is_ours = self._file.take()
            return self._is_ours

    def drop(self) -> None:
        """Give it back; without effect where it is not had."""
        with self._lock:
            if self._is_ours:
                self._file.drop()
            self._is_ours = False
            self._file.abandon()

    def forked(self) -> None:
        """Forget it in a child. Without this the child would have it too, and keep it when its parent dies."""
        self._lock = threading.Lock()
        self._is_ours = False
        self._file.abandon()


class Turn:
    """The right to write, given to processes by turns.

    With one lock, the process that has just dropped it is the first to take it again. So whoever wants it waits with a
    second lock in hand, which the other must get first (measured: two processes at 1,390 commits a second each, the
    longest wait 7 ms; with one lock 740 ms).

    Args:
        path: what the lock files' names begin with.
    """

    def __init__(self, path: Path) -> None:
        self._next = FileLock(path.with_name(path.name + ".next"))
        self._turn = FileLock(path.with_name(path.name + ".turn"))

    @contextlib.contextmanager
    def held(self, deadline: float) -> Iterator[None]:
        """Hold it within the block.

        Args:
            deadline: how long it is waited for, as `time.monotonic` counts. One try is made in any case.

        Raises:
            TimeoutError: another process kept it.
            OSError: a lock's file cannot be made.
        """
        try:
            taken = self._next.take(deadline - time.monotonic()) and self._turn.take(deadline - time.monotonic())
        finally:
            self._next.drop()
        if not taken:
            raise TimeoutError("another process kept the lock")
        try:
            yield
        finally:
            self._turn.drop()

    def abandon(self) -> None:
        """Close the files; see `FileLock.abandon`."""
        self._next.abandon()
        self._turn.abandon()


def _forked(mine: weakref.ref[Claim]) -> None:
    claim = mine()
    if claim is not None:
        claim.forked()
