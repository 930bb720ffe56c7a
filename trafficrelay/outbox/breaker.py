"""The breaker: whether Redis is asked at all. While it is away nobody waits out a time-out for it."""

from __future__ import annotations

import logging
import time
from typing import Final

from ..errors import OutboxAway, OutboxUnavailable

log: Final = logging.getLogger("trafficrelay.outbox")


class Breaker:
    """Open while Redis is away: then events are spooled or refused at once. Opened by whoever finds it away.

    Args:
        otherwise: what happens to events meanwhile, in words for the log.
    """

    def __init__(self, otherwise: str) -> None:
        self._otherwise = otherwise
        self._error: OutboxAway | None = None
        self._opened = self._closed = time.monotonic()

    @property
    def error(self) -> OutboxAway | None:
        """Why it is open; `None` while it is closed."""
        return self._error

    def trip(self, error: OutboxUnavailable, *, since: float) -> None:
        """Open it.

        Args:
            error: how Redis was found away.
            since: when it was asked (`time.monotonic`): an answer from before it came back says nothing.
        """
        if self._error is None and since >= self._closed:
            self._opened = time.monotonic()
            self._error = OutboxAway(str(error))
            log.warning("%s %s", error, self._otherwise)

    def close(self) -> None:
        """Close it: Redis takes events again."""
        if self._error is not None:
            self._closed = time.monotonic()
            self._error = None
            log.warning("Redis takes events again, after %.1f s.", self._closed - self._opened)
