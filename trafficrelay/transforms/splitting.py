"""The step split: one event becomes several jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..event import Event
from .matching import ABSENT, get, put
from .paths import Segment, plain_path
from .spending import MAX_REPEATED, weight
from .step import Step, flag, give_up, noted, outcome, step


@step("split")
def split(field: Any = None, *, rest: bool = False, missing: str = "error", invalid: str = "error") -> Step:
    """Make one job of each item of a list: `split("items")`; of the data itself: `split()`.

    Each item goes through the steps that follow, by itself. All become jobs, or none: one that is refused refuses the
    event. No more than 1,000 may be left in the end, of 10,000 that all splits of a route make; and what their items
    repeat of the data is 8 MB together at the most (`MAX_REPEATED`).

    Args:
        field: the path of the list, without wildcards; the data itself where left out, or where it is `True` as
            relay.toml says it.
        rest: whether each item comes with the rest of the data: as the data, the item in the place of the list.
        missing: what happens where the path leads to nothing: `"error"`, `"skip"` (the data stays one), `"drop"` or
            `"reject"` (422).
        invalid: what happens where it leads to something that is no list: the same.

    Raises:
        DeclarationError: the path or an option is wrong.
    """
    segments: tuple[Segment, ...] = ()
    where = "The data"
    if field is not None and field is not True:
        path = plain_path(field, "split", "several lists are split by several steps")
        segments, where = path.segments, path.text
    flag(rest, "rest")
    outcome(missing, "missing")
    outcome(invalid, "invalid")
    text = noted(f"split {where if segments else 'the data'}", missing=(missing, "error"), invalid=(invalid, "error"))

    def run(data: Any, _event: Event) -> Any:
        items = get(data, segments)
        if items is ABSENT:
            return give_up(missing, data, f"{where} is missing.")
        if not isinstance(items, list | tuple):
            return give_up(invalid, data, f"{where} is no list.")
        return _with_rest(data, segments, items) if rest and segments else _items(items)

    def repeats(data: Any) -> int:
        items = get(data, segments)
        copies = len(items) - 1 if isinstance(items, list | tuple) else 0
        return copies * weight(data, MAX_REPEATED // copies, without=items) if copies > 0 else 0

    if rest and segments:
        return Step("split", f"{text}, each with the rest", run, repeats=repeats)
    return Step("split", f"{text}, each with the rest" if rest else text, run)


def _items(items: Sequence[Any]) -> Iterator[Any]:
    yield from items


def _with_rest(data: Any, segments: tuple[Segment, ...], items: Sequence[Any]) -> Iterator[Any]:
    for item in items:
        yield put(data, segments, item, lambda _old: True)
