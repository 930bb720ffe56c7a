"""The look at all jobs: which of them may lie nowhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from random import SystemRandom
from typing import Any, Final

import redis
from rq import Queue
from rq.job import Job as RQJob
from rq.registry import FinishedJobRegistry
from rq.utils import utcformat

from ..event import now
from .crowd import Crowd
from .reading import MOST_WORDS, Failure, failure_of
from .scripts import Scripts

SCANNED_AT_ONCE: Final = 1_000
"""How many keys Redis goes through in one step."""

LOOKED_AT_ONCE: Final = 500
"""How many jobs are looked at in one step. That blocks Redis for some 2 ms (measured)."""

PAGE: Final = 2_500
"""How many places of a queue or a registry are read in one step."""

MOST_SUSPECTS: Final = 20_000
"""How many suspects one sweep takes on. The next one finds the rest."""

# How many sweeps of all look at finished jobs too, which may be many.
_THOROUGH: Final = 1 / 8

IDS: Final = f"{'?' * 32}-*"
"""The pattern that the ids of relays' jobs match."""

_OURS: Final = re.compile(b"^%b([0-9a-f]{32}-[0-9]{1,9})$" % re.escape(RQJob.key_for("").encode()), re.MULTILINE)


@dataclass(slots=True)
class Looked:
    """What a look at all jobs gave.

    Attributes:
        seen: how many jobs of relays there were.
        suspects: the ids of those that may lie nowhere, and how RQ gave each up, if it did.
        broken: the ids of those that cannot be read.
    """

    seen: int = 0
    suspects: dict[bytes, Failure] = field(default_factory=dict)
    broken: set[bytes] = field(default_factory=set)


class Looking:
    """Looks at all jobs of relays, in steps.

    The ids of what lies in queues or has finished are read first, and these jobs are not looked at any closer. It does
    not matter that jobs move meanwhile: what is found is only suspected.

    Args:
        client: a client.
        scripts: the scripts.
        young: seconds for which a job that was queued is not looked at.
        horizon: seconds after which a job that RQ gave up is left to people.
        go_on: asked after each step whether to go on.
        tell: told now and then, in words, how far it is.
    """

    def __init__(
        self,
        client: redis.Redis,
        scripts: Scripts,
        *,
        young: float,
        horizon: float,
        go_on: Callable[[], bool],
        tell: Callable[[str], None],
    ) -> None:
        self._redis = client
        self._scripts = scripts
        self._young = young
        self._horizon = horizon
        self._go_on = go_on
        self._tell = tell

    def look(self) -> Looked | None:
        """Look at all jobs; `None` if it was told not to go on.

        Raises:
            RedisError: Redis does not answer.
        """
        found = Looked()
        crowd = self._crowd()
        if crowd is None:
            return None
        cursor = b"0"
        while True:
            cursor, keys = self._scripts.scan(args=[cursor, RQJob.key_for(IDS), SCANNED_AT_ONCE])
            ids = _OURS.findall(keys)
            found.seen += len(ids)
            for page in pages(crowd.strangers(ids), LOOKED_AT_ONCE):
                self._look_at(page, found)
            self._tell(f"{found.seen:,} jobs were looked at …")
            if not self._go_on():
                return None
            if cursor == b"0" or len(found.suspects) >= MOST_SUSPECTS:
                return found

    def _look_at(self, ids: list[bytes], found: Looked) -> None:
        moment = now()
        young = (utcformat(moment - timedelta(seconds=self._young)), utcformat(moment))
        suspects, failed, broken = self._scripts.look(args=[*young, MOST_WORDS, *ids])
        # One that is found twice is one: that is how Redis scans.
        found.suspects |= dict.fromkeys(suspects, "")
        found.broken.update(broken)
        for id_, result, words in failed:
            failure = failure_of(words)
            if failure and int(result.partition(b"-")[0]) / 1000 >= moment.timestamp() - self._horizon:
                found.suspects[id_] = failure

    def _crowd(self) -> Crowd | None:
        places = list(self._places())
        crowd = Crowd(sum(size for _, _, size in places))
        for command, key, _ in places:
            # From the end: what workers take from the front does not move what was not read yet.
            at = 0
            while page := self._scripts.page(keys=[key], args=[command, -at - PAGE, -at - 1]):
                crowd.add(page.split(b"\n"))
                at += PAGE
                self._tell(f"{at:,} places of a queue were looked at …")
                if not self._go_on():
                    return None
        return crowd

    def _places(self) -> Iterator[tuple[str, bytes, int]]:
        """Give the queues and the finished registries: how each is read, its key, and how many jobs it has."""
        # A job that has finished may have been queued again, and lost.
        thorough = SystemRandom().random() < _THOROUGH
        prefix = Queue.redis_queue_namespace_prefix.encode()
        finished = FinishedJobRegistry.key_template.format("").encode()
        places: list[tuple[str, bytes]] = []
        for key in self._redis.sscan_iter(Queue.redis_queues_keys, count=SCANNED_AT_ONCE):
            places.append(("LRANGE", key))
            if not thorough:
                places.append(("ZRANGE", finished + key.removeprefix(prefix)))
        with self._redis.pipeline(transaction=False) as pipe:
            for command, key in places:
                pipe.execute_command("LLEN" if command == "LRANGE" else "ZCARD", key)  # type: ignore[no-untyped-call]
            # A key that holds something else is an error of its own, and no queue.
            sizes: list[Any] = pipe.execute(raise_on_error=False) if places else []
        for (command, key), size in zip(places, sizes, strict=True):
            if isinstance(size, int) and size:
                yield command, key, size


def pages(ids: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """Give ids, so many at a time."""
    rest = iter(ids)
    while page := list(islice(rest, size)):
        yield page
