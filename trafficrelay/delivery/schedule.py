"""When a delivery is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ..backoff import Backoff
from ..errors import DeclarationError
from ..options import seconds

DEFAULT: Final = Backoff(7, first=40, factor=5, longest="24h")
"""Eight tries: the seven waits are 28.3 h together on average, 56.7 h at most."""

LEAST_PATIENCE: Final = 86_400
"""Seconds for which a delivery may be put off, however short its schedule is: an open circuit is not its fault."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The waits between the tries of a delivery. Made by `schedule`.

    Attributes:
        waits: the seconds before each further try, or the most of them.
        jitter: whether each wait is drawn, all from 1 s to the most being as likely ("full jitter").
    """

    waits: tuple[int, ...]
    jitter: bool

    @property
    def tries(self) -> int:
        """How often a delivery is tried."""
        return len(self.waits) + 1

    @property
    def patience(self) -> int:
        """Seconds after its first run in which a delivery is over, however often it was put off."""
        return max(sum(self.waits), LEAST_PATIENCE)

    def wait(self, tries: int, chance: Callable[[], float] = random.random) -> int | None:
        """Give the whole seconds until the next try; `None` after the last one.

        Args:
            tries: how often it was tried so far.
            chance: gives a number from 0 to 1, 1 excluded.
        """
        if not 0 < tries <= len(self.waits):
            return None
        most = self.waits[tries - 1]
        # At least a second: RQ runs what waits for none at once, in a row.
        return int(chance() * most) + 1 if self.jitter else max(most, 1)


def schedule(value: Any) -> Schedule:
    """Read `schedule=`: the waits before each further try (`[10, 60, "15m"]`), which are kept to, or a `Backoff`.

    An empty list is a single try.

    Raises:
        DeclarationError: it is neither.
    """
    if isinstance(value, Backoff):
        return Schedule(value.retries.intervals, value.retries.jitter)
    if isinstance(value, list | tuple):
        return Schedule(tuple(_wait(wait) for wait in value), jitter=False)
    raise DeclarationError(
        f'schedule is a list of the waits between the tries such as [10, 60, "15m"], or a Backoff, not {value!r}.',
        option="schedule",
    )


def _wait(value: Any) -> int:
    try:
        return seconds(value, "a wait of schedule", least=0)
    except DeclarationError as error:
        raise DeclarationError(str(error), option="schedule") from None
