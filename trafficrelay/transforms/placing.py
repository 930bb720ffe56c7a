"""Steps that put values in places: set, default, rename."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ..errors import DeclarationError, TransformError
from ..transform import plain
from .fields import absentee
from .matching import ABSENT, HOLE, Fault, State, automaton, get, put, rewrite
from .paths import Path, Segment, Wild, keyed, path, show
from .step import Step, flag, give_up, noted, outcome, step, table

_Work: TypeAlias = Callable[[Any], Any]


@step("set")
def set_(values: Mapping[str, Any], *, invalid: str = "error") -> Step:
    """Put values in fields, whatever is there: `set({"source": "shop", "items.*.currency": "EUR"})`.

    Parents that are missing or null become objects. A `*` stands for what there is: it makes nothing.

    Args:
        values: paths and what they shall hold.
        invalid: what happens where a parent is no object, or a list without such an item: `"error"`, `"skip"`,
            `"drop"` or `"reject"` (422).

    Raises:
        DeclarationError: a path, a value or an option is wrong.
    """
    return _setting("set", values, invalid, lambda _old: True)


@step("default")
def default(values: Mapping[str, Any], *, null: bool = False, invalid: str = "error") -> Step:
    """Put values in fields that are not there: `default({"currency": "EUR"})`.

    Args:
        values: paths and what they shall hold.
        null: whether a field that is null gets its value too.
        invalid: what happens where a parent is no object, or a list without such an item: `"error"`, `"skip"`,
            `"drop"` or `"reject"` (422).

    Raises:
        DeclarationError: a path, a value or an option is wrong.
    """
    if flag(null, "null"):
        return _setting("default", values, invalid, lambda old: old is ABSENT or old is None)
    return _setting("default", values, invalid, lambda old: old is ABSENT)


@step("rename")
def rename(names: Mapping[str, str], *, overwrite: bool = False, missing: str = "skip", invalid: str = "error") -> Step:
    """Move fields to other places: `rename({"id": "order.id", "items.*.cost": "items.*.price"})`.

    All move at once, so that two can change places. Wildcards stand for the same key on both sides.

    Args:
        names: paths, and the paths that they become.
        overwrite: whether what is in the new place already goes.
        missing: what happens where a path leads to nothing: `"skip"`, `"drop"`, `"reject"` (422) or `"error"`.
        invalid: what happens where something is in the new place, or a parent of it is no object: `"error"`, `"skip"`,
            `"drop"` or `"reject"` (422).

    Raises:
        DeclarationError: a path or an option is wrong, or two paths are in each other's way.
    """
    moves = [
        (old, path(new, "rename")) for old, new in keyed(table(names, "rename", '{"old": "new"}'), "rename").items()
    ]
    _check_moves(moves)
    if not flag(overwrite, "overwrite"):
        _check_parents(moves)
    outcome(missing, "missing")
    groups: dict[tuple[Segment, ...], list[tuple[Path, Path]]] = {}
    for old, new in moves:
        groups.setdefault(_prefix(old), []).append((old, new))
    # From the inside out: what moves within the items of a list moves before the list itself does.
    works = [
        _within(
            prefix,
            _moving([(old.segments[len(prefix) :], new.segments[len(prefix) :]) for old, new in group], overwrite),
        )
        for prefix, group in sorted(groups.items(), key=lambda item: -len(item[0]))
    ]
    text = noted(
        "rename " + ", ".join(f"{old.text} to {new.text}" for old, new in moves),
        missing=(missing, "skip"),
        invalid=(invalid, "error"),
    )
    absent = None if missing == "skip" else absentee(tuple(old for old, _ in moves))
    run = _all_or_none(works, outcome(invalid, "invalid"))

    def checked(data: Any) -> Any:
        if absent is not None and (where := absent(data)):
            return give_up(missing, data, f"{where} is missing.")
        return run(data)

    return Step("rename", text, lambda data, _event: checked(data))


def _setting(name: str, values: Any, invalid: str, wanted: Callable[[Any], bool]) -> Step:
    places = keyed(table(values, name, '{"source": "shop"}'), name)
    works = []
    for place, value in places.items():
        if place.deep:
            raise DeclarationError(
                f'{name} cannot make the place "{place.text}" with its **. A * stands for what there is.', option=name
            )
        prefix = _prefix(place)
        works.append(_within(prefix, _putting(place.segments[len(prefix) :], _source(value, place, name), wanted)))
    text = noted(f"{name} {', '.join(place.text for place in places)}", invalid=(invalid, "error"))
    run = _all_or_none(works, outcome(invalid, "invalid"))
    return Step(name, text, lambda data, _event: run(data))


def _putting(segments: tuple[Segment, ...], make: Callable[[], Any], wanted: Callable[[Any], bool]) -> _Work:
    if not segments:
        return lambda value: make() if wanted(value) else value
    return lambda value: put(value, segments, make(), wanted)


def _source(value: Any, place: Path, name: str) -> Callable[[], Any]:
    """Give a function that gives a value, a fresh one for each event where it could be changed."""
    try:
        fixed = plain(value)
    except TransformError as error:
        raise DeclarationError(
            f'{name} cannot put this in "{place.text}": it cannot be said in JSON.', option=name
        ) from error
    if isinstance(fixed, dict | list):
        return lambda: plain(fixed)
    return lambda: fixed


def _moving(pairs: list[tuple[tuple[Segment, ...], tuple[Segment, ...]]], overwrite: bool) -> _Work:
    """Give what moves fields within one object, by paths without wildcards."""
    taken = automaton([Path("", old) for old, _ in pairs], "rename")

    def wanted(old: Any) -> bool:
        if old is not ABSENT and old is not HOLE and not overwrite:
            raise Fault("is there already")
        return True

    def move(value: Any) -> Any:
        found = [(new, item) for old, new in pairs if (item := get(value, old)) is not ABSENT]
        if not found:
            return value
        # First all of it is put in its places, as paths mean them, and only then do lists close up.
        value = rewrite(value, taken, lambda _value, _path: HOLE)
        for new, item in found:
            try:
                value = put(value, new, item, wanted)
            except Fault as fault:
                raise fault if fault.segments else Fault(fault.reason, *new) from None
        return rewrite(value, taken, lambda value, _path: ABSENT if value is HOLE else value)

    return move


def _check_moves(moves: list[tuple[Path, Path]]) -> None:
    for old, new in moves:
        prefix = _prefix(old)
        if old.deep or new.deep:
            raise DeclarationError(f'rename takes no **, as in "{(old if old.deep else new).text}".', option="rename")
        if _prefix(new) != prefix:
            raise DeclarationError(
                f'rename cannot move "{old.text}" to "{new.text}": up to the last wildcard both must be the same, '
                'as in "items.*.cost" to "items.*.price".',
                option="rename",
            )
        if len(old.segments) == len(prefix) or len(new.segments) == len(prefix):
            raise DeclarationError(
                f'rename cannot move "{old.text}" to "{new.text}": a name must come after the last wildcard.',
                option="rename",
            )
    for side in ([old for old, _ in moves], [new for _, new in moves]):
        for one in side:
            for other in side:
                length = len(one.segments)
                if one is not other and other.segments[:length] == one.segments and _prefix(one) == _prefix(other):
                    raise DeclarationError(
                        f'rename cannot move both "{one.text}" and "{other.text}" at once. Make two steps of it.'
                        if side[0] is moves[0][0]
                        else f'rename cannot move two fields to "{one.text}" and "{other.text}".',
                        option="rename",
                    )


def _check_parents(moves: list[tuple[Path, Path]]) -> None:
    """Refuse to move a field to where the object stands that it is in, which would always be there already."""
    for old, new in moves:
        if len(new.segments) < len(old.segments) and old.segments[: len(new.segments)] == new.segments:
            raise DeclarationError(
                f'rename cannot move "{old.text}" to "{new.text}", which it is in, unless you say overwrite=True.',
                option="rename",
            )


def _prefix(one: Path) -> tuple[Segment, ...]:
    """Give a path up to its last wildcard."""
    last = max((at for at, segment in enumerate(one.segments) if isinstance(segment, Wild)), default=-1)
    return one.segments[: last + 1]


def _within(prefix: tuple[Segment, ...], work: _Work) -> _Work:
    if not prefix:
        return work
    state: State = automaton([Path("", prefix)], "")
    return lambda data: rewrite(data, state, lambda value, _path: work(value))


def _all_or_none(works: list[_Work], invalid: str) -> _Work:
    """Give what does several things to data one after the other, or none of them if one cannot be done."""

    def run(data: Any) -> Any:
        changed = data
        try:
            for work in works:
                changed = work(changed)
        except Fault as fault:
            where = show(reversed(fault.segments)) or "The data"
            return give_up(invalid, data, f"{where} {fault.reason}.")
        return changed

    return run
