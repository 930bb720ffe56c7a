"""Reads a spool's file and changes nothing: the live one, one that was set aside, or a copy; also what damage left."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..errors import SpoolError
from . import spool_rows
from .spool_files import Files
from .spool_rows import DAMAGED, Stored, Summary
from .spool_sqlite import FAILURES, Failure, Unfit, connect, judged, read_format

_log = logging.getLogger("trafficrelay.spool")

_PAGE: Final = 32


class SpoolReader:
    """Reads a file. For one thread; not to be taken through a fork.

    Making one touches nothing. SQLite makes `-wal` and `-shm` beside the file where they are missing.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._files = Files(path.resolve())
        self._connection: sqlite3.Connection | None = None

    def entries(self) -> Iterator[Stored]:
        """Give all entries in order, held ones too, and of a damaged file those that can still be read.

        One whose digest does not fit has the error `DAMAGED`; trust nothing of it. Of one whose error is `NAMELESS` the
        payload is whole.

        Raises:
            SpoolError: it is no spool, it is a newer trafficrelay's, or nothing of it can be read.
        """
        connection = self._opened()
        after = 0
        while connection is not None:
            try:
                found = spool_rows.page(connection, after, _PAGE)
            except FAILURES as error:
                yield from self._readable(connection, after, error)
                return
            yield from found
            if len(found) < _PAGE:
                return
            after = found[-1].seq

    def summary(self) -> Summary:
        """Count what there is; see `entries`. How large the file may become is not known here: 0."""
        connection = self._opened()
        size = self._files.size() + self._files.log_size()
        if connection is not None:
            with contextlib.suppress(*FAILURES):
                return spool_rows.summed(connection, size=size, max_size=0)
        return spool_rows.counted(self.entries(), size=size, max_size=0)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection | None:
        """Give a connection, `None` where there is no file, or nothing in it yet."""
        if self._connection is not None or not self._files.size():
            return self._connection
        connection = connect(self._files.path, "ro")
        try:
            # Nothing is written: it makes SQLite read a file that is shorter than it should be.
            connection.execute("PRAGMA writable_schema = ON")
            if read_format(connection, self._files.path):
                self._connection = connection
        except (*FAILURES, Unfit) as error:
            if judged(error, self._files) == "foreign":
                raise self._error("is no spool of trafficrelay") from error
            if not isinstance(error, Unfit):
                raise self._unreadable(error) from error
            self._connection = connection  # a header that is damaged need not keep anybody from reading the rest
        finally:
            if self._connection is None:
                connection.close()
        return self._connection

    def _readable(self, connection: sqlite3.Connection, after: int, error: Failure) -> Iterator[Stored]:
        """Give what is behind a place from which SQLite cannot go on: whatever any way through the file leads to."""
        seqs: set[int] = set()
        for query in spool_rows.WAYS:
            with contextlib.suppress(*FAILURES):
                for (seq,) in connection.execute(query):
                    if isinstance(seq, int) and seq > after:
                        seqs.add(seq)
        if not seqs and not after:
            raise self._unreadable(error) from error
        unreadable = 0
        for seq in sorted(seqs):
            stored = _rescued(connection, seq)
            if stored is not None:
                yield stored
            unreadable += stored is None or stored.error == DAMAGED
        _log.warning(
            "The spool %s is damaged: %d entries that it mentions cannot be read; more may have been on lost pages.",
            self._files.path,
            unreadable,
        )

    def _unreadable(self, error: Failure) -> SpoolError:
        return self._error(f"cannot be read ({getattr(error, 'sqlite_errorname', type(error).__name__)})")

    def _error(self, what: str) -> SpoolError:
        return SpoolError(f"The spool {self._files.path} {what}.", path=str(self._files.path))


def _rescued(connection: sqlite3.Connection, seq: int) -> Stored | None:
    """Give the best that there is at a place."""
    best: Stored | None = None
    for query in spool_rows.RESCUES:
        with contextlib.suppress(*FAILURES):
            stored = spool_rows.rescued(connection, seq, query)
            if stored is not None and (best is None or best.error == DAMAGED):
                best = stored
    return best
