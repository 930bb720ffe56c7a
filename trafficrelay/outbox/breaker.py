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
        self._why = ""
        self._opened = self._closed = time.monotonic()

    @property
    def error(self) -> OutboxAway | None:
        """Why it is open, a new error each time; `None` while it is closed.

        One that is raised again and again would collect the frames of all who raised it, and their events.
        """
        return OutboxAway(self._why) if self._why else None

    def trip(self, error: OutboxUnavailable, *, since: float) -> None:
        """Open it.

        Args:
            error: how Redis was found away.
            since: when it was asked (`time.monotonic`): an answer from before it came back says nothing.
        """
        if not self._why and since >= self._closed:
            self._opened = time.monotonic()
            self._why = str(error)
            log.warning("%s %s", error, self._otherwise)

    def close(self) -> None:
        """Close it: Redis takes events again."""
        if self._why:
            self._closed = time.monotonic()
            self._why = ""
            log.warning("Redis takes events again, after %.1f s.", self._closed - self._opened)
