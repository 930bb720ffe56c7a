"""From an event to the data of its jobs: what a transform may return and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import GeneratorType
from typing import Any, Final, TypeAlias

import msgspec

from .errors import TransformError
from .event import Event

Transform: TypeAlias = Callable[[Event], Any]
"""A function of an event. What it returns is the job's argument: anything that JSON can say. `DROP` drops the event,
a generator makes one job of each item, `Rejected` (raised) refuses."""

MAX_ITEMS: Final = 1_000
"""How many jobs one event may become: they are written in one atomic step, which holds up Redis for everybody."""


class _Drop:
    """The type of `DROP`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DROP"

    def __reduce__(self) -> str:
        return "DROP"


DROP: Final = _Drop()
"""Returned by a transform that drops an event on purpose. (`None` is an error: a forgotten `return` loses nothing.)"""


def keep_data(event: Event) -> Any:
    """The transform of a route that declares none: the event's data as it is."""
    return event.data


def apply(transform: Transform, event: Event) -> list[Any]:
    """Give the arguments of the event's jobs, one a job; none where the event is dropped.

    They consist of what JSON can say: dataclasses and msgspec structs become dicts, dates and UUIDs strings, bytes
    base64, sets lists. So a worker needs no class of the web side to read them.

    Raises:
        TransformError: the transform gave back `None`, something that JSON cannot say, or too many items.
        Exception: whatever the transform itself raises.
    """
    result = transform(event)
    items: Iterable[Any] = result if isinstance(result, GeneratorType) else (result,)
    data: list[Any] = []
    for item in items:
        if item is DROP:
            continue
        if len(data) == MAX_ITEMS:
            raise TransformError(f"The transform gave more than {MAX_ITEMS} items; let a job split the rest.")
        data.append(_plain(item))
    return data


def _plain(item: Any) -> Any:
    if item is None:
        raise TransformError("The transform gave back None. Return the job's argument, or DROP to drop the event.")
    try:
        return msgspec.to_builtins(item, str_keys=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise TransformError(f"What the transform gave back cannot be said in JSON: {error}") from error
    except RecursionError as error:
        raise TransformError("What the transform gave back is nested too deep.") from error
