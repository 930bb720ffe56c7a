"""What the workers run: each run notes when it begins and when it ends.

A line is one write to a file that was opened for appending, of the process alone: a kill loses none that was written.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final

from rq import Retry, get_current_job

NOTES: Final = "CHAOS_WORKER_NOTES"
"""The variable that names the directory of the files."""

_BEGIN: Final = "begin"
_END: Final = "end"


def note(what: str, job: str) -> None:
    """Note what a run does."""
    file = os.open(
        Path(os.environ[NOTES]) / str(os.getpid()), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        os.write(file, f"{what} {job} {time.time():.4f}\n".encode())
    finally:
        os.close(file)


def _run(seconds: float) -> Any:
    job = get_current_job()
    if job is None:
        raise RuntimeError("this is not run by a worker")
    note(_BEGIN, job.id)
    # In slices: a job of a user's does not sit in one call either.
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.02))
    note(_END, job.id)
    return job


def plain(seconds: float) -> str:
    """Run for a while."""
    return str(_run(seconds).id)


def fails(seconds: float) -> None:
    """Fail."""
    _run(seconds)
    raise RuntimeError("this job always fails")


def fails_once(seconds: float) -> None:
    """Fail as long as it has two tries left."""
    if _run(seconds).retries_left == 2:
        raise RuntimeError("its first try fails")


def asks_again(seconds: float) -> Any:
    """Ask once to be run again."""
    job = _run(seconds)
    return job.id if job.number_of_retries else Retry(max=3)


def called_back(job: Any, connection: Any, result: Any) -> None:
    """Do nothing: jobs with a callback take RQ's own way."""
