"""The time as a test client sees it: the real one, or one that a test holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from .. import event
from ..errors import ClientError


class Clock:
    """Says what time it is for the relay under test: for `received_at`, signatures, rates, and how long jobs wait."""

    def __init__(self) -> None:
        self._held: datetime | None = None

    def now(self) -> datetime:
        """Give the time, in UTC."""
        return event.now() if self._held is None else self._held

    def microseconds(self) -> int:
        """Give it as a number, since 1970."""
        return int(self.now().timestamp() * 1_000_000)

    def nanoseconds(self) -> int:
        """The same, in the unit that `Pressure` counts in."""
        return self.microseconds() * 1_000

    def tick(self, seconds: float | timedelta) -> None:
        """Move the time that is held.

        Args:
            seconds: by how much; a negative number moves it back.

        Raises:
            ClientError: it is not held.
        """
        if self._held is None:
            raise ClientError("The time runs by itself here. Hold it first: `with client.at(moment) as clock: …`.")
        self._held += seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)

    @contextmanager
    def hold(self, moment: Any) -> Iterator[Clock]:
        """Hold the time within a `with` block.

        Raises:
            ClientError: `moment` says no time zone.
        """
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            raise ClientError(
                f"The time is held at a datetime with a time zone, such as datetime(2026, 3, 1, tzinfo=UTC), "
                f"not {moment!r}."
            )
        before, self._held = self._held, moment.astimezone(UTC)
        try:
            yield self
        finally:
            self._held = before
