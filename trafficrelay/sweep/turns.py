"""Which of several sweepers sweeps."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any, Final

from ..outbox.names import KEYS

_TURN_SECONDS: Final = 60.0
_KEEP_EVERY: Final = 5.0


class Turn:
    """A sweeper's turn: others wait until it is over, or until a sweeper that died has not kept it for a minute.

    Two that sweep at once only do more than has to be done: each job is put back in one step that looks again.

    Args:
        script: `turn.lua`.
    """

    def __init__(self, script: Any) -> None:
        self._script = script
        self._token = ""
        self._keep_at = 0.0

    def take(self, *, due_or_not: bool) -> float:
        """Take the turn; give the seconds after which to ask again, 0 if it is ours.

        Args:
            due_or_not: take it although another one swept a moment ago.

        Raises:
            RedisError: Redis does not answer.
        """
        self._token = uuid.uuid4().hex
        ours, wait = self._call("take", _TURN_SECONDS, int(due_or_not))
        self._keep_at = time.monotonic() + _KEEP_EVERY
        return 0.0 if ours else wait / 1000

    def keep(self) -> bool:
        """Keep the turn, now and then; `False` if another one has it.

        Raises:
            RedisError: Redis does not answer.
        """
        if time.monotonic() < self._keep_at:
            return True
        self._keep_at = time.monotonic() + _KEEP_EVERY
        return bool(self._call("keep", _TURN_SECONDS, 0)[0])

    def end(self, next_in: float) -> None:
        """Give the turn back, and say in how many seconds the next sweep is due.

        Raises:
            RedisError: Redis does not answer.
        """
        self._call("end", max(next_in, 0.001), 0)

    def _call(self, what: str, seconds: float, due_or_not: int) -> Sequence[int]:
        keys = [f"{KEYS}sweep:turn", f"{KEYS}sweep:pause"]
        reply: Sequence[int] = self._script(keys=keys, args=[what, self._token, int(seconds * 1000), due_or_not])
        return reply
