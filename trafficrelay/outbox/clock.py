"""Redis' clock, seen from here."""

from __future__ import annotations

import time

import redis


class RedisClock:
    """Says what time it is on Redis' clock, which it asks for once.

    A script can then tell that it runs too late. Both clocks may differ; and only Redis' can be set while we run, which
    the caller finds out (`forget`), because ours here is the monotonic one.

    Args:
        client: a client of the Redis.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._ahead: int | None = None

    def at(self, moment: float) -> int:
        """Turn a moment of `time.monotonic()` into milliseconds on Redis' clock.

        Raises:
            redis.RedisError: Redis was asked and did not answer.
        """
        if self._ahead is None:
            seconds, microseconds = self._client.time()
            # Its answer took a moment, by which what is computed with it comes out early, never late.
            self._ahead = seconds * 1000 + microseconds // 1000 - int(time.monotonic() * 1000) - 1
        return self._ahead + int(moment * 1000)

    def forget(self) -> None:
        """Ask again next time."""
        self._ahead = None
