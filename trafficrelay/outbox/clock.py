"""Redis' clock, seen from here."""

from __future__ import annotations

import time
from typing import Final

import redis

KEPT: Final = 60.0
"""Seconds for which an answer counts: Redis' clock may be set back, which nothing tells."""


class RedisClock:
    """Says what time it is on Redis' clock, which it asks for now and then.

    A script can then tell that it runs too late. Both clocks may differ. That Redis' was set forward the caller finds
    out (`forget`), because everything seems late then; that it was set back shows within `KEPT` seconds.

    Args:
        client: a client of the Redis.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        # How far Redis' clock is ahead of ours, and when it said so.
        self._answer: tuple[int, float] | None = None

    def at(self, moment: float) -> int:
        """Turn a moment of `time.monotonic()` into milliseconds on Redis' clock.

        Raises:
            redis.RedisError: Redis was asked and did not answer.
        """
        answer = self._answer
        if answer is None or time.monotonic() - answer[1] > KEPT:
            seconds, microseconds = self._client.time()
            here = time.monotonic()
            # Its answer took a moment, by which what is computed with it comes out early, never late.
            self._answer = answer = (seconds * 1000 + microseconds // 1000 - int(here * 1000) - 1, here)
        return answer[0] + int(moment * 1000)

    def forget(self) -> None:
        """Ask again next time."""
        self._answer = None
