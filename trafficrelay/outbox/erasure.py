"""Erases events from Redis: their jobs in whatever state, their results and their dead letters.

The marks by which repeated events are known stay: they hold the event's id and how many jobs it became, under a hash of
whatever its sender tells events apart by. So an event that is sent again does not come back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from typing import Any, Final, TypeVar

import redis
from redis.exceptions import RedisError
from rq.executions import ExecutionRegistry
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job as RQJob
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
)
from rq.results import Result

from ..errors import DeadLetterError, OutboxUnavailable
from .names import ASIDE, HELD_KEY, RQ_NAMES
from .sentinel import trouble

PAGE: Final = 1_000
"""How many keys Redis looks at for each step of a scan."""

PAGE_BYTES: Final = 4 * 2**20
"""How many bytes of payloads are read at once, unless a single one is larger."""

ERASED_AT_ONCE: Final = 20
"""How many events go in one round trip. Each blocks Redis for some 3 ms with 100,000 jobs in its queue (measured)."""

_JOBS: Final = RQJob.key_for("")
_RESULTS: Final = Result.get_key("")
_OURS: Final = re.compile(r"([0-9a-f]{32})-\d{1,9}")
_REGISTRIES: Final = tuple(
    registry.key_template.format("")
    for registry in (
        CanceledJobRegistry,
        DeferredJobRegistry,
        FailedJobRegistry,
        FinishedJobRegistry,
        ScheduledJobRegistry,
    )
)
_NAMES: Final = (
    f"local INTERMEDIATE = {IntermediateQueue.get_intermediate_queue_key('')!r}\n"
    f"local EXECUTIONS = {ExecutionRegistry.key_template.format('')!r}\n"
    f"local REGISTRIES = {{{', '.join(map(repr, _REGISTRIES))}}}\n"
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where jobs' data lie.

    Attributes:
        prefix: what its keys begin with; a job's id follows.
        kind: what Redis calls such keys' type.
        size: asks for how large the data are.
        read: asks for them.
    """

    prefix: str
    kind: str
    size: Callable[[Any, str], Any]
    read: Callable[[Any, str], Any]


_DATA: Final = (
    _Place(
        _JOBS,
        "hash",
        lambda pipe, id_: pipe.hstrlen(_JOBS + id_, "data"),
        lambda pipe, id_: pipe.hget(_JOBS + id_, "data"),
    ),
    # Looked into by themselves: what is kept aside may outlive its job.
    _Place(ASIDE, "string", lambda pipe, id_: pipe.strlen(ASIDE + id_), lambda pipe, id_: pipe.get(ASIDE + id_)),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a look into the jobs gave.

    Attributes:
        events: the ids of the events that are sought.
        unreadable: the ids of jobs that look like the relay's and could not be looked into.
    """

    events: set[str]
    unreadable: set[str]


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased.

    Attributes:
        jobs: how many jobs, dead letters too.
        results: how many jobs had results.
        running: of events that were left alone, the ids of the jobs that run.
    """

    jobs: int
    results: int
    running: tuple[str, ...]


class Erasure:
    """Finds and erases events in Redis.

    Only jobs with an id of the relay's are looked at: 32 hexadecimal digits and a number. RQ's own ids have hyphens.

    Args:
        client: a client.
        tell: told now and then, in words, how far it is.
    """

    def __init__(self, client: redis.Redis, *, tell: Callable[[str], None] = lambda _: None) -> None:
        self._redis = client
        self._tell = tell
        source = RQ_NAMES + _NAMES + files(__package__).joinpath("erase.lua").read_text("utf-8")
        self._erase = client.register_script(source)

    def find(self, holds: Callable[[bytes], bool]) -> Found:
        """Look into all jobs, a page at a time.

        Args:
            holds: says of what RQ keeps as a job's data whether it is sought; raises `DeadLetterError` if it cannot.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        found = Found(set(), set())
        for place in _DATA:
            for ids in self._scan(place.prefix, place.kind):
                # An event that is sought by one of its jobs is sought.
                for id_, data in self._data(place, [id_ for id_ in ids if _event_of(id_) not in found.events]):
                    try:
                        if holds(data):
                            found.events.add(_event_of(id_))
                    except DeadLetterError:
                        found.unreadable.add(id_)
        return found

    def locate(self, events: Collection[str]) -> dict[str, list[str]]:
        """Give the ids of all jobs of events that are in Redis, also of those that are gone but for what hangs on them.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        found: dict[str, set[str]] = {}
        if events:
            # Not asked by name: how many jobs an event became stands nowhere for long.
            for prefix, kind in ((_JOBS, "hash"), (_RESULTS, "stream"), (ASIDE, "string")):
                for ids in self._scan(prefix, kind):
                    for id_ in ids:
                        if _event_of(id_) in events:
                            found.setdefault(_event_of(id_), set()).add(id_)
        return {event: sorted(ids, key=_number_of) for event, ids in found.items()}

    def states(self, jobs: Iterable[str]) -> Counter[str]:
        """Count jobs by what RQ says of them; dead letters, results and what is kept aside by themselves.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        counts: Counter[str] = Counter()
        for ids in _pages(jobs, PAGE):
            states = self._ask(ids, lambda pipe, id_: pipe.hget(RQJob.key_for(id_), "status"))
            results = self._ask(ids, lambda pipe, id_: pipe.exists(Result.get_key(id_)))
            asides = self._ask(ids, lambda pipe, id_: pipe.exists(ASIDE + id_))
            for id_, state, result, aside in zip(ids, states, results, asides, strict=True):
                if state is not None:
                    kept = state == b"failed" and not _number_of(id_)
                    counts["dead letters" if kept else state.decode("utf-8", "replace")] += 1
                counts["results"] += result
                counts["kept aside"] += aside
        return +counts

    def erase(self, located: Mapping[str, list[str]], *, stranded_too: bool = False) -> Erased:
        """Erase events: all of each in one step, or nothing of it while one of its jobs runs.

        Args:
            located: the events and their jobs, as `locate` gave them.
            stranded_too: whether a job that is queued and stands in no queue goes too. A worker has just taken it, or
                died after that: look a while before.

        Raises:
            OutboxUnavailable: Redis does not answer, or refuses. What was erased is erased; begin again.
        """
        jobs, results, running = 0, 0, []
        for number, page in enumerate(_pages(located.values(), ERASED_AT_ONCE)):
            self._tell(f"{number * ERASED_AT_ONCE:,} of {len(located):,} events were erased …")
            with self._redis.pipeline(transaction=False) as pipe:
                for ids in page:
                    self._erase(keys=[HELD_KEY], args=[int(stranded_too), *ids], client=pipe)
                replies: list[Any] = self._executed(pipe)
            for erased, had_results, *busy in replies:
                jobs += erased
                results += had_results
                running += [id_.decode("ascii") for id_ in busy]
        return Erased(jobs, results, tuple(running))

    def _scan(self, prefix: str, kind: str) -> Iterator[list[str]]:
        """Give the ids behind a prefix that are the relay's, some at a time; one may come twice."""
        cursor, seen = 0, 0
        while True:
            try:
                reply: Any = self._redis.scan(cursor, match=f"{prefix}*", count=PAGE, _type=kind)
            except RedisError as error:
                raise _translated(error) from error
            cursor, keys = reply
            names = (key.decode("utf-8", "replace").removeprefix(prefix) for key in keys)
            yield [name for name in names if _OURS.fullmatch(name)]
            seen += len(keys)
            self._tell(f"{seen:,} jobs were looked at …")
            if not cursor:
                return

    def _data(self, place: _Place, ids: list[str]) -> Iterator[tuple[str, bytes]]:
        """Give jobs' data, so many at a time as memory has been set aside for."""
        sizes = self._ask(ids, place.size)
        batch: list[str] = []
        room = PAGE_BYTES
        for id_, size in zip(ids, sizes, strict=True):
            if batch and size > room:
                yield from self._fetched(place, batch)
                batch, room = [], PAGE_BYTES
            batch.append(id_)
            room -= size
        yield from self._fetched(place, batch)

    def _fetched(self, place: _Place, ids: list[str]) -> Iterator[tuple[str, bytes]]:
        data = self._ask(ids, place.read)
        # One that has gone meanwhile has none.
        yield from ((id_, one) for id_, one in zip(ids, data, strict=True) if one is not None)

    def _ask(self, ids: Iterable[str], command: Callable[[Any, str], Any]) -> list[Any]:
        with self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                command(pipe, id_)
            return self._executed(pipe)

    def _executed(self, pipe: Any) -> list[Any]:
        try:
            replies: list[Any] = pipe.execute()
        except RedisError as error:
            raise _translated(error) from error
        return replies


def _event_of(id_: str) -> str:
    return id_.partition("-")[0]


def _number_of(id_: str) -> int:
    return int(id_.partition("-")[2])


def _pages(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def _translated(error: RedisError) -> OutboxUnavailable:
    return OutboxUnavailable(f"Redis {trouble(error)}. Run the command again when it does; that is safe.")
