"""The spool's storage: one local SQLite file for the events that Redis cannot take now.

It knows neither Redis nor jobs. Several processes share the file: all may add, one drains (whoever has the claim).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import weakref
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ..errors import SpoolError, SpoolFull
from . import spool_rows
from .spool_access import PATIENCE, Access
from .spool_lock import Claim
from .spool_rows import DAMAGED, NAMELESS, Damaged, Entry, Kept, Row, Stored, Summary
from .spool_sqlite import is_sound

__all__ = ["DAMAGED", "NAMELESS", "Entry", "Kept", "SpoolFile", "Stored", "Summary"]

_log = logging.getLogger("trafficrelay.spool")

# How much payload one commit takes, unless a single call brings more; it is what the log grows by.
_GROUP_SIZE: Final = 16 * 2**20

# SQLite's own limit on a value is 1 GB.
_LARGEST: Final = 2**29

# Of a reason why an entry is held back; it must fit in where an entry does not.
_LONGEST: Final = 1000

_PAGE: Final = 32
_PROBE: Final = 64 * 1024


class _Batch:
    """One call's entries on their way into the file."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.size = sum(len(row[-1]) for row in rows)
        self.kept: list[Kept] | None = None
        self.error: SpoolError | None = None

    def is_done(self) -> bool:
        return self.kept is not None or self.error is not None


class SpoolFile:
    """The storage of one spool. For any number of threads; each process makes one for itself, or inherits one by fork.

    Making one touches nothing. The file is made when something is to be put into it.

    Args:
        path: where the file lies, on a local disk. SQLite's files, the locks' and what is set aside lie beside it.
        max_size: how large it may become, in bytes. The write-ahead log comes on top: some 8 MB, or the largest commit.
    """

    def __init__(self, path: Path, *, max_size: int) -> None:
        self._path = path.resolve()
        self._max_size = max_size
        self._access = Access(self._path, max_size=max_size)
        self._claim = Claim(self._path.with_name(self._path.name + ".lock"))
        self._waiting: deque[_Batch] = deque()
        self._logged: set[int] = set()
        mine = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forked(mine))

    def add(self, entries: Sequence[Entry]) -> list[Kept]:
        """Keep events: all or none of them, on the disk when it returns. Threads that call at once share a commit.

        Of an event that is there already, by its id or its duplicate key, the first is kept and told of.

        Raises:
            SpoolFull: the file has reached its size, or the disk is full.
            SpoolError: it cannot be written now.
        """
        batch = _Batch([self._row(entry) for entry in entries])
        if not batch.rows:
            return []
        deadline = time.monotonic() + PATIENCE
        self._waiting.append(batch)
        if not self._access.lock.acquire(timeout=PATIENCE):
            if self._withdraw(batch):
                raise self._access.translated(TimeoutError())
            # Another thread is committing it this moment: only the outcome can say what to answer.
            self._access.lock.acquire()
        try:
            if not batch.is_done():
                self._commit(batch, deadline)
        finally:
            self._access.lock.release()
        if batch.kept is None:
            raise batch.error or self._error("was not written")
        return batch.kept

    def take(self, limit: int, *, after: int = 0, skip_routes: Collection[str] = ()) -> list[Stored]:
        """Give entries in order, without those that are held back.

        An entry whose digest does not fit is not given: it is held back as damaged, and logged.

        Args:
            limit: how many at most.
            after: the `seq` to begin behind, within one pass through the file. The next pass begins at 0.
            skip_routes: rules of routes whose entries are passed over.

        Raises:
            SpoolError: the file cannot be read now.
        """
        good: list[Stored] = []
        broken: list[Stored] = []
        while len(good) < limit:
            missing = limit - len(good)
            work = partial(spool_rows.takeable, after=after, limit=missing, skip_routes=skip_routes)
            found: list[Stored] = self._access.read(work, [])
            good += [stored for stored in found if not stored.error]
            broken += [stored for stored in found if stored.error]
            if len(found) < missing:
                break
            after = found[-1].seq
        if broken:
            self._hold_broken(broken)
        return good

    def remove(self, seqs: Collection[int]) -> None:
        """Erase entries; a `seq` that is not there any more is passed over.

        Raises:
            SpoolError: the file cannot be written now. On a full disk it may be so.
        """

        def work(connection: sqlite3.Connection) -> None:
            if spool_rows.remove(connection, seqs) < len(seqs) and not is_sound(connection):
                # What is given but not found would be given again and again.
                raise Damaged

        if seqs:
            self._access.change(work, None)

    def erase(self, seqs: Collection[int]) -> bool:
        """Remove entries, and what the write-ahead log still has of these and of earlier ones: nothing of them is left.

        Returns:
            Whether the log could be emptied. Where somebody was reading it, ask again.

        Raises:
            SpoolError: the file cannot be written now.
        """
        self.remove(seqs)
        return self._access.empty_log()

    def hold(self, seq: int, error: str) -> None:
        """Hold an entry back which cannot be handed over though Redis is well: it is kept and shown, but not taken.

        Raises:
            SpoolError: the file cannot be written now.
        """
        self._access.change(partial(spool_rows.hold, seqs=[seq], error=error[:_LONGEST] or "unknown"), None)

    def release(self) -> int:
        """Let what is held back be taken again, and say how many entries that are; damaged ones stay.

        Raises:
            SpoolError: the file cannot be written now.
        """
        return self._access.change(spool_rows.release, 0)

    def entries(self) -> Iterator[Stored]:
        """Give all entries in order, held ones too. What is added or removed meanwhile may be among them or not.

        Raises:
            SpoolError: the file cannot be read now.
        """
        after = 0
        while True:
            # In pages: one that reads on and on would keep the write-ahead log from being begun again.
            found: list[Stored] = self._access.read(partial(spool_rows.page, after=after, limit=_PAGE), [])
            yield from found
            if len(found) < _PAGE:
                return
            after = found[-1].seq

    def summary(self) -> Summary:
        """Count what is there.

        Raises:
            SpoolError: the file cannot be read now.
        """
        size = self._access.files.size() + self._access.files.log_size()
        none = Summary(waiting=0, held=0, oldest=None, size=size, max_size=self._max_size, routes={})
        return self._access.read(partial(spool_rows.summed, size=size, max_size=self._max_size), none)

    def empty(self) -> bool:
        """Say whether there is no entry at all, held ones neither. `False` where that cannot be told."""
        try:
            return self._access.read(spool_rows.is_empty, True)
        except SpoolError:
            return False

    def has(self, event_id: str) -> bool:
        """Say whether an event is in it. `False` where that cannot be told."""
        try:
            return self._access.read(partial(spool_rows.has, event_id=event_id), False)
        except SpoolError:
            return False

    def claim(self) -> bool:
        """Take the right to drain, and say whether that was possible. Nobody is waited for.

        It lasts until `unclaim`, or until the process ends, however that comes about; a fork's child does not have it.

        Raises:
            SpoolError: its file cannot be made.
        """
        try:
            self._make_directory()
            return self._claim.take()
        except OSError as error:
            raise self._access.translated(error) from error

    def unclaim(self) -> None:
        """Give the right to drain back; without effect where it is not had."""
        self._claim.drop()

    def check(self) -> None:
        """Return if an event could be kept now. It makes the file, but writes nothing into it.

        Raises:
            SpoolFull: the file has reached its size, or the disk is full.
            SpoolError: it cannot be written now.
        """
        probe = partial(spool_rows.probe, size=min(_PROBE, self._max_size // 16))
        try:
            self._make_directory()
            with self._access.locked():
                self._access.check_disk()
                with self._access.turn(time.monotonic() + PATIENCE):
                    self._access.transaction(probe, None, create=True, keep=False)
        except OSError as error:
            raise self._access.translated(error) from error

    def close(self) -> None:
        """Close the file and give the claim back. Both come back when they are asked for again."""
        with self._access.locked():
            self._access.close()
        self.unclaim()

    def _row(self, entry: Entry) -> Row:
        if len(entry.payload) > min(self._max_size, _LARGEST):
            raise SpoolFull(f"An event is larger than the spool {self._path} may become.", path=str(self._path))
        try:
            return spool_rows.to_row(entry)
        except ValueError as error:
            raise self._error(f"cannot keep an event ({type(error).__name__})") from error

    def _commit(self, own: _Batch, deadline: float) -> None:
        """Commit what waits, group by group, until the own entries are in. With the lock held."""
        if own not in self._waiting:
            self._waiting.append(own)  # its leader was interrupted, by Ctrl-C say, before it did anything
        group = [own]
        try:
            self._make_directory()
            with self._access.turn(deadline):
                while not own.is_done():
                    # Only now: whoever came while this process waited for its turn goes along.
                    group = self._next_group()
                    rows = [row for batch in group for row in batch.rows]
                    none: list[Kept] = []
                    kept = iter(self._access.transaction(partial(spool_rows.put, rows=rows), none, create=True))
                    for batch in group:
                        batch.kept = [next(kept) for _ in batch.rows]
        except BaseException as error:
            meaning = self._access.translated(error) if isinstance(error, OSError) else error
            failure = meaning if isinstance(meaning, SpoolError) else self._error("was not written")
            self._withdraw(own)
            for batch in {own, *group}:
                # One each: they are raised in several threads.
                batch.error = type(failure)(str(failure), path=failure.path)
                batch.error.__cause__ = error
            if failure is not meaning:
                raise

    def _next_group(self) -> list[_Batch]:
        group = [self._waiting.popleft()]
        size = group[0].size
        while self._waiting and size + self._waiting[0].size <= _GROUP_SIZE:
            group.append(self._waiting.popleft())
            size += group[-1].size
        return group

    def _withdraw(self, batch: _Batch) -> bool:
        try:
            self._waiting.remove(batch)
        except ValueError:
            return False
        return True

    def _hold_broken(self, broken: list[Stored]) -> None:
        new = sorted({stored.seq for stored in broken} - self._logged)
        self._logged.update(new)
        if new:
            _log.error(
                "%d entries of the spool %s are damaged (seq %s). They are held back; "
                "`trafficrelay spool --file %s show` tells what can be read of them.",
                len(new),
                self._path,
                ", ".join(map(str, new[:10])) + (", …" if len(new) > 10 else ""),
                self._path,
            )
        try:
            for error in {stored.error for stored in broken}:
                seqs = [stored.seq for stored in broken if stored.error == error]
                self._access.change(partial(spool_rows.hold, seqs=seqs, error=error), None)
        except SpoolError as error:
            # They are not given out either way; the next that meets them tries again.
            _log.debug("Damaged entries could not be marked: %s", error)

    def _make_directory(self) -> None:
        if not self._path.parent.is_dir():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _error(self, what: str) -> SpoolError:
        return SpoolError(f"The spool {self._path} {what}.", path=str(self._path))


def _forked(mine: weakref.ref[SpoolFile]) -> None:
    spool = mine()
    if spool is not None:
        # Those who wait are threads of the parent.
        spool._waiting.clear()
