"""Several transforms as one: how steps and functions go together, and what a trace shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.support import accept, make_event
from trafficrelay import DROP, DeclarationError, Event, Rejected, TransformError
from trafficrelay import transforms as t
from trafficrelay.transform import MAX_ITEMS, apply
from trafficrelay.transforms import Chain
from trafficrelay.transforms.spending import MAX_REPEATED


@dataclasses.dataclass
class Order:
    id: int
    lines: list[str]


class Line(msgspec.Struct):
    text: str


class OtherLine(msgspec.Struct):
    text: str


def double(event: Event) -> Any:
    return {**event.data, "twice": event.data["id"] * 2}


def make_order(event: Event) -> Any:
    return Order(event.data["id"], ["a", "b"])


def each_line(event: Event) -> Iterator[Any]:
    for text in event.data["lines"]:
        yield {"line": text}


def forget(event: Event) -> Any:
    event.data["id"]


def take_line(line: Line) -> Any:
    return line.text.upper()


class Adder:
    def __call__(self, event: Event) -> Any:
        return event.data + 1


def results(transforms: list[Any], data: Any) -> list[Any]:
    return apply(Chain(transforms), make_event(data=data))


def test_a_chain_of_nothing_gives_the_data() -> None:
    data = {"id": 1}

    assert Chain([])(make_event(data=data)) is data


def test_a_function_gets_the_event_with_the_data_that_came_before() -> None:
    seen: list[Event] = []
    event = make_event(data={"id": 1, "secret": 2})

    result = Chain([t.keep("id"), lambda event: (seen.append(event), event.data)[1]])(event)

    assert result == {"id": 1}
    assert seen == [dataclasses.replace(event, data={"id": 1})]


def test_a_step_gets_what_a_function_gave_as_json_has_it() -> None:
    assert results([make_order, t.keep("lines.0")], {"id": 1}) == [{"lines": ["a"]}]
    assert results([make_order, t.redact("lines.*")], {"id": 1}) == [{"id": 1, "lines": ["[redacted]"] * 2}]


def test_a_function_gets_what_a_function_gave_as_it_is() -> None:
    assert results([make_order, lambda event: event.data.id], {"id": 7}) == [7]


def test_each_item_of_a_split_goes_through_what_follows() -> None:
    data = {"items": [{"id": 1}, {"id": 2}, {"id": 3}]}

    assert results([t.split("items"), t.drop_if("id == `2`"), double], data) == [
        {"id": 1, "twice": 2},
        {"id": 3, "twice": 6},
    ]


def test_splits_and_generators_go_together() -> None:
    data = {"orders": [{"lines": ["a", "b"]}, {"lines": []}, {"lines": ["c"]}]}

    assert results([t.split("orders"), each_line, t.select("line")], data) == ["a", "b", "c"]


def test_a_generator_that_a_lambda_gives_is_taken_apart_too() -> None:
    assert results([lambda event: (n for n in range(3)), Adder()], None) == [1, 2, 3]


def test_dropping_ends_the_chain() -> None:
    def fail(event: Event) -> Any:
        raise AssertionError("not reached")

    assert Chain([t.only_if("gone"), fail])(make_event()) is DROP
    assert Chain([lambda event: DROP, fail])(make_event()) is DROP
    assert results([t.split("items"), lambda event: DROP, fail], {"items": [1, 2]}) == []


@pytest.mark.parametrize("transforms", [[forget], [forget, t.keep("id")], [t.keep("id"), forget, double]])
def test_a_forgotten_return_is_an_error_that_names_the_function(transforms: list[Any]) -> None:
    with pytest.raises(TransformError, match=r"tests\.test_chain\.forget gave back None|The transform gave back None"):
        results(transforms, {"id": 1})


def test_a_null_among_the_items_is_an_error() -> None:
    with pytest.raises(TransformError, match="null in the list of the step split the data"):
        results([t.split(), t.keep("id")], [{"id": 1}, None])


def test_an_item_that_is_refused_refuses_the_event() -> None:
    with pytest.raises(Rejected, match=r"^id is no whole number\.$"):
        results([t.split(), t.cast({"id": "int"})], [{"id": "1"}, {"id": "x"}])


def test_more_items_than_an_event_may_become_are_an_error_unless_they_are_dropped_later() -> None:
    data = list(range(MAX_ITEMS + 1))

    with pytest.raises(TransformError, match="more than 1000 items"):
        results([t.split()], data)
    assert len(results([t.split(), t.drop_if("@ == `0`")], data)) == MAX_ITEMS


def test_a_generator_without_an_end_is_not_waited_for() -> None:
    def endless(event: Event) -> Iterator[int]:
        while True:
            yield 1

    with pytest.raises(TransformError, match="more than 1000 items"):
        results([endless, Adder()], None)
    with pytest.raises(TransformError, match="more than 10000 items"):
        results([endless, t.drop_if("@")], None)
    with pytest.raises(TransformError, match="more than 10000 items"):
        list(Chain([endless]).trace(make_event()))


def test_the_items_of_all_splits_of_an_event_are_counted_together() -> None:
    data = {"a": [0] * 150, "b": [1] * 150}
    splits = [t.split("a", rest=True), t.split("b", rest=True), t.drop_if("a == `0`")]

    with pytest.raises(TransformError, match=r"^split b, each with the rest gave more than 10000 items"):
        results(splits, data)
    with pytest.raises(TransformError, match="more than 10000 items"):
        list(Chain(splits).trace(make_event(data=data)))
    assert results(splits, {"a": [0] * 90, "b": [1] * 90}) == []


def test_what_the_items_of_all_splits_repeat_is_bounded() -> None:
    items, text = [0] * 1_000, "x" * 8_000
    step = t.split("items", rest=True)

    assert len(results([step], {"items": items, "rest": text})) == 1_000
    for much in (text + text[:1_000], [0] * 600, {str(number): None for number in range(300)}, {text + text: 1}):
        event = make_event(data={"items": items, "rest": much})
        for work in (Chain([step]), step, lambda event: list(Chain([step]).trace(event))):
            with pytest.raises(TransformError, match="split items, each with the rest would repeat more than 8 MB"):
                apply(work, event)


def test_what_two_splits_repeat_counts_together() -> None:
    data = {"a": [0] * 50, "b": [0] * 50, "rest": "x" * 1_000}
    splits = [t.split("a", rest=True), t.split("b", rest=True), t.drop_if("a == `0`")]

    assert results(splits, data) == []
    with pytest.raises(TransformError, match="split b, each with the rest would repeat more than 8 MB"):
        results(splits, data | {"rest": "x" * 4_000})


def test_what_is_repeated_by_nothing_may_be_large() -> None:
    large = "x" * (MAX_REPEATED + 1)

    assert results([t.split("items", rest=True)], {"items": [1], "rest": large}) == [{"items": 1, "rest": large}]
    assert results([t.split("items", rest=True)], {"items": [], "rest": large}) == []
    assert results([t.split("items", rest=True)], {"items": [large, large]}) == [{"items": large}] * 2
    assert results([t.split("items")], {"items": [1, 2], "rest": large}) == [1, 2]
    assert results([t.split("items", rest=True, missing="skip")], {"rest": large}) == [{"rest": large}]


def test_a_function_within_a_chain_gets_objects_of_a_function_as_its_type() -> None:
    def lines(event: Event) -> Any:
        return [Line("a"), Line("b")]

    def orders(event: Event) -> Any:
        return {"x": Order(1, ["a"]), "y": {"id": 2, "lines": []}}

    def joined(lines: list[OtherLine]) -> Any:
        return [line.text for line in lines]

    def ids(orders: dict[str, Order]) -> Any:
        return [order.id for order in orders.values()]

    def texts(lines: list[str]) -> Any:
        return lines

    assert results([lines, joined], None) == [["a", "b"]]
    assert results([orders, ids], None) == [[1, 2]]
    with pytest.raises(Rejected, match=r"^\[0\]: expected `str`, got `object`\.$"):
        results([lines, texts], None)


def test_a_chain_within_a_chain_is_its_steps() -> None:
    chain = Chain([t.keep("id"), Chain([double, t.omit("id")])])

    assert list(map(str, chain.steps)) == ["keep id", "tests.test_chain.double", "omit id"]
    assert chain(make_event(data={"id": 2})) == {"twice": 4}


def test_a_function_within_a_chain_is_typed() -> None:
    assert results([t.split("lines"), t.rename({"line": "text"}), take_line], {"lines": [{"line": "a"}]}) == ["A"]
    with pytest.raises(Rejected, match=r"The data has no text"):
        results([t.keep("gone"), take_line], {"id": 1})


def test_the_text_of_a_function_is_its_dotted_name() -> None:
    steps = Chain([double, take_line, Adder(), lambda event: 1]).steps

    assert list(map(str, steps)) == [
        "tests.test_chain.double",
        "tests.test_chain.take_line",
        "tests.test_chain.Adder",
        "tests.test_chain.test_the_text_of_a_function_is_its_dotted_name.<locals>.<lambda>",
    ]


async def asynchronous(event: Event) -> Any:
    return event.data


async def asynchronous_and_typed(line: Line) -> Any:
    return line


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([{"hash": ["a"], "key": "hunter2"}], "transforms has a dict"),
        (["shop.reshape"], "transforms has a str"),
        ([None], "transforms has a NoneType"),
        (t.keep("a"), "transforms is a list"),
        ("keep", "transforms is a list"),
        ([t.keep], "only makes a step"),
        ([t.redact], "only makes a step"),
        ([asynchronous], "async function"),
        ([asynchronous_and_typed], "async function"),
        ([lambda: 1], "called with one argument"),
    ],
)
def test_what_is_no_transform_is_refused_without_showing_it(transforms: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=words) as caught:
        Chain(transforms)

    assert caught.value.option == "transforms"
    assert "hunter2" not in str(caught.value)


def test_a_trace_shows_the_data_after_each_step() -> None:
    chain = Chain([t.keep("items"), t.split("items"), double, t.drop_if("id == `1`")])

    assert list(chain.trace(make_event(data={"x": 1, "items": [{"id": 1}, {"id": 2}]}))) == [
        ("keep items", [{"items": [{"id": 1}, {"id": 2}]}]),
        ("split items", [{"id": 1}, {"id": 2}]),
        ("tests.test_chain.double", [{"id": 1, "twice": 2}, {"id": 2, "twice": 4}]),
        ("drop if id == `1`", [{"id": 2, "twice": 4}]),
    ]


def test_a_trace_shows_objects_as_json_has_them() -> None:
    chain = Chain([make_order, lambda event: {1: event.data.lines, 2: object}, lambda event: event.data[1]])

    assert [items for _, items in chain.trace(make_event(data={"id": 1}))] == [
        [{"id": 1, "lines": ["a", "b"]}],
        ["<dict>"],
        [["a", "b"]],
    ]


def test_a_trace_ends_where_the_event_is_dropped() -> None:
    chain = Chain([t.keep("id"), t.drop_if("id"), double])

    assert list(chain.trace(make_event(data={"id": 1}))) == [("keep id", [{"id": 1}]), ("drop if id", [])]


def test_a_trace_stops_before_the_step_that_fails() -> None:
    chain = Chain([t.keep("id"), t.cast({"id": "int"}), double])
    seen = []

    with pytest.raises(Rejected):
        seen.extend(chain.trace(make_event(data={"id": "x"})))

    assert seen == [("keep id", [{"id": "x"}])]
    assert str(chain.steps[len(seen)]) == "cast id to int"


def test_a_trace_shows_what_was_and_not_what_a_later_function_made_of_it() -> None:
    def change(event: Event) -> Any:
        event.data["tags"].append("y")
        return event.data

    (_, first), (_, second) = Chain([t.set({"tags": ["x"]}), change]).trace(make_event(data={}))

    assert (first, second) == ([{"tags": ["x"]}], [{"tags": ["x", "y"]}])


def sent(body: bytes) -> Event:
    return make_event(body=body, headers={"Content-Type": "application/json"})


def test_an_item_that_is_refused_leaves_no_jobs_of_the_others() -> None:
    with pytest.raises(Rejected, match=r"^id is missing\.$"):
        accept(
            sent(b'{"items": [{"id": 1}, {}]}'),
            transform=Chain([t.split("items"), t.keep("id", missing="reject")]),
        )


def test_the_jobs_of_a_split_are_queued_together() -> None:
    reply, outbox = accept(sent(b'{"items": [1, 2]}'), transform=Chain([t.split("items")]))

    assert [job.data for job in outbox.jobs] == [1, 2]
    assert reply.status == 202
