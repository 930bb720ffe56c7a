"""Forgets events: finds them in the spool and in Redis, and erases them from both."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import redis

from .errors import DeadLetterError, SpoolError
from .outbox.erasure import Erased, Erasure
from .outbox.payload import read_job_data
from .outbox.spool_file import DAMAGED, SpoolFile, Stored
from .outbox.stored import unpack
from .search import Search
from .spool import Spool

PAUSES: Final = (0.0, 1.0, 2.0)
"""Seconds before each look. RQ's workers and schedulers write a job that they have read before its erasure back
afterwards; they do so within milliseconds, so what has come back is erased at the next look."""

CLAIM_PATIENCE: Final = 30.0
"""Seconds for which a process that drains the spool is waited for."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What there is to be erased.

    Attributes:
        events: the ids of the events.
        entries: of those in the spool, the entries' places.
        waiting: how many of these wait.
        held: how many are held back.
        jobs: of those in Redis, the ids of their jobs.
        states: how many of these are in which state; dead letters and results are counted by themselves.
        unreadable_jobs: how many jobs of the relay's could not be looked into.
        unreadable_entries: how many entries of the spool could not.
    """

    events: frozenset[str]
    entries: Mapping[str, tuple[int, ...]]
    waiting: int
    held: int
    jobs: Mapping[str, list[str]]
    states: Mapping[str, int]
    unreadable_jobs: int
    unreadable_entries: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased.

    Attributes:
        events: how many events.
        jobs: how many jobs in Redis, dead letters too.
        results: how many jobs had results.
        entries: how many entries of the spool.
        running: the ids of the jobs that run; their events were left alone.
        log_left: whether the spool's write-ahead log still has what was erased, because somebody reads it.
    """

    events: int
    jobs: int
    results: int
    entries: int
    running: tuple[str, ...]
    log_left: bool


class Forgetting:
    """Finds events, and erases them. A context manager.

    Args:
        client: a client of the relay's Redis.
        serializer: the relay's, as `rq.Queue` takes it.
        spool: the relay's spool; a file that is not there is not made.
        tell: told now and then, in words, how far it is.
    """

    def __init__(
        self,
        client: redis.Redis,
        serializer: Any,
        spool: Spool | None,
        *,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._serializer = serializer
        self._erasure = Erasure(client, tell=tell)
        self._file = SpoolFile(spool.file, max_size=spool.size) if spool else None
        self._tell = tell

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def find(self, search: Search, ids: Set[str]) -> Sought:
        """Find events by what they hold or by their ids.

        Raises:
            OutboxError: the spool cannot be read, or Redis does not answer.
        """
        # The spool first: what is moved to Redis meanwhile is found there.
        events, unreadable = self._search_spool(search)
        events |= ids
        lost: set[str] = set()
        if search.conditions:
            found = self._erasure.find(lambda raw: self._holds(search, raw))
            events |= found.events
            lost = {id_ for id_ in found.unreadable if id_.partition("-")[0] not in events}
        entries, counts = self._entries(events)
        jobs = self._erasure.locate(events)
        return Sought(
            events=frozenset(entries.keys() | jobs.keys()),
            entries=entries,
            waiting=counts["waiting"],
            held=counts["held"],
            jobs=jobs,
            states=self._erasure.states(id_ for event in jobs.values() for id_ in event),
            unreadable_jobs=len(lost),
            unreadable_entries=len(unreadable - events),
        )

    def erase(self, sought: Sought) -> Forgotten:
        """Erase events, each from everywhere; or, while a job of it runs, from nowhere.

        Raises:
            OutboxError: a process drains the spool all the time, the spool cannot be written, or Redis does not answer.
        """
        with self._claimed(bool(sought.entries)):
            jobs, results, running = self._erase_jobs(sought)
            busy = {id_.partition("-")[0] for id_ in running}
            seqs = [seq for event, places in sought.entries.items() if event not in busy for seq in places]
            # Without an entry too: the log may have what was handed over before.
            log_left = self._file is not None and not self._file.erase(seqs)
        return Forgotten(
            events=len(sought.events - busy),
            jobs=jobs,
            results=results,
            entries=len(seqs),
            running=running,
            log_left=log_left,
        )

    def _holds(self, search: Search, raw: bytes) -> bool:
        function, arguments = read_job_data(raw, self._serializer)
        return len(arguments) == 1 and search.in_job(function, arguments[0])

    def _search_spool(self, search: Search) -> tuple[set[str], set[str]]:
        """Give the events that are sought, and those that cannot be looked into."""
        events: set[str] = set()
        unreadable: set[str] = set()
        for stored in self._stored() if search.conditions else ():
            try:
                found = search.in_handover(unpack(stored.entry.payload))
            except DeadLetterError:
                found = False
                unreadable.add(stored.entry.id)
            if found:
                events.add(stored.entry.id)
            elif stored.error == DAMAGED:
                unreadable.add(stored.entry.id)
        return events, unreadable

    def _entries(self, events: Collection[str]) -> tuple[dict[str, tuple[int, ...]], Counter[str]]:
        places: dict[str, tuple[int, ...]] = {}
        counts: Counter[str] = Counter()
        for stored in self._stored() if events else ():
            id_ = stored.entry.id
            if id_ in events:
                places[id_] = (*places.get(id_, ()), stored.seq)
                counts["held" if stored.error else "waiting"] += 1
        return places, counts

    def _stored(self) -> Iterator[Stored]:
        for number, stored in enumerate(self._file.entries() if self._file else ()):
            self._tell(f"{number:,} events in the spool were looked at …")
            yield stored

    def _erase_jobs(self, sought: Sought) -> tuple[int, int, tuple[str, ...]]:
        jobs, results = 0, 0
        erased = Erased(0, 0, ())
        for number, pause in enumerate(PAUSES):
            time.sleep(pause)
            located = self._erasure.locate(sought.events)
            if not located:
                return jobs, results, ()
            # A worker that has just taken a job has begun it by the last look; one that has not died.
            erased = self._erasure.erase(located, stranded_too=number == len(PAUSES) - 1)
            jobs += erased.jobs
            results += erased.results
        return jobs, results, erased.running

    @contextlib.contextmanager
    def _claimed(self, needed: bool) -> Iterator[None]:
        """See to it that nothing is moved from the spool to Redis within the block."""
        if self._file is None or not needed:
            yield
            return
        deadline = time.monotonic() + CLAIM_PATIENCE
        while not self._file.claim():
            if time.monotonic() > deadline:
                raise SpoolError(
                    "A process moves the spool's events to Redis all the time; nothing was erased. Run the command "
                    "again later.",
                    path="",
                )
            self._tell("waiting for a process that moves the spool's events to Redis …")
            time.sleep(0.2)
        try:
            yield
        finally:
            self._file.unclaim()
