"""Moves events from the spool to Redis, in the order in which they came."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ..errors import DeadLetterError, OutboxError, OutboxUnavailable, RoutePaused, SpoolError
from .handover import EVENT_MARK_TTL, Handover, Outbox, Receipt, each
from .spool_file import SpoolFile, Stored
from .stored import as_letter, unpack

log: Final = logging.getLogger("trafficrelay.spool")

MAX_BATCH: Final = 64
"""How many events one round trip moves."""

MARGIN: Final = 15
"""Seconds by which an event counts as older than it is: its mark was written before it came into the spool."""

MAX_REFUSED: Final = 16
"""How many of the entries that Redis failed on, while it took others, are tried in one round."""

RELEASE_EVERY: Final = 600.0
"""Seconds after which what is held back is tried again."""

_CLOCK_STEP: Final = 60.0

_TOO_OLD: Final = (
    "This event was kept in the spool for {age:.0f} s, longer than can be told whether Redis had taken it before. "
    "Requeue it if it has not run."
)


class Drain:
    """Moves events from a spool to an outbox.

    The event's id decides: one that the outbox has taken already is known to it, as long as it remembers. An event
    that is older than that becomes a dead letter, unless one of its jobs is still there.

    Args:
        file: the spool's file.
        outbox: where events go.
        max_age: seconds for which the outbox is told to remember what is moved, and within which that must be.
    """

    def __init__(self, file: SpoolFile, outbox: Outbox, *, max_age: int) -> None:
        self._file = file
        self._outbox = outbox
        self._max_age = max_age
        self._batch = 1
        self._refused: set[int] = set()
        self._release_at = 0.0
        # What was moved and could not be removed: the disk was full, say.
        self._moved: set[int] = set()
        self._told = ""

    def run(self, go_on: Callable[[float], bool]) -> int:
        """Move what there is, and say how much that was. Does nothing while another process is at it.

        Args:
            go_on: asked after each batch, with the seconds that it took, whether to go on; it may wait, so that
                requests get their turn.

        Raises:
            OutboxUnavailable: Redis is away again.
            SpoolError: the file cannot be read or written.
        """
        if self._file.empty() or not self._file.claim():
            return 0
        count = 0
        try:
            self._release()
            after, paused = 0, set[str]()
            while rows := self._file.take(self._batch, after=after, skip_routes=paused):
                began = time.monotonic()
                try:
                    count += self._move([row for row in rows if row.seq not in self._refused], paused)
                except OutboxUnavailable:
                    if len(rows) > 1 or not self._takes_next(rows[0], paused):
                        self._batch = 1
                        raise
                after = rows[-1].seq
                self._batch = min(self._batch * 2, MAX_BATCH)
                if not go_on(time.monotonic() - began):
                    return count
            count += self._try_refused(paused)
        finally:
            self._file.unclaim()
        return count

    def _takes_next(self, row: Stored, paused: set[str]) -> bool:
        """Find out whether Redis is away, or fails on one entry alone: for want of memory for one so large, say."""
        for following in self._file.take(1, after=row.seq, skip_routes=paused):
            try:
                self._move([following], paused)
            except OutboxUnavailable:
                return False
            self._refused.add(row.seq)
            log.warning("Redis fails on entry %d of the spool and takes others; it is tried again and again", row.seq)
            return True
        return False

    def _try_refused(self, paused: set[str]) -> int:
        """Try, each by itself, some of the entries that Redis failed on while it took others."""
        count = 0
        for seq in sorted(self._refused)[:MAX_REFUSED]:
            # Whatever becomes of it: it is put back here when it fails once more.
            self._refused.discard(seq)
            for row in self._file.take(1, after=seq - 1):
                if row.seq == seq:
                    try:
                        count += self._move([row], paused)
                    except OutboxUnavailable:
                        self._refused.add(seq)
        return count

    def _release(self) -> None:
        """Try now and then what is held: a key may be what it should by now, or a later version run here."""
        if time.monotonic() >= self._release_at:
            self._release_at = time.monotonic() + RELEASE_EVERY
            try:
                self._file.release()
            except SpoolError as error:
                self._tell(error)

    def _move(self, rows: list[Stored], paused: set[str]) -> int:
        handovers: dict[int, Handover] = {}
        for row in rows:
            if row.seq in self._moved:
                continue
            try:
                handovers[row.seq] = self._due(row)
            except DeadLetterError as error:
                self._hold(row.seq, str(error))
        results = dict(zip(handovers, each(self._outbox, list(handovers.values())), strict=True))
        self._moved |= {seq for seq, result in results.items() if isinstance(result, Receipt)}
        taken = len(self._moved & results.keys())
        away: OutboxUnavailable | None = None
        for seq, result in results.items():
            if isinstance(result, RoutePaused):
                paused.add(handovers[seq].route)
            elif isinstance(result, OutboxUnavailable):
                away = result
            elif isinstance(result, OutboxError):
                self._hold(seq, str(result))
        self._remove_moved()
        if away is not None:
            raise away
        return taken

    def _remove_moved(self) -> None:
        """Remove what Redis has. Where that cannot be written, on a full disk say, the rest is moved all the same."""
        if not self._moved:
            return
        try:
            self._file.remove(self._moved)
        except SpoolError as error:
            self._tell(error)
            return
        self._moved.clear()
        self._tell(None)

    def _tell(self, error: SpoolError | None) -> None:
        """Log once, and not at every look, that something is wrong with the file."""
        text = str(error) if error else ""
        if text and text != self._told:
            log.error("%s What was handed over is still in it.", text)
        self._told = text

    def _due(self, row: Stored) -> Handover:
        """Give what is handed over for an entry.

        Raises:
            DeadLetterError: it cannot be read.
        """
        entry = row.entry
        handover = unpack(entry.payload)
        age = time.time() - entry.since
        # Redis may have taken a doubtful event when it came, and remembers that for as long as of any event.
        bound = EVENT_MARK_TTL - MARGIN if entry.doubtful else self._max_age
        if age > bound or age < -_CLOCK_STEP:
            handover = as_letter(handover, _TOO_OLD.format(age=age))
            log.error("event %s lay in the spool for %.0f s; it becomes a dead letter", handover.id, age)
        return replace(handover, mark_ttl=self._max_age + MARGIN)

    def _hold(self, seq: int, why: str) -> None:
        log.error("entry %d stays in the spool: %s", seq, why)
        try:
            self._file.hold(seq, why)
        except SpoolError as error:
            log.error("%s", error)
