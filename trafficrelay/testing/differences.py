"""Showing what was queued beside what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Final

from .jobs import FIELDS, Expected, Jobs, Queued

_CONTEXT: Final = 2
_WHYS: Final = 3
_LEGEND: Final = "(- expected, + queued)"


def difference(expected: Sequence[Any], found: Sequence[Any]) -> list[str]:
    """Give the lines of a diff of two lists of jobs, compared one by one; nothing where they are the same.

    Of what is found only that is shown which is expected in some way: a queue that a test leaves out is no difference.
    """
    wanted: list[str] = []
    got: list[str] = []
    for number in range(max(len(expected), len(found))):
        one = expected[number] if number < len(expected) else None
        other = found[number] if number < len(found) else None
        if one is not None:
            wanted += lines_of(one)
        if other is not None:
            got += lines_of(other, like=one)
    if wanted == got:
        return []
    diff = list(difflib.unified_diff(wanted, got, n=_CONTEXT, lineterm=""))[2:]
    return [_LEGEND, *(line for line in diff if not line.startswith("@@"))]


def explained(left: object, right: object) -> list[str] | None:
    """Say why a comparison of jobs failed, in lines for pytest; `None` if it is none of jobs."""
    if isinstance(left, Queued) or isinstance(right, Queued):
        found, expected = (left, right) if isinstance(left, Queued) else (right, left)
        return ["job queued == job expected", *difference([expected], [found])]
    if not isinstance(left, Jobs) and not isinstance(right, Jobs):
        return None
    jobs, expected = (left, right) if isinstance(left, Jobs) else (right, left)
    if not isinstance(jobs, Jobs) or not isinstance(expected, list):
        return ["what was queued is a list: compare it with one of queued(…)"]
    same = len(jobs) == len(expected)
    head = "jobs queued == jobs expected" if same else f"{_count(jobs)} queued == {_count(expected)} expected"
    return [head, *jobs.why[-_WHYS:], *difference(expected, jobs)]


def nearest(expected: Expected, found: Sequence[Queued]) -> Queued | None:
    """Give the job that is most like what is expected."""
    text = "\n".join(lines_of(expected))

    def likeness(job: Queued) -> float:
        return difflib.SequenceMatcher(None, text, "\n".join(lines_of(job, like=expected))).ratio()

    return max(found, key=likeness, default=None)


def lines_of(item: Any, *, like: Any = None) -> list[str]:
    """Write a job over several lines, one for each value.

    Args:
        item: the job, or what is expected of one.
        like: what is expected in its place: only what that names is written, and as it writes it where it agrees.
    """
    if not isinstance(item, Queued | Expected):
        return _lines(item, "")
    said = _said(item)
    if isinstance(like, Expected | Queued):
        model = _said(like)
        if "job" in model and "deliver" in said:
            model = {**model, "deliver": None}
        if isinstance(item, Queued) and model.get("deliver") == item.to:
            said["deliver"] = item.to
        said = {name: aligned(value, model[name]) for name, value in said.items() if name in model}
    written = ["queued("]
    for name, value in said.items():
        label = "" if name == "job" or (name == "data" and "job" in said) else f"{name}="
        first, *rest = _lines(value, "    ")
        written += [f"    {label}{first.lstrip()}", *rest]
        written[-1] += ","
    return [*written, ")"]


def aligned(found: Any, expected: Any) -> Any:
    """Give what was found, written as it is expected wherever the two agree: `ANY` is no difference."""
    if found == expected:
        return expected
    if isinstance(found, dict) and isinstance(expected, dict):
        known = {key: aligned(found[key], value) for key, value in expected.items() if key in found}
        return known | {key: value for key, value in found.items() if key not in known}
    if isinstance(found, list) and isinstance(expected, list):
        pairs = [aligned(one, other) for one, other in zip(found, expected, strict=False)]
        return pairs + found[len(pairs) :]
    return found


def _count(jobs: Sequence[Any]) -> str:
    return "1 job" if len(jobs) == 1 else f"{len(jobs) or 'no'} jobs"


def _said(item: Queued | Expected) -> dict[str, Any]:
    if isinstance(item, Expected):
        return {name: item.said[name] for name in FIELDS if name in item.said}
    values = {name: getattr(item, name) for name in FIELDS}
    return {name: value for name, value in values.items() if value is not None or name == "data"}


def _lines(value: Any, indent: str) -> list[str]:
    """Write a value with a line for each of its items, so that a diff shows the one that differs."""
    inner = indent + "    "
    if isinstance(value, dict) and value:
        written = [f"{indent}{{"]
        for key, item in value.items():
            first, *rest = _lines(item, inner)
            written += [f"{inner}{key!r}: {first.lstrip()}", *rest]
            written[-1] += ","
        return [*written, f"{indent}}}"]
    if isinstance(value, list) and value:
        written = [f"{indent}["]
        for item in value:
            written += _lines(item, inner)
            written[-1] += ","
        return [*written, f"{indent}]"]
    return [f"{indent}{value!r}"]
