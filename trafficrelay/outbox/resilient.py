"""The outbox that relays use: Redis behind a breaker, and the spool for when it is away."""

from __future__ import annotations

import itertools
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from ..errors import OutboxAway, OutboxError, OutboxUnavailable, RoutePaused, SpoolError
from ..spool import Spool
from .breaker import Breaker
from .counters import Counter, Counters
from .drain import Drain
from .handover import Handover, JobState, Outbox, Receipt, job_id
from .recovery import Recovery
from .spool_file import Entry, SpoolFile
from .stored import pack

log: Final = logging.getLogger("trafficrelay.outbox")


T = TypeVar("T")

PATIENCE: Final = 0.5
"""Seconds after which a call to Redis that is on its way counts as slow; who comes meanwhile is spooled, not held up.
Redis takes an event within 1 ms; what it pauses for by itself (a fork, an fsync) is shorter."""


class _Process:
    """What belongs to one process: threads and locks do not survive a fork."""

    def __init__(self, outbox: Outbox, spool: Spool | None) -> None:
        if spool is None:
            self.file, drain = None, None
            self.breaker = Breaker("Events are refused until it is back.")
        else:
            self.file = SpoolFile(spool.file, max_size=spool.size)
            drain = Drain(self.file, outbox, max_age=spool.age)
            self.breaker = Breaker(f"Events go to the spool {spool.file} until it is back.")
        self.recovery = Recovery(outbox, self.breaker, drain)
        self.counters = Counters(partial(_send_counts, outbox, self.breaker))
        # When the calls that are on their way began, by thread.
        self.calls: dict[int, float] = {}
        self.asking = threading.Lock()
        self.told = ""

    def is_slow(self, patience: float) -> bool:
        """Whether some call to the outbox waits for long, and there is a spool for who comes meanwhile."""
        return self.file is not None and self.waits(patience)

    def waits(self, patience: float) -> bool:
        """Whether some call to the outbox waits for long."""
        if not self.calls:
            return False
        # A copy, made in one step: other threads come and go.
        return min(list(self.calls.values()), default=math.inf) < time.monotonic() - patience

    def tell(self, error: SpoolError | None) -> None:
        """Log what is wrong with the spool, once and not for every event."""
        text = str(error) if error else ""
        if text and text != self.told:
            log.error("%s Events are refused.", text)
        self.told = text


def _send_counts(outbox: Outbox, breaker: Breaker, counts: Mapping[Counter, int]) -> None:
    if breaker.error is not None:
        raise breaker.error
    outbox.add_counts(counts)


class ResilientOutbox:
    """Puts events into another outbox as long as that takes them, and into the spool when it does not.

    Threads and files are begun with the first event of a process, after any fork.

    Args:
        outbox: the outbox behind it.
        spool: where events are kept; `None` refuses them while the outbox is away.
        patience: seconds after which a call to the outbox counts as slow.
    """

    def __init__(self, outbox: Outbox, *, spool: Spool | None = None, patience: float = PATIENCE) -> None:
        self._outbox = outbox
        self._spool = spool
        self._patience = patience
        self._processes: dict[int, _Process] = {}
        _all.add(self)

    def accept(self, handover: Handover) -> Receipt:
        """Take one event.

        Raises:
            OutboxUnavailable: the outbox is away, and the event may not be spooled.
            SpoolError: it may, and the spool cannot keep it.
            OutboxError: the outbox is there and does not take it.
        """
        (taken,) = self.accept_groups([[handover]])
        if isinstance(taken, OutboxError):
            raise taken
        return taken[0]

    def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        """Take several groups: one round trip, or one write to the disk, for all."""
        process = self._process()
        away = process.breaker.error
        if away is not None:
            return self._kept(process, groups, [away] * len(groups), since=time.time())
        if not process.is_slow(self._patience):
            return self._asked(process, groups)
        # Those that may not be spooled wait, after the others have been.
        hasty = [group for group in groups if _spools(group)]
        patient = [group for group in groups if not _spools(group)]
        slow = OutboxAway("Redis takes long to answer.")
        spooled = iter(self._kept(process, hasty, [slow] * len(hasty), since=time.time()))
        waited = iter(self._asked(process, patient) if patient else [])
        return [next(spooled) if _spools(group) else next(waited) for group in groups]

    def states(self, event_id: str, count: int) -> list[JobState]:
        """Give how each job of an event is; `spooled` while the event is not in Redis yet.

        Raises:
            OutboxError: that cannot be told now.
        """
        process = self._process()
        file = process.file
        try:
            states: list[JobState] = self._told(process, lambda: self._outbox.states(event_id, count))
        except OutboxError:
            if file is None or not file.has(event_id):
                raise
            numbers = range(1, count + 1) if count else (0,)
            states = [JobState(job_id(event_id, number), "unknown") for number in numbers]
        if all(state.state == "unknown" for state in states) and file is not None and file.has(event_id):
            return [JobState(state.id, "spooled") for state in states]
        return states

    def secret(self) -> bytes:
        """Give the secret that is kept in Redis.

        Raises:
            OutboxError: it cannot be had now.
        """
        return self._told(self._process(), self._outbox.secret)

    def keep_secret(self, route: str, name: str, value: bytes) -> bytes | None:
        """Keep a secret that a challenge brought in Redis, unless there is one already; never in the spool.

        Raises:
            OutboxError: it cannot be kept now.
        """
        return self._told(self._process(), lambda: self._outbox.keep_secret(route, name, value))

    def kept_secret(self, route: str, name: str) -> bytes | None:
        """Give such a secret.

        Raises:
            OutboxError: it cannot be had now.
        """
        return self._told(self._process(), lambda: self._outbox.kept_secret(route, name))

    def add_counts(self, counts: Mapping[Counter, int]) -> None:
        """Add to the sums of all processes a little later; never waits for Redis."""
        self._process().counters.add(counts)

    def counts(self) -> dict[Counter, int]:
        """Give the sums of all processes.

        Raises:
            OutboxError: that cannot be told now.
        """
        return self._told(self._process(), self._outbox.counts)

    def _told(self, process: _Process, ask: Callable[[], T]) -> T:
        """Ask Redis for what is no event; nobody waits for one that is away, or takes long to answer others."""
        if process.breaker.error is not None:
            raise process.breaker.error
        if process.waits(self._patience):
            raise OutboxAway("Redis takes long to answer.")
        process.calls[threading.get_ident()] = time.monotonic()
        try:
            return ask()
        finally:
            process.calls.pop(threading.get_ident(), None)

    def check(self) -> None:
        """Return if events can be taken now: by the outbox, or by the spool.

        Raises:
            OutboxError: they cannot.
        """
        process = self._process()
        away: OutboxUnavailable | None = process.breaker.error
        # Who comes while somebody asks has the last answer: it may take a time-out, and anybody may ask.
        if away is None and process.asking.acquire(blocking=False):
            began = time.monotonic()
            try:
                self._outbox.check()
            except OutboxUnavailable as error:
                self._trip(process, error, began)
                away = error
            finally:
                process.asking.release()
        if away is not None:
            if process.file is None:
                raise away
            process.file.check()

    def start(self) -> None:
        """Begin to drain what an earlier process left in the spool, without waiting for the first event."""
        self._process()

    def close(self, timeout: float = 0.0) -> None:
        """Move what is in the spool to Redis, within `timeout` seconds, and let go of threads, file and connections.

        What is left is logged, and stays for the next process. The outbox may be used again.
        """
        process = self._processes.pop(os.getpid(), None)
        if process is not None:
            process.counters.flush()
            process.recovery.stop(timeout)
            if process.file is not None:
                _log_left(process.file)
                process.file.close()
        self._outbox.close()

    def _process(self) -> _Process:
        process = self._processes.get(os.getpid())
        if process is None:
            # No lock, which a fork could copy while it is held; of two that are made at once one counts.
            process = self._processes.setdefault(os.getpid(), _Process(self._outbox, self._spool))
            # Not everybody closes; a thread that goes on for nobody would also keep the connections.
            weakref.finalize(self, process.recovery.abandon).atexit = False
            if process.file is not None:
                process.recovery.start()
        return process

    def _asked(self, process: _Process, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        """Hand events to the outbox; the first that finds it away opens the breaker, and goes into the spool."""
        since = time.time()
        began = process.calls[threading.get_ident()] = time.monotonic()
        try:
            results = self._outbox.accept_groups(groups)
        finally:
            process.calls.pop(threading.get_ident(), None)
        failed = [result for result in results if isinstance(result, OutboxUnavailable)]
        if failed and len(failed) == len(results):
            self._trip(process, failed[0], began)
        return self._kept(process, groups, results, since=since)

    def _trip(self, process: _Process, error: OutboxUnavailable, began: float) -> None:
        process.breaker.trip(error, since=began)
        process.recovery.start()

    def _kept(
        self,
        process: _Process,
        groups: Sequence[Sequence[Handover]],
        results: Sequence[list[Receipt] | OutboxError],
        *,
        since: float,
    ) -> list[list[Receipt] | OutboxError]:
        """Put into the spool what was not taken and may go there, and give what became of all.

        Args:
            process: this process' part.
            groups: the events.
            results: what became of them so far.
            since: when they were first sent, or would have been (`time.time`): their marks count from then.
        """
        kept = list(results)
        places = [place for place, result in enumerate(results) if _may_be_spooled(groups[place], result)]
        if process.file is None or not places:
            return kept
        entries = [_entry(handover, results[place], since) for place in places for handover in groups[place]]
        try:
            taken = iter(process.file.add(entries))
        except SpoolError as error:
            process.tell(error)
            for place in places:
                kept[place] = error
            return kept
        process.tell(None)
        for place in places:
            ones = itertools.islice(taken, len(groups[place]))
            kept[place] = [Receipt(one.id, one.count, duplicate=one.duplicate) for one in ones]
        return kept


def _spools(group: Sequence[Handover]) -> bool:
    return all(handover.spool for handover in group)


def _may_be_spooled(group: Sequence[Handover], result: list[Receipt] | OutboxError) -> bool:
    if any(handover.replay or handover.settles for handover in group):
        return False  # it lies where it came from
    if isinstance(result, RoutePaused):
        return result.mode == "spool"
    return isinstance(result, OutboxUnavailable) and _spools(group)


def _entry(handover: Handover, result: list[Receipt] | OutboxError, since: float) -> Entry:
    return Entry(
        id=handover.id,
        count=len(handover.jobs),
        dedupe=handover.dedupe_hash,
        route=handover.route,
        since=since,
        doubtful=isinstance(result, OutboxUnavailable) and result.doubtful,
        payload=pack(handover),
    )


def _log_left(file: SpoolFile) -> None:
    try:
        if file.empty():
            return
        summary = file.summary()
    except SpoolError as error:
        log.error("%s", error)
        return
    if summary.waiting:
        log.warning("%d events stay in the spool; the next start hands them over.", summary.waiting)
    if summary.held:
        log.warning("%d events are held in the spool; `trafficrelay spool show` says why.", summary.held)


# Known process-wide because a fork happens to the process, and its hooks cannot be taken back.
_all: Final[weakref.WeakSet[ResilientOutbox]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for outbox in list(_all):
        outbox._processes.clear()  # a grandchild may have the pid of an ancestor that has ended


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
