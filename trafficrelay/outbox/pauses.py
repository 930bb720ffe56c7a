"""Paused routes: what somebody has told the script to turn away (`accept.lua` looks with every event)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

import redis
from redis.exceptions import RedisError

from .names import PAUSED_KEY
from .replies import translated

Mode: TypeAlias = Literal["refuse", "spool"]

REFUSE: Final = "refuse"
"""Senders get 503 and try again later."""

SPOOL: Final = "spool"
"""Events are kept in the relay's spool and answered as ever; they are handed over once the route is resumed."""


class Pauses:
    """Pauses routes and resumes them, for all processes and all relays on one Redis, with the next event.

    Args:
        client: a client of the Redis.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def all(self) -> dict[str, str]:
        """Give the rules of the paused routes, sorted, and how each is paused.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        try:
            found: Any = self._redis.hgetall(PAUSED_KEY)
        except RedisError as error:
            raise translated(error) from error
        return dict(sorted((_text(rule), _text(mode)) for rule, mode in found.items()))

    def pause(self, rule: str, mode: Mode) -> None:
        """Pause a route, or change how it is paused.

        Raises:
            OutboxUnavailable: Redis does not answer, or cannot write now.
        """
        try:
            self._redis.hset(PAUSED_KEY, rule, mode)
        except RedisError as error:
            raise translated(error) from error

    def resume(self, rules: Iterable[str]) -> int:
        """Resume routes, and say how many of them were paused.

        Raises:
            OutboxUnavailable: Redis does not answer, or cannot write now.
        """
        named = list(rules)
        if not named:
            return 0
        try:
            count: Any = self._redis.hdel(PAUSED_KEY, *named)
        except RedisError as error:
            raise translated(error) from error
        return int(count)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
