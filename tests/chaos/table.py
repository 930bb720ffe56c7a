"""The outcome as a Markdown table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Final

from .scenario import Outcome

_COLUMNS: Final = (
    "scenario", "rounds", "requests", "acknowledged", "lost", "doubled", "wrong", "longest outage", "slowest answer",
    "seed",
)  # fmt: skip


def markdown(outcomes: Iterable[Outcome]) -> str:
    """Make the table."""
    lines = [_row(_COLUMNS), _row(("---", *["---:"] * (len(_COLUMNS) - 1)))]
    return "\n".join([*lines, *(_row(_cells(outcome)) for outcome in outcomes)]) + "\n"


def as_json(outcomes: Iterable[Outcome]) -> str:
    """Make a line of JSON for each."""
    return "".join(json.dumps({**asdict(outcome), "good": outcome.good}) + "\n" for outcome in outcomes)


def remarks(outcomes: Iterable[Outcome]) -> str:
    """Tell what did not come right, and what else was counted."""
    lines = []
    for outcome in outcomes:
        notes = ", ".join(f"{name}: {count}" for name, count in outcome.notes)
        lines += [f"- {outcome.name}: {line}" for line in (*outcome.failures, *outcome.details)]
        lines.append(f"- {outcome.name} settled within {outcome.settling:.1f} s; {notes}")
    return "\n".join(lines) + "\n"


def _cells(outcome: Outcome) -> Sequence[str]:
    if outcome.skipped is not None:
        return (f"{outcome.says} (not run: {outcome.skipped})", *[""] * (len(_COLUMNS) - 2), str(outcome.seed))
    numbers = (outcome.rounds, outcome.requests, outcome.acknowledged, outcome.lost, outcome.doubled, outcome.wrong)
    cells = [f"{number:,}" for number in numbers]
    if outcome.measured and outcome.lost:
        cells[3] += " (measured)"
    return (
        outcome.says,
        *cells,
        f"{outcome.outage:.2f} s",
        f"{outcome.slowest:.2f} s",
        str(outcome.seed),
    )


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
