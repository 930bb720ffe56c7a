"""What jobs have come to and Redis has not taken yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .held import Ended
from .running import Run

_MOST: Final = 1_000
_BYTES: Final = 1_000_000
"""Bytes that are sent at a time: what takes longer than a reply may cannot be told from a Redis that is away."""

_TRIES: Final = 3


def may_be_its_size(error: RedisError) -> bool:
    """Say whether Redis may have failed on what was sent because it is too large.

    Of more than `proto-max-bulk-len` it says that it is a protocol error, and closes the connection. Whether that is
    read, or the connection is found closed while the rest is sent, is a matter of luck.
    """
    return isinstance(error, RedisConnectionError | RedisTimeoutError) or str(error).startswith("Protocol error")


class Backlog:
    """Outcomes in the order in which they came. After a failure fewer are sent at a time, to find what it was."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Run, Ended]] = []
        self._most = _MOST
        self._refusals = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, items: Iterable[tuple[Run, Ended]]) -> None:
        """Add outcomes."""
        self._waiting.extend(items)

    @property
    def ids(self) -> set[str]:
        """The ids of the jobs."""
        return {ended.id for _, ended in self._waiting}

    def portion(self) -> list[tuple[Run, Ended]]:
        """Give the first ones, as many as are sent now."""
        size, count = 0, 0
        for _, ended in self._waiting[: self._most]:
            size += size_of(ended)
            if count and size > _BYTES:
                break
            count += 1
        return self._waiting[:count]

    def taken(self, count: int) -> None:
        """Note that Redis took the first ones."""
        del self._waiting[:count]
        self._most = min(_MOST, self._most * 2)
        if count:
            self._refusals = 0

    def narrow(self, count: int) -> None:
        """Note that so many were not taken; fewer are sent the next time."""
        self._most = max(1, count // 2)

    def refused(self) -> tuple[Run, Ended] | None:
        """Note that Redis, which takes what is written else, did not take the first one.

        Returns:
            That one, if it was so several times; it is no longer among these.
        """
        self._refusals += 1
        if self._refusals < _TRIES:
            return None
        self._refusals = 0
        return self._waiting.pop(0)


def size_of(ended: Ended) -> int:
    """Give about how many bytes are sent of an outcome."""
    return sum(len(part) for part in ended.written if isinstance(part, str | bytes))
