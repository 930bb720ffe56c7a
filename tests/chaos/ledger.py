"""Where the senders write every 2xx down, and what they count.

A line for each 2xx: `kept`, number, the number of the try, event id, when the first try was sent and when the 2xx came
(seconds on the monotonic clock). And one for each refused try of an event without a duplicate key: `refused`, number,
the number of the try.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .connection import Answer
from .payload import Sent, is_bare, parts_of


class Ledger:
    """Writes the 2xx down and keeps count; shared by all connections."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", encoding="ascii")
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._slowest = 0.0
        self._slowest_good = 0.0
        self._outage = 0.0
        self._last_good: float | None = None

    def begin(self) -> None:
        """Start to measure outages: sending begins now."""
        with self._lock:
            self._last_good = time.monotonic()

    def rest(self) -> None:
        """Stop to measure outages: nobody sends."""
        with self._lock:
            self._last_good = None

    def tried(self) -> None:
        """Count a request."""
        with self._lock:
            self._counts["requests"] += 1

    def answered(self, sent_at: float, answer: Answer | None) -> None:
        """Take note of an answer, or that none came."""
        took = time.monotonic() - sent_at
        with self._lock:
            self._statuses[str(answer.status) if answer else "none"] += 1
            if answer:
                self._slowest = max(self._slowest, took)
            if answer and answer.good:
                self._slowest_good = max(self._slowest_good, took)
                self._note_good(time.monotonic())

    def acknowledged(self, event: Sent, answer: Answer, first: float, tries: int) -> None:
        """Write an obligation down."""
        with self._lock:
            self._counts["acknowledged"] += 1
            self._file.write(f"kept {event.number} {tries} {answer.id or '-'} {first:.6f} {time.monotonic():.6f}\n")
            self._file.flush()

    def refused(self, event: Sent, attempt: int) -> None:
        """Write down that a try was refused."""
        with self._lock:
            self._file.write(f"refused {event.number} {attempt}\n")
            self._file.flush()

    def repeated(self, *, same: bool) -> None:
        """Count an acknowledged event that was sent and acknowledged once more."""
        with self._lock:
            self._counts["repeated"] += 1
            self._counts["answered with another id"] += not same

    def status(self) -> dict[str, object]:
        """Say how it stands."""
        with self._lock:
            if self._last_good is not None:
                self._outage = max(self._outage, time.monotonic() - self._last_good)
            return {
                "requests": self._counts["requests"],
                "acknowledged": self._counts["acknowledged"],
                "repeated": self._counts["repeated"],
                "other ids": self._counts["answered with another id"],
                "statuses": dict(self._statuses),
                "outage": self._outage,
                "slowest": self._slowest,
                "slowest good": self._slowest_good,
            }

    def _note_good(self, moment: float) -> None:
        if self._last_good is not None:
            self._outage = max(self._outage, moment - self._last_good)
            self._last_good = moment


def promised(file: Path) -> dict[int, tuple[int, ...]]:
    """Read the numbers of the events that have been acknowledged, and the jobs that each must have."""
    kept = ((int(number), int(attempt)) for kind, number, attempt, *_ in _lines(file) if kind == "kept")
    return {number: (attempt,) if is_bare(number) else parts_of(number) for number, attempt in kept}


def acknowledged(file: Path) -> dict[int, float]:
    """Read when each event was acknowledged, on the monotonic clock."""
    return {int(line[1]): float(line[5]) for line in _lines(file) if line[0] == "kept"}


def refused(file: Path) -> list[tuple[int, int]]:
    """Read number and try of what was refused; see above of which events."""
    return [(int(number), int(attempt)) for kind, number, attempt, *_ in _lines(file) if kind == "refused"]


def _lines(file: Path) -> Iterator[list[str]]:
    if file.exists():
        with file.open(encoding="ascii") as lines:
            # The last one may just be written.
            yield from (line.split() for line in lines if line.endswith("\n"))
