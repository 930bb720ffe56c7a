"""Reads what the jobs noted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a job.

    Attributes:
        pid: in which process.
        begin: when it began, in seconds since 1970.
        end: when it ended; `None` if it did not.
    """

    pid: int
    begin: float
    end: float | None


def read_notes(directory: Path) -> dict[str, Sequence[Ran]]:
    """Give the runs of each job, in the order in which they began."""
    found: dict[str, list[Ran]] = defaultdict(list)
    for file in directory.iterdir():
        open_runs: dict[str, int] = {}
        for line in file.read_text().splitlines():
            what, job, when = line.split()
            if what == "begin":
                open_runs[job] = len(found[job])
                found[job].append(Ran(int(file.name), float(when), None))
            else:
                at = open_runs.pop(job)
                began = found[job][at]
                found[job][at] = Ran(began.pid, began.begin, float(when))
    return {job: sorted(runs, key=lambda ran: ran.begin) for job, runs in found.items()}
