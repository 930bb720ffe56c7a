"""The long run: `python -m tests.chaos.workers --kills 200 --terms 200 --jobs 10000`."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from .play import Plan, play
from .table import markdown, remarks


def main() -> int:
    """Run it and print the table; 1 if anything is not as it must be."""
    options = _parser().parse_args()
    for signum in (signal.SIGINT, signal.SIGTERM):
        # The workers are ended in order, also where a shell had Ctrl-C ignored.
        signal.signal(signum, signal.default_int_handler)
    plan = Plan(
        jobs=options.jobs,
        kills=options.kills,
        terms=options.terms,
        corrupt=options.corrupt,
        workers=options.workers,
        pace=options.pace,
        stock=options.stock,
        seed=options.seed,
    )
    directory = options.keep or Path(tempfile.mkdtemp(prefix="trafficrelay-workers-"))
    try:
        report = play(plan, directory / "run", _tell)
    except KeyboardInterrupt:
        _tell(f"interrupted; what is left of it is in {directory}")
        return 1
    sys.stdout.write(f"{markdown([report])}\n{remarks(report)}")
    if report.good and options.keep is None:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        _tell(f"what is left of it is in {directory}")
    return 0 if report.good else 1


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.workers", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="workers that get SIGKILL (%(default)s)")
    parser.add_argument("--terms", type=int, default=200, help="workers that get SIGTERM (%(default)s)")
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs (%(default)s)")
    parser.add_argument("--corrupt", type=int, default=0, help="jobs besides that nobody can read (%(default)s)")
    parser.add_argument("--workers", type=int, default=3, help="workers at once (%(default)s)")
    parser.add_argument(
        "--pace", type=float, default=2.5, help="seconds from one worker that is hit to the next (%(default)s)"
    )
    parser.add_argument("--stock", action="store_true", help="RQ's own workers, beside `trafficrelay sweep`")
    parser.add_argument("--seed", type=int, default=7, help="what jobs and hits follow (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep data and logs in this directory")
    return parser


if __name__ == "__main__":
    sys.exit(main())
