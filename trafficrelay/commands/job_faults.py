"""Looking whether jobs can be imported while a relay starts: `python -m trafficrelay.commands.job_faults TARGET`.

In a process of its own: what the modules of jobs bring about when they are imported (threads, settings, memory) is no
business of the one that serves.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from ..importing import of_jobs
from .reading import read_target

_PATIENCE = 5.0
"""Seconds that a start waits for modules that take their time."""


@contextlib.contextmanager
def looking(target: str) -> Iterator[None]:
    """Look during the block, and at its end say on stderr which jobs no worker could import."""
    process = subprocess.Popen(  # noqa: S603 - this interpreter, no shell
        [sys.executable, "-m", __name__, target],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield
        with contextlib.suppress(subprocess.TimeoutExpired):
            out, _ = process.communicate(timeout=_PATIENCE)
            sys.stderr.writelines(f"trafficrelay: {line}\n" for line in out.splitlines())
            sys.stderr.flush()
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Write a line for each job that no worker could import."""
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        found = of_jobs(read_target(sys.argv[1]))
    out.writelines(f"{one.about}: {one.text}\n" for one in found)


if __name__ == "__main__":
    main()
