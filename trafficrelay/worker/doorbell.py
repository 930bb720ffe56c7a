"""Waiting for a job without taking it.

A script cannot block, and what blocks (BLPOP on several queues) takes a job in a way that loses it with its worker. So
one blocking command a queue only looks: a list's head that is moved to that list's head stays where it is, and the
reply comes as soon as there is one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

import redis

_LONGEST: Final = 1.0
"""Seconds that one wait takes at most: less than a reply may take. Then it is seen whether anybody still listens."""

_DEAF: Final = 0.05
_MOST_DEAF: Final = 1.0


class Doorbell:
    """Tells, once each time it is armed, when one of some queues has a job.

    Args:
        client: connections for it alone.
        keys: the queues' keys.
        ring: called in a thread of its own, without arguments.
    """

    def __init__(self, client: redis.Redis, keys: Iterable[str], ring: Callable[[], object]) -> None:
        self._client = client
        self._ring = ring
        self._armed = threading.Event()
        self._closed = self._rang = False
        self._deaf, self._deaf_until = _DEAF, 0.0
        self._threads = [
            threading.Thread(target=self._watch, args=(key,), name=f"trafficrelay-doorbell-{key}", daemon=True)
            for key in keys
        ]
        for thread in self._threads:
            thread.start()

    def arm(self) -> float:
        """Let it ring once, unless it has just rung for nothing: then it gives the seconds until it may ring again."""
        deaf = self._deaf_until - time.monotonic()
        if deaf <= 0:
            self._armed.set()
        return max(0.0, deaf)

    def answered(self, *, found: bool) -> None:
        """Note whether there was a job for this worker. What has to wait lies in its queue, and would ring at once."""
        if found:
            self._deaf = _DEAF
        elif self._rang:
            self._deaf_until = time.monotonic() + self._deaf
            self._deaf = min(_MOST_DEAF, self._deaf * 2)
        self._rang = False

    def close(self) -> None:
        """Let it never ring again. Its threads are left to their replies."""
        self._closed = True
        self._armed.set()
        self._client.connection_pool.disconnect()

    def _watch(self, key: str) -> None:
        while not self._closed:
            self._armed.wait()
            if self._closed:
                return
            try:
                found = self._client.blmove(key, key, _LONGEST, "LEFT", "LEFT")  # type: ignore[arg-type]
            except Exception:
                # The worker finds by itself that Redis is away. A queue that is no list is its matter too.
                time.sleep(1.0)
                continue
            if found is not None and self._armed.is_set():
                self._armed.clear()
                self._rang = True
                self._ring()
