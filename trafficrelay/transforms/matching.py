"""Paths against data: rewriting what they lead to, keeping nothing else, finding what is not there.

All paths of a step become one automaton when it is declared, so that data is gone through once, however many they are,
and only where a path leads. Data is never changed: what differs is copied, along the path alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ..errors import DeclarationError
from .paths import Path, Segment, Wild, index

MAX_STATES: Final = 1_000
"""How large an automaton may get. Paths with several `**` each could make it double with every key."""


class _Mark:
    """The type of `ABSENT`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<absent>"


class _Hole:
    """The type of `HOLE`."""

    __slots__ = ()


ABSENT: Final = _Mark()
"""In place of a value: there is none. Given back by a change, it takes the place out."""


HOLE: Final = _Hole()
"""In place of a value that was taken out, so that the items of a list behind it keep their places meanwhile."""


class Fault(Exception):
    """Raised where a step cannot do its work in one place of the data; never leaves this package.

    Attributes:
        segments: where, innermost first.
        reason: what is wrong there, without the value: `"is no int"`.
    """

    def __init__(self, reason: str, *segments: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.segments: list[Any] = list(reversed(segments))

    def under(self, key: Any) -> Fault:
        """Say under which key it lies."""
        self.segments.append(key)
        return self


@dataclass(slots=True, eq=False)
class State:
    """Where one is in the paths after some keys.

    Attributes:
        accept: the number of the path that ends here, `None` if none does.
        keys: where the keys lead that paths name.
        items: the same for those that are indices.
        other: where all others lead, `None` if nowhere.
        firm: whether it was reached without `**`, so that a path names it.
    """

    accept: int | None
    firm: bool
    keys: dict[str, State] = field(default_factory=dict)
    items: dict[int, State] = field(default_factory=dict)
    other: State | None = None


_Places: TypeAlias = frozenset[tuple[int, int]]


def automaton(paths: Sequence[Path], name: str) -> State:
    """Compile paths. Where two of them end in the same place, the first counts.

    Args:
        paths: the paths.
        name: the step, for the error.

    Raises:
        DeclarationError: they have too many `**` for one step.
    """
    segments = [path.segments for path in paths]
    states: dict[_Places, State] = {}
    waiting: list[_Places] = []

    def reach(places: Iterable[tuple[int, int]]) -> State | None:
        closed = _closed(places, segments)
        if not closed:
            return None
        if closed not in states:
            if len(states) == MAX_STATES:
                raise DeclarationError(f"{name} has too many paths with **. Make several steps of it.", option=name)
            ends = [number for number, at in closed if at == len(segments[number])]
            firm = any(Wild.DEEP not in segments[number][: at + 1] for number, at in closed)
            states[closed] = State(min(ends, default=None), firm)
            waiting.append(closed)
        return states[closed]

    root = reach((number, 0) for number in range(len(segments)))
    assert root is not None  # noqa: S101 - there is a path, for mypy
    while waiting:
        places = waiting.pop()
        state = states[places]
        going = [(number, at, segments[number][at]) for number, at in places if at < len(segments[number])]
        wild = [(number, at if key is Wild.DEEP else at + 1) for number, at, key in going if isinstance(key, Wild)]
        state.other = reach(wild)
        for name_ in sorted({key for _, _, key in going if isinstance(key, str)}):
            after = reach([*wild, *((number, at + 1) for number, at, key in going if key == name_)])
            if after is not None:
                state.keys[name_] = after
                if (number_ := index(name_)) is not None:
                    state.items[number_] = after
    return root


def _closed(places: Iterable[tuple[int, int]], segments: list[tuple[Segment, ...]]) -> _Places:
    # `**` stands for no key too, so whoever is before one is behind it as well.
    closed = set()
    for number, start in places:
        at = start
        closed.add((number, at))
        while at < len(segments[number]) and segments[number][at] is Wild.DEEP:
            at += 1
            closed.add((number, at))
    return frozenset(closed)


Change: TypeAlias = Callable[[Any, int], Any]
"""Gives what a value becomes, of the value and the number of the path that led to it; `ABSENT` takes it out."""


def rewrite(value: Any, state: State, change: Change) -> Any:
    """Give data with what the paths lead to changed; the very same object where nothing was.

    Raises:
        Fault: `change` did; with the place.
    """
    if isinstance(value, dict):
        return _rewrite_dict(value, state, change)
    if isinstance(value, list | tuple):
        return _rewrite_list(value, state, change)
    return value


def _rewrite_dict(value: dict[Any, Any], state: State, change: Change) -> Any:
    copy: dict[Any, Any] | None = None
    keys, other = state.keys, state.other
    key: Any = None
    try:
        # The keys of whichever is smaller: of the paths, or with a wildcard all of the data's.
        for key in keys if other is None else value:
            if other is None:
                if key not in value:
                    continue
                child = keys[key]
            else:
                child = keys.get(key, other)
            old = value[key]
            new = rewrite(old, child, change) if child.accept is None else change(old, child.accept)
            if new is not old:
                if copy is None:
                    copy = dict(value)
                if new is ABSENT:
                    del copy[key]
                else:
                    copy[key] = new
    except Fault as fault:
        raise fault.under(key) from None
    return value if copy is None else copy


def _rewrite_list(value: Sequence[Any], state: State, change: Change) -> Any:
    copy: list[Any] | None = None
    items, other = state.items, state.other
    length, gone, at = len(value), False, 0
    try:
        for at in items if other is None else range(length):
            child = items.get(at, other)
            if child is None or at >= length:
                continue
            old = value[at]
            new = rewrite(old, child, change) if child.accept is None else change(old, child.accept)
            if new is not old:
                if copy is None:
                    copy = list(value)
                copy[at] = new
                gone = gone or new is ABSENT
    except Fault as fault:
        raise fault.under(at) from None
    if copy is None:
        return value
    return [item for item in copy if item is not ABSENT] if gone else copy


def only(value: Any, state: State) -> Any:
    """Give what the paths lead to, in the objects and lists that it lies in, and nothing else; or `ABSENT`.

    An object or list that a path goes through stays, even where nothing is left in it, so that the items of a list stay
    as many as they were. Those that `**` alone goes through stay only around what is kept.
    """
    if isinstance(value, dict):
        kept: dict[Any, Any] = {}
        keys, other = state.keys, state.other
        for key in keys if other is None else value:
            if other is None:
                if key not in value:
                    continue
                child = keys[key]
            else:
                child = keys.get(key, other)
            item = value[key] if child.accept is not None else only(value[key], child)
            if item is not ABSENT:
                kept[key] = item
        return kept if kept or state.firm else ABSENT
    if isinstance(value, list | tuple):
        items, others, length = state.items, state.other, len(value)
        found = []
        for at in sorted(items) if others is None else range(length):
            then = items.get(at, others)
            if then is not None and at < length:
                item = value[at] if then.accept is not None else only(value[at], then)
                if item is not ABSENT:
                    found.append(item)
        return found if found or state.firm else ABSENT
    return ABSENT


def leads_somewhere(value: Any, state: State) -> bool:
    """Say whether a path leads to anything in data."""
    if state.accept is not None:
        return True
    if isinstance(value, dict):
        keys, other = state.keys, state.other
        if other is None:
            return any(key in value and leads_somewhere(value[key], child) for key, child in keys.items())
        return any(leads_somewhere(item, keys.get(key, other)) for key, item in value.items())
    if isinstance(value, list | tuple):
        children = ((item, state.items.get(at, state.other)) for at, item in enumerate(value))
        return any(child is not None and leads_somewhere(item, child) for item, child in children)
    return False


def lacking(value: Any, segments: Sequence[Segment], at: int = 0) -> list[Any] | None:
    """Give where a path without `**` leads to nothing, `None` where it always leads to something.

    A `*` stands for all that there is: each of them must have what follows. Where there are none, nothing is missing.
    """
    for position in range(at, len(segments)):
        segment = segments[position]
        if segment is Wild.ANY:
            pairs: Iterable[tuple[Any, Any]]
            if isinstance(value, dict):
                pairs = value.items()
            elif isinstance(value, list | tuple):
                pairs = enumerate(value)
            else:
                return list(segments[at : position + 1])
            for key, item in pairs:
                if (rest := lacking(item, segments, position + 1)) is not None:
                    return [*segments[at:position], key, *rest]
            return None
        value = find(value, segment)
        if value is ABSENT:
            return list(segments[at : position + 1])
    return None


def find(value: Any, segment: Segment) -> Any:
    """Give what lies under one key, `ABSENT` where there is nothing."""
    if isinstance(value, dict):
        return value.get(segment, ABSENT)
    if isinstance(value, list | tuple) and (at := index(segment)) is not None and at < len(value):
        return value[at]
    return ABSENT


def get(value: Any, segments: Sequence[Segment]) -> Any:
    """Give what a path without wildcards leads to, `ABSENT` where that is nothing."""
    for segment in segments:
        value = find(value, segment)
        if value is ABSENT:
            return ABSENT
    return value


def put(value: Any, segments: Sequence[Segment], new: Any, wanted: Callable[[Any], bool], at: int = 0) -> Any:
    """Give data with a value in the place that a path without wildcards leads to; missing parents become objects.

    Args:
        value: the data.
        segments: the path.
        new: the value.
        wanted: says of what is in the place (`ABSENT` if nothing is, or `HOLE`) whether it is replaced.
        at: how much of the path was gone.

    Returns:
        The data, the very same object where the value was not wanted.

    Raises:
        Fault: the path leads through what is no object, or to no item of a list.
    """
    if at == len(segments):
        return new if wanted(value) else value
    segment = segments[at]
    if value is ABSENT or value is HOLE or value is None:
        inner = put(ABSENT, segments, new, wanted, at + 1)
        return value if inner is ABSENT else {segment: inner}
    old = find(value, segment)
    if isinstance(value, dict):
        inner = put(old, segments, new, wanted, at + 1)
        return value if inner is old else {**value, segment: inner}
    if old is ABSENT:
        reason = f"is a list without {segment}" if isinstance(value, list | tuple) else "is no object"
        raise Fault(reason, *segments[:at])
    number = index(segment)
    inner = put(old, segments, new, wanted, at + 1)
    return value if inner is old else [inner if at_ == number else item for at_, item in enumerate(value)]
