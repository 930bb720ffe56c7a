"""From an event to the data of its jobs: what a transform may return and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
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


MAX_DEPTH: Final = 100
"""How deep a job's argument may be nested. Python's pickle gives up at some 500, in the middle of the hand-over."""


MAX_INT_BITS: Final = 13_300
"""How large an integer may be. Python refuses to write or read more than 4,300 digits (sys.set_int_max_str_digits)."""


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
    base64, tuples and sets lists. So a worker needs no class of the web side to read them, and gets the same with
    every serializer.

    Raises:
        TransformError: the transform gave back `None`, something that JSON cannot say, or too much of it.
        Exception: whatever the transform itself raises.
    """
    result = transform(event)
    items: Iterable[Any] = result if isinstance(result, GeneratorType) else (result,)
    data: list[Any] = []
    for number, item in enumerate(items):
        if number == MAX_ITEMS:
            raise TransformError(f"The transform gave more than {MAX_ITEMS} items; let a job split the rest.")
        if item is None:
            raise TransformError("The transform gave back None. Return the job's argument, or DROP to drop the event.")
        if item is not DROP:
            data.append(plain(item, MAX_DEPTH))
    return data


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Give a value as what JSON can say. Most values are that already: they are looked at and kept.

    Raises:
        TransformError: it cannot be said in JSON, or is nested deeper than `depth` levels.
    """
    kind = type(value)
    if value is None or kind is str or kind is bool:
        return value
    if kind is int:
        if value.bit_length() > MAX_INT_BITS:
            raise TransformError("What the transform gave back holds an integer of more than 4,000 digits.")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise TransformError(f"What the transform gave back cannot be said in JSON: it holds the number {value}.")
        return value
    if not depth:
        raise TransformError(f"What the transform gave back is nested deeper than {MAX_DEPTH} levels.")
    if kind is dict:
        return {key if type(key) is str else _key(key): plain(item, depth - 1) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [plain(item, depth - 1) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        # msgspec takes what stands in the object itself, and does not put defaults there when it makes one.
        return {entry.name: plain(getattr(value, entry.name), depth - 1) for entry in fields(value)}
    return plain(_built_in(value), depth - 1)


def _key(key: Any) -> str:
    (text,) = _built_in({key: None})
    return str(text)


def _built_in(value: Any) -> Any:
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain_text)
    except (TypeError, ValueError, OverflowError) as error:
        raise TransformError(f"What the transform gave back cannot be said in JSON: {error}") from error
    except RecursionError as error:
        raise TransformError(f"What the transform gave back is nested deeper than {MAX_DEPTH} levels.") from error


def _plain_text(value: Any) -> str:
    # Templates' safe strings and the like: subclasses of str, which msgspec leaves to its caller.
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"objects of type {type(value).__name__} are not supported")
