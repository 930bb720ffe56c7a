"""From an event to the arguments of its jobs."""

from __future__ import annotations

import copy
import dataclasses
import enum
import itertools
import json
import pickle
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.support import accept, make_event, make_route, raising
from trafficrelay import DROP, Event, Rejected, TransformError, Unverified
from trafficrelay.errors import Failed
from trafficrelay.transform import MAX_ITEMS, Transform, apply, keep_data


@dataclasses.dataclass
class Order:
    number: int


class Line(msgspec.Struct):
    text: str


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


def giving(result: Any) -> Transform:
    return lambda event: result


def nested(depth: int) -> Any:
    data: Any = 1
    for _ in range(depth):
        data = [data]
    return data


def cyclic() -> Any:
    data: list[Any] = []
    data.append(data)
    return data


@pytest.mark.parametrize(
    ("result", "data"),
    [
        ({"a": [1, 2.5, True, None, "é"]}, {"a": [1, 2.5, True, None, "é"]}),
        (0, 0),
        (False, False),
        ("", ""),
        ([], []),
        ({}, {}),
        ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}),
        (Order(7), {"number": 7}),
        (Line("x"), {"text": "x"}),
        (Colour.RED, "red"),
        (b"\x00", "AA=="),
        ({7}, [7]),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01T00:00:00Z"),
        (date(2026, 3, 1), "2026-03-01"),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (2**70, 2**70),
        ([DROP.__class__.__name__], ["_Drop"]),
    ],
)
def test_what_a_transform_returns_becomes_plain_data(result: Any, data: Any) -> None:
    """What a transform returns becomes plain data."""
    (item,) = apply(giving(result), make_event())

    assert item == data
    assert type(item) is type(data)
    assert json.loads(json.dumps(item)) == item


def test_route_without_a_transform_keeps_the_events_data() -> None:
    """A route without a transform keeps the event's data."""
    assert apply(keep_data, make_event(data={"a": 1})) == [{"a": 1}]
    assert make_route().transform is keep_data


def test_drop_drops_the_event() -> None:
    """DROP drops the event."""
    assert apply(giving(DROP), make_event()) == []


def test_drop_stays_the_same_object_through_copies_and_pickles() -> None:
    """DROP stays the same object through copies and pickles."""
    assert copy.deepcopy(DROP) is pickle.loads(pickle.dumps(DROP)) is DROP
    assert repr(DROP) == "DROP"


def test_none_is_an_error_that_names_drop() -> None:
    """None from a transform is an error that names DROP."""
    with pytest.raises(TransformError, match=r"None.*DROP"):
        apply(giving(None), make_event())


def test_generator_makes_one_item_of_each_that_is_not_dropped() -> None:
    """A generator makes one job of each item that is not DROP."""

    def split(event: Event) -> Iterator[Any]:
        yield {"line": 1}
        yield DROP
        yield Order(2)

    assert apply(split, make_event()) == [{"line": 1}, {"number": 2}]


def test_generator_without_items_drops_the_event() -> None:
    """A generator without items drops the event."""
    assert apply(lambda event: (item for item in ()), make_event()) == []


def test_list_is_one_item() -> None:
    """A list is one item."""
    assert apply(giving([1, 2]), make_event()) == [[1, 2]]


def test_generator_that_yields_none_is_an_error() -> None:
    """A generator that yields None is an error."""
    with pytest.raises(TransformError, match="None"):
        apply(lambda event: (item for item in (1, None)), make_event())


def test_as_many_items_as_the_limit_are_taken() -> None:
    """As many items as the limit are taken."""
    assert apply(lambda event: (n for n in range(MAX_ITEMS)), make_event()) == list(range(MAX_ITEMS))


def test_endless_generator_is_stopped_at_the_limit() -> None:
    """An endless generator is stopped at the limit."""
    asked = []

    def endless(event: Event) -> Iterator[int]:
        for number in itertools.count():
            asked.append(number)
            yield number

    with pytest.raises(TransformError, match=str(MAX_ITEMS)):
        apply(endless, make_event())

    assert len(asked) == MAX_ITEMS + 1


def test_endless_generator_of_drops_is_stopped_too() -> None:
    """An endless generator of drops is stopped too."""
    asked = itertools.count()

    def endless(event: Event) -> Iterator[Any]:
        while next(asked) < 1_000_000:
            yield DROP
        raise AssertionError("it was asked a million times")

    with pytest.raises(TransformError, match="items"):
        apply(endless, make_event())


@pytest.mark.parametrize(
    "result",
    [
        object(),
        {"a": object()},
        {(1, 2): 3},
        map(str, [1]),
        lambda: 1,
        1j,
        Event,
        [DROP],
        cyclic(),
        nested(100_000),
        float("nan"),
        {"a": [float("inf")]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_say_is_a_transform_error(result: Any) -> None:
    """What JSON cannot say is a transform error."""
    with pytest.raises(TransformError):
        apply(giving(result), make_event())


def test_string_of_the_users_own_type_becomes_a_plain_one() -> None:
    """A string of the user's own type becomes a plain one."""
    (item,) = apply(giving(Text("x")), make_event())

    assert type(item) is str


@pytest.mark.parametrize("error", [ValueError("mine"), Rejected(409), KeyError("x"), RecursionError()])
def test_error_of_the_transform_stays_as_it_is(error: Exception) -> None:
    """An error of the transform stays as it is."""
    with pytest.raises(type(error)) as caught:
        apply(raising(error), make_event())

    assert caught.value is error


def test_job_does_not_share_what_the_transform_may_still_change() -> None:
    """A job does not share what the transform may still change."""
    shared = {"a": [1]}

    (item,) = apply(giving(shared), make_event())
    shared["a"].append(2)

    assert item == {"a": [1]}


# What becomes of an event


def test_generator_that_fails_half_way_leaves_no_job() -> None:
    """A generator that fails half way leaves no job."""

    def split(event: Event) -> Iterator[Any]:
        yield 1
        raise RuntimeError("half-way")

    reply, outbox = accept(transform=split)

    assert reply.status == 202
    assert outbox.jobs == []
    assert "half-way" in outbox.dead_letters[0].traceback


@pytest.mark.parametrize(
    "options",
    [
        {"transform": raising(RuntimeError("boom"))},
        {"transform": giving(None)},
        {"transform": lambda event: event.data["absent"]},
        {"transform": raising(RecursionError())},
        {"transform": raising(SystemExit(3))},
        {"transform": giving(object())},
        {"dedupe": raising(RuntimeError("boom"))},
        {"queue": raising(RuntimeError("boom"))},
        {"queue": lambda event: "a b"},
        {"job": lambda event: "nodots"},
    ],
)
def test_failure_of_the_users_code_keeps_the_event_as_received(options: dict[str, Any]) -> None:
    """A failure of the user's code keeps the event as received."""
    event = make_event()

    reply, outbox = accept(event, failure_ttl="7d", **options)

    assert reply.status == 202
    assert outbox.jobs == []
    (letter,) = outbox.dead_letters
    assert Event.from_dict(letter.data["event"]).body == event.body
    assert letter.data["v"] == 1
    assert "Traceback" in letter.traceback
    assert letter.ttl == 7 * 86_400


@pytest.mark.parametrize(
    "options",
    [
        {"transform": raising(RuntimeError("boom"))},
        {"transform": giving(None)},
        {"dedupe": raising(ValueError("boom"))},
    ],
)
def test_failure_is_refused_where_the_route_says_so(options: dict[str, Any]) -> None:
    """A failure is refused where the route says so, without the error's words."""
    with pytest.raises(Failed) as caught:
        accept(on_error="refuse", **options)

    assert caught.value.status == 500
    assert "boom" not in caught.value.detail


@pytest.mark.parametrize("refusal", [Rejected(), Rejected(409, "no"), Unverified("who?")])
@pytest.mark.parametrize("on_error", ["keep", "refuse"])
def test_refusal_of_the_transform_is_no_failure(refusal: Exception, on_error: str) -> None:
    """A refusal of the transform is no failure."""
    with pytest.raises(type(refusal)) as caught:
        accept(transform=raising(refusal), on_error=on_error)

    assert caught.value is refusal


@pytest.mark.parametrize("status", [200, 302, 399, 600, 0, True])
def test_rejected_takes_only_statuses_of_errors(status: int) -> None:
    """`Rejected` takes only statuses of errors."""
    with pytest.raises(ValueError, match="400 to 599"):
        Rejected(status)


def test_rejected_with_its_detail_alone_says_what_to_write() -> None:
    """`Rejected` with its detail alone says what to write."""
    with pytest.raises(ValueError, match="400 to 599"):
        Rejected("no such shop")  # type: ignore[arg-type]


def test_dropped_event_is_accepted_and_handed_to_nobody() -> None:
    """A dropped event is accepted and handed to nobody."""
    reply, outbox = accept(transform=giving(DROP))

    assert (reply.status, outbox.handovers) == (202, [])
    assert json.loads(reply.body) == {"id": make_event().id, "jobs": []}


def test_transform_sees_what_the_request_said() -> None:
    """The transform sees what the request said."""
    seen: list[Event] = []

    accept(transform=lambda event: seen.append(event) or DROP, event=make_event(headers={"Content-Type": "text/plain"}))

    assert (seen[0].data, seen[0].params, seen[0].body) == ('{"order": 1}', {"shop": "acme"}, b'{"order": 1}')


def test_a_dataclass_that_was_made_of_data_has_its_defaults_too() -> None:
    """msgspec makes one without putting plain defaults into the object, and would leave them out again."""

    @dataclasses.dataclass
    class Order:
        id: int
        note: str = "none"
        tags: list[str] = dataclasses.field(default_factory=list)

    made = msgspec.convert({"id": 1}, Order)

    assert apply(lambda event: {"order": made}, make_event()) == [{"order": {"id": 1, "note": "none", "tags": []}}]
