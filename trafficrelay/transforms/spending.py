"""What one event may cost on its way through steps: each item that a split makes takes time, and what it repeats too.

The bounds are for the whole of a chain. A body of some kilobytes can hold two lists of a thousand, which two splits
would make a million items of, and a megabyte beside a list of a thousand would become a gigabyte.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import TransformError
from ..transform import MAX_ITEMS

MAX_LOOKED_AT: Final = 10 * MAX_ITEMS
"""How many items all splits and generators of an event may make, those that are dropped later there included. Each
costs some microseconds of the request's time."""

MAX_REPEATED: Final = 8 * 1024 * 1024
"""How much of the data the items of all splits may repeat, as `weight` counts it: half a million values (0.1 s, with
making jobs of them), or 8 MB of text."""

_VALUE: Final = 16
"""What a value weighs beside its text, in bytes: a megabyte of zeros takes as long as many megabytes of text."""


class Spending:
    """What one event has cost so far."""

    __slots__ = ("_items", "_repeated")

    def __init__(self) -> None:
        self._items = self._repeated = 0

    def add_item(self, step: object) -> None:
        """Count an item that a step made.

        Raises:
            TransformError: it is one too many.
        """
        self._items += 1
        if self._items > MAX_LOOKED_AT:
            raise TransformError(f"{step} gave more than {MAX_LOOKED_AT} items; let a job split the rest.")

    def add_repeated(self, step: object, amount: int) -> None:
        """Count what the items that a step makes repeat of the data.

        Raises:
            TransformError: it is too much.
        """
        self._repeated += amount
        if self._repeated > MAX_REPEATED:
            raise TransformError(
                f"{step} would repeat more than {MAX_REPEATED >> 20} MB of the data; let a job split it, or keep less "
                "before."
            )


def weight(value: Any, limit: int, *, without: Any = None) -> int:
    """Give about how many bytes data takes; counting ends once that is more than a limit.

    Args:
        value: the data, as JSON has it.
        limit: the limit.
        without: an object within it that is not counted.
    """
    total = _VALUE
    waiting = [value]
    while waiting and total <= limit:
        current = waiting.pop()
        kind = type(current)
        if current is without:
            continue
        if kind is str or kind is bytes:
            total += len(current)
        elif kind is int:
            total += current.bit_length() >> 3
        elif kind is dict:
            total += 2 * _VALUE * len(current) + sum(len(key) for key in current if type(key) is str)
            waiting.extend(current.values())
        elif kind is list or kind is tuple:
            total += _VALUE * len(current)
            waiting.extend(current)
    return total
