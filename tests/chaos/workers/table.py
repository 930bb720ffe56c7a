"""The outcome as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rq.version import VERSION

from .account import at_share
from .play import Report

SHOWN: Final = 5
"""How many of each kind are told one by one."""

_COLUMNS: Final = (
    "workers", "rq", "SIGKILL", "SIGTERM", "jobs", "corrupt", "lost", "in flight at a kill", "runs beyond the first",
    "not explained", "from kill to running again: p50", "p99", "max", "seed",
)  # fmt: skip


def markdown(reports: Iterable[Report]) -> str:
    """Make the table."""
    lines = [_row(_COLUMNS), _row(("---", *["---:"] * (len(_COLUMNS) - 1)))]
    return "\n".join([*lines, *(_row(_cells(report)) for report in reports)]) + "\n"


def remarks(report: Report) -> str:
    """Tell what did not come right, and what else was counted."""
    verdict, losses = report.verdict, report.losses
    lines = [*report.failures]
    for name, found in (
        ("lost", verdict.lost),
        ("runs that nothing explains", verdict.doubled),
        ("in several places", verdict.misplaced),
        ("damaged and out of sight", verdict.invisible),
        ("damaged and run again and again", verdict.endless),
        ("ended by itself", losses.ended),
        ("did not end after SIGTERM", losses.hung),
        ("ended after SIGTERM with jobs in hand", losses.holding),
    ):
        lines += _some(name, found)
    if verdict.damaged:
        where = ", ".join(f"{place} {count}" for place, count in sorted(verdict.damaged.items()))
        lines.append(f"where damaged jobs lie: {where}")
    lines += [f"left behind: {count} {name}" for name, count in report.left.items()]
    lines.append(
        f"{report.seconds:.0f} s in all; {losses.starting} of the workers that were hit were still starting; after "
        f"SIGTERM the slowest ended in {losses.slowest:.1f} s; the longest way of a job from its queue to its last end "
        f"took {report.slowest:.1f} s"
    )
    return "".join(f"- {line}\n" for line in lines)


def _some(name: str, found: Sequence[str]) -> Iterator[str]:
    yield from (f"{name}: {one}" for one in found[:SHOWN])
    if len(found) > SHOWN:
        yield f"{name}: {len(found) - SHOWN} more"


def _cells(report: Report) -> Sequence[str]:
    plan, verdict = report.plan, report.verdict
    counts = (len(report.losses.kills), report.losses.terms, plan.jobs, plan.corrupt, len(verdict.lost))
    cells = [f"{count:,}" for count in counts]
    if plan.stock:
        # Nobody knows what RQ's own workers had in hand.
        cells += ["", f"{verdict.extra:,}", "", "", "", ""]
    else:
        waits = (at_share(verdict.waits, 0.5), at_share(verdict.waits, 0.99), max(verdict.waits, default=0.0))
        cells += [f"{count:,}" for count in (verdict.in_flight, verdict.extra, len(verdict.doubled))]
        cells += [f"{wait:.1f} s" for wait in waits]
    who = "RQ's own, and the sweep" if plan.stock else "RelayWorker"
    return (f"{plan.workers} of {who}", VERSION, *cells, str(plan.seed))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
