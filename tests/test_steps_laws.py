"""Laws that hold for every data and every path."""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import make_event
from trafficrelay import DROP, RelayError
from trafficrelay import transforms as t
from trafficrelay.transform import apply
from trafficrelay.transforms import Chain, Step
from trafficrelay.transforms.matching import automaton, rewrite
from trafficrelay.transforms.paths import path

EXAMPLES = int(os.environ.get("LAW_EXAMPLES", "100"))

NAMES = st.sampled_from(["a", "b", "c", "d"])
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
DATA = st.dictionaries(
    NAMES,
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)),
    max_size=4,
)
KEYED = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
WILD = st.lists(NAMES | st.sampled_from(["*", "**", "0", "1"]), max_size=3).flatmap(
    lambda head: (NAMES | st.just("*")).map(lambda last: ".".join([*head, last]))
)
PATHS = st.lists(WILD, min_size=1, max_size=3)
# Without indices: what an index leads to in what was kept is another item.
NAMED = st.lists(
    st.lists(NAMES | st.sampled_from(["*", "**"]), max_size=3).flatmap(
        lambda head: (NAMES | st.just("*")).map(lambda last: ".".join([*head, last]))
    ),
    min_size=1,
    max_size=3,
)
KEY, OTHER_KEY = b"one key of enough bytes", b"other key of enough bytes"

STEPS: st.SearchStrategy[Step] = st.one_of(
    PATHS.map(t.keep),
    PATHS.map(t.omit),
    PATHS.map(t.redact),
    PATHS.map(lambda paths: t.hash(paths, key=KEY)),
    KEYED.map(lambda path: t.set({path: [1]}, invalid="skip")),
    KEYED.map(lambda path: t.default({path: 1}, invalid="reject")),
    WILD.map(lambda path: t.cast({path: "str"})),
    st.tuples(NAMES, NAMES).map(lambda pair: t.rename({pair[0]: pair[1]}, invalid="error")),
    NAMES.map(lambda name: t.only_if(f"{name} != `null`")),
    NAMES.map(lambda name: t.split(name, invalid="skip", missing="skip")),
    st.just(t.select("@")),
)


def law(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Try a law on data that these strategies make."""
    return lambda test: settings(deadline=None, max_examples=EXAMPLES, database=None)(given(*strategies)(test))


def run(step: Step, data: Any) -> Any:
    return step(make_event(data=data))


def matches(value: Any, segments: tuple[str, ...]) -> list[Any]:
    """Give what a path leads to: the plainest way there is to say what a path means."""
    if not segments:
        return [value]
    head, rest = segments[0], segments[1:]
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if head == "**":
        deeper = [found for _, child in children for found in matches(child, segments)]
        return matches(value, rest) + deeper
    return [found for key, child in children if head in ("*", str(key)) for found in matches(child, rest)]


@law(DATA, PATHS)
def test_redact_leaves_no_trace_under_its_paths(data: Any, paths: list[str]) -> None:
    redacted = run(t.redact(paths, with_="\0"), data)

    for one in paths:
        assert all(found == "\0" for found in matches(redacted, tuple(one.split("."))))


@law(DATA, PATHS)
def test_redact_twice_is_redact_once(data: Any, paths: list[str]) -> None:
    step = t.redact(paths)

    assert run(step, run(step, data)) == run(step, data)


@law(DATA, PATHS)
def test_redact_leaves_all_else_as_it_was(data: Any, paths: list[str]) -> None:
    assert run(t.omit(paths), run(t.redact(paths), data)) == run(t.omit(paths), data)


@law(DATA, WILD)
def test_what_is_rewritten_is_what_the_path_leads_to(data: Any, one: str) -> None:
    seen: list[Any] = []
    rewrite(data, automaton([path(one, "test")], "test"), lambda value, _: (seen.append(value), value)[1])
    expected = matches(data, tuple(one.split(".")))

    # What lies within what a path leads to is part of it already.
    assert all(any(value is found for found in expected) for value in seen)
    assert bool(seen) == bool(expected)


@law(DATA, NAMED)
def test_omit_after_keep_leaves_nothing_of_the_fields(data: Any, paths: list[str]) -> None:
    left = run(t.omit(paths), run(t.keep(paths), data))

    assert all(not matches(left, tuple(one.split("."))) for one in paths)
    assert scalars(left) == []


@law(DATA, NAMED)
def test_keep_twice_is_keep_once(data: Any, paths: list[str]) -> None:
    step = t.keep(paths)

    assert run(step, run(step, data)) == run(step, data)


@law(DATA, PATHS)
def test_keep_and_omit_share_the_scalars_out(data: Any, paths: list[str]) -> None:
    kept, left = run(t.keep(paths), data), run(t.omit(paths), data)

    assert sorted(map(repr, scalars(kept) + scalars(left))) == sorted(map(repr, scalars(data)))


@law(DATA, KEYED, KEYED)
def test_rename_there_and_back_gives_what_was(data: Any, one: str, other: str) -> None:
    names = {one: "x"} if one.startswith(other) or other.startswith(one) else {one: "x", other: "y"}

    there = run(t.rename(names), data)

    assert run(t.rename({new: old for old, new in names.items()}), there) == data
    assert all(bool(matches(data, tuple(old.split(".")))) == (new in there) for old, new in names.items())


@law(DATA)
def test_two_fields_that_change_places_twice_are_where_they_were(data: Any) -> None:
    swap = t.rename({"a": "b", "b": "a"})

    assert run(swap, run(swap, data)) == data


@law(DATA, PATHS)
def test_hash_gives_the_same_with_one_key_and_another_with_another(data: Any, paths: list[str]) -> None:
    one, again, other = (run(t.hash(paths, key=key), copy.deepcopy(data)) for key in (KEY, KEY, OTHER_KEY))
    hashed = any(found is not None for path in paths for found in matches(data, tuple(path.split("."))))

    assert one == again
    assert (one != other) == hashed
    for path_ in paths:
        found = matches(one, tuple(path_.split(".")))
        assert all(value is None or (isinstance(value, str) and len(value) == 64) for value in found)


@law(DATA, KEYED, st.integers(), st.booleans())
def test_default_twice_is_default_once(data: Any, path: str, value: int, null: bool) -> None:
    step = t.default({path: value}, null=null, invalid="skip")

    assert run(step, run(step, data)) == run(step, data)


@law(DATA, KEYED, st.integers())
def test_after_set_the_value_is_there(data: Any, path: str, value: int) -> None:
    put = run(t.set({path: value}, invalid="drop"), data)

    assert put is DROP or matches(put, tuple(path.split("."))) == [value]


@law(DATA, WILD, st.sampled_from(["int", "float", "str", "bool", "decimal", "datetime"]))
def test_cast_twice_is_cast_once(data: Any, path: str, kind: str) -> None:
    step = t.cast({path: kind}, invalid="skip")

    assert run(step, run(step, data)) == run(step, data)


@law(DATA, STEPS)
def test_a_step_leaves_its_input_as_it_was(data: Any, step: Step) -> None:
    before = json.dumps(data)
    with contextlib.suppress(RelayError):
        apply(step, make_event(data=data))

    assert json.dumps(data) == before


@law(DATA, st.lists(STEPS, max_size=4))
def test_a_chain_does_what_its_steps_do_one_after_the_other(data: Any, steps: list[Step]) -> None:
    assert outcome(lambda: apply(Chain(steps), make_event(data=data))) == outcome(lambda: one_by_one(steps, data))


@law(DATA, st.lists(STEPS, max_size=4))
def test_a_trace_ends_with_what_the_chain_gives(data: Any, steps: list[Step]) -> None:
    event = make_event(data=data)

    def traced() -> list[Any]:
        return [[data], *(items for _, items in Chain(steps).trace(event))][-1]

    assert outcome(traced) == outcome(lambda: apply(Chain(steps), event))


def one_by_one(steps: list[Step], data: Any) -> list[Any]:
    items = [data]
    for step in steps:
        items = [result for item in items for result in apply(step, make_event(data=item))]
    return items


def outcome(work: Any) -> Any:
    try:
        return work()
    except RelayError as error:
        return type(error)


def scalars(data: Any) -> list[Any]:
    if isinstance(data, dict):
        return [one for item in data.values() for one in scalars(item)]
    if isinstance(data, list):
        return [one for item in data for one in scalars(item)]
    return [data]


def test_the_laws_are_tried_on_data_that_they_speak_of() -> None:
    # So that a strategy which generates nothing of interest does not pass for a law that holds.
    assert matches({"a": [{"b": 1}]}, ("**", "b")) == [1]
    with pytest.raises(RelayError):
        run(t.rename({"a": "b"}), {"a": 1, "b": 2})
