"""When each job began and ended, and how often: in a file that all processes of a turn have mapped into their memory.

A job writes two counts and two times there, without a system call and without Redis, so that a no-op job stays one.
The same file says when the work began and ended and whether each job ran exactly once: in threads, greenlets,
coroutines and forked processes alike.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from time import monotonic  # CLOCK_MONOTONIC: the same for all processes

_BYTES_A_JOB = 2 * 8 + 2


class Tally:
    """The tally of `size` jobs, whose numbers are 0 to size - 1."""

    __slots__ = ("_began", "_begun", "_done", "_ended", "size")

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size // _BYTES_A_JOB
        # Populated at once: else a worker's memory would seem to grow with each page that a job is the first to touch.
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        with path.open("r+b") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, flags=flags))
        self._began = view[: self.size * 8].cast("d")
        self._ended = view[self.size * 8 : self.size * 16].cast("d")
        self._begun = view[self.size * 16 : self.size * 17]
        self._done = view[self.size * 17 :]

    @classmethod
    def create(cls, path: Path, size: int) -> Tally:
        """Make the file, with nothing run yet."""
        path.write_bytes(bytes(size * _BYTES_A_JOB))
        return cls(path)

    def begin(self, number: int) -> None:
        """Note that a job begins."""
        self._begun[number] += 1
        self._began[number] = monotonic()

    def end(self, number: int) -> None:
        """Note that a job ended well."""
        self._ended[number] = monotonic()
        self._done[number] += 1

    def has_begun(self) -> bool:
        """Tell whether any job began."""
        return self._begun.tobytes().count(0) < self.size

    def done(self, total: int) -> int:
        """Count those of the first `total` jobs that ended well, once or more often."""
        return total - self._done[:total].tobytes().count(0)

    def span(self, total: int) -> tuple[float, float]:
        """Give when the first of them began and when the last of them ended, on the monotonic clock."""
        return min(began for began in self._began[:total] if began), max(self._ended[:total])

    def runs(self) -> int:
        """Count how often jobs began, all in all."""
        return sum(self._begun)


def cost(directory: Path) -> float:
    """Measure what the tally takes of each job, in seconds."""
    size = 100_000
    tally = Tally.create(directory / "cost", size)
    began = monotonic()
    for number in range(size):
        tally.begin(number)
        tally.end(number)
    return (monotonic() - began) / size
