"""The long run: `python -m tests.chaos --minutes 30 --seed 7`."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from .scenario import Outcome, run_scenario
from .scenarios import SCENARIOS
from .table import as_json, markdown, remarks

_CALIBRATED = 30.0


def main() -> int:
    """Run the scenarios and print the table; 1 if anything is not as it must be."""
    options = _parser().parse_args()
    for signum in (signal.SIGINT, signal.SIGTERM):
        # Everything is ended in order and the table is printed, also where a shell had Ctrl-C ignored.
        signal.signal(signum, signal.default_int_handler)
    if options.list:
        sys.stdout.write("".join(f"{one.name:12} {one.rounds:5}  {one.says}\n" for one in SCENARIOS))
        return 0
    chosen = [one for one in SCENARIOS if not options.scenario or one.name in options.scenario]
    directory = options.keep or Path(tempfile.mkdtemp(prefix="trafficrelay-chaos-"))
    outcomes: list[Outcome] = []
    try:
        for scenario in chosen:
            rounds = options.rounds or max(1, round(scenario.rounds * options.minutes / _CALIBRATED))
            _tell(f"{scenario.name}: {scenario.says}, {rounds} rounds")
            place = directory / scenario.name
            shutil.rmtree(place, ignore_errors=True)
            outcomes.append(run_scenario(scenario, seed=options.seed, rounds=rounds, directory=place, tell=_tell))
            if outcomes[-1].good and options.keep is None:
                shutil.rmtree(place, ignore_errors=True)
            if _interrupted(outcomes[-1]):
                break
    except KeyboardInterrupt:
        # Between two scenarios, or while one was starting.
        _tell("interrupted")
    sys.stdout.write(as_json(outcomes) if options.json else f"{markdown(outcomes)}\n{remarks(outcomes)}")
    good = all(outcome.good for outcome in outcomes)
    if good and options.keep is None:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        _tell(f"what is left of it is in {directory}")
    return 0 if good else 1


def _interrupted(outcome: Outcome) -> bool:
    return any(failure.startswith("interrupted") for failure in outcome.failures)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    names = [one.name for one in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="what payloads and schedule follow (%(default)s)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=_CALIBRATED,
        help="about how long it takes; the rounds of each scenario go by it (%(default)g)",
    )
    parser.add_argument(
        "--scenario", action="append", choices=names, metavar="NAME", help="only this one; again for more"
    )
    parser.add_argument("--rounds", type=int, help="so many rounds of each scenario, whatever --minutes says")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each scenario in place of the table")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep data and logs of all scenarios in this directory"
    )
    parser.add_argument("--list", action="store_true", help="list the scenarios and their rounds in 30 minutes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
