"""A line that says how far a command is, where somebody watches."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Self

_EVERY: Final = 0.1
_WIDTH: Final = 79


class Progress:
    """Writes over one line of stderr, at most ten times a second, and only on a terminal.

    As a context manager it takes the line away at the end.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._next = 0.0
        self._dirty = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def tell(self, text: str) -> None:
        """Say how far it is; passed over if that was said a moment ago."""
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + _EVERY
            self._dirty = True
            sys.stderr.write(f"\r{text[:_WIDTH]:<{_WIDTH}}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away, so that something else can be written there."""
        if self._dirty:
            self._dirty = False
            sys.stderr.write(f"\r{'':<{_WIDTH}}\r")
            sys.stderr.flush()
