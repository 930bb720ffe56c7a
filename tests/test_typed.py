"""Transforms whose parameter is annotated with what the data is."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from tests.support import make_event
from trafficrelay import DeclarationError, Event, Rejected
from trafficrelay.transforms import typed

if TYPE_CHECKING:
    from trafficrelay.event import Event as OnlyForTypeCheckers  # noqa: F401
    from trafficrelay.route import Route

FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


class Colour(enum.Enum):
    RED = "red"


class Item(msgspec.Struct):
    sku: str
    price: Annotated[float, msgspec.Meta(ge=0)] = 0


class Order(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    items: list[Item] = []
    colour: Colour = Colour.RED
    at: datetime | None = None
    code: Annotated[str, msgspec.Meta(pattern="^[a-z]+$", max_length=5)] = "a"
    kinds: dict[str, int] = {}


@dataclass
class Shop:
    name: str
    open: bool = True
    tags: list[str] | None = None

    def __post_init__(self) -> None:
        if self.name == "secret":
            raise ValueError(f"{self.name} is closed")


class Person(TypedDict):
    name: str


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    tricks: list[str]


class Plain:
    def __init__(self, name: str) -> None:
        self.name = name


def with_struct(order: Order) -> Any:
    return order


def with_dataclass(shop: Shop) -> Any:
    return shop


def with_typed_dict(person: Person) -> Any:
    return person


def with_list(items: list[Item]) -> Any:
    return items


def with_union(animal: Cat | Dog) -> Any:
    return animal


def with_literal(word: Literal["a", "b"]) -> Any:
    return word


def with_dict(data: dict[str, Any]) -> Any:
    return data


def with_event(order: Order, event: Event) -> Any:
    return order.id, event.id


def with_event_first(event: Event, order: Order, more: int = 1) -> Any:
    return order.id, event.id, more


class Callable:
    def __call__(self, person: Person) -> Any:
        return person["name"]

    def method(self, person: Person) -> Any:
        return person["name"]


def run(function: Any, data: Any, **fields: Any) -> Any:
    return typed(function)(make_event(data=data, **fields))


@pytest.mark.parametrize(
    ("function", "data", "given"),
    [
        (with_struct, {"id": 1, "items": [{"sku": "a"}]}, Order(id=1, items=[Item(sku="a")])),
        (with_struct, {"id": 1, "at": "2026-03-01T12:00:00"}, Order(id=1, at=datetime(2026, 3, 1, 12))),
        (with_dataclass, {"name": "acme"}, Shop("acme")),
        (with_typed_dict, {"name": "Ada"}, {"name": "Ada"}),
        (with_list, [{"sku": "a"}], [Item(sku="a")]),
        (with_union, {"type": "Dog", "tricks": ["sit"]}, Dog(tricks=["sit"])),
        (with_literal, "a", "a"),
        (with_dict, {"a": 1}, {"a": 1}),
        (Callable(), {"name": "Ada"}, "Ada"),
        (Callable().method, {"name": "Ada"}, "Ada"),
        (functools.partial(with_event_first, more=2), {"id": 1}, (1, "0123456789abcdef0123456789abcdef", 2)),
        (with_event, {"id": 1}, (1, "0123456789abcdef0123456789abcdef")),
        (with_event_first, {"id": 1}, (1, "0123456789abcdef0123456789abcdef", 1)),
    ],
)
def test_a_parameter_gets_the_data_as_what_it_is_annotated_with(function: Any, data: Any, given: Any) -> None:
    assert run(function, data) == given


@pytest.mark.parametrize(
    ("function", "data", "detail"),
    [
        (with_struct, {}, "The data has no id."),
        (with_struct, {"id": "secret"}, "id: expected `int`, got `str`."),
        (with_struct, [], "The data: expected `object`, got `array`."),
        (with_struct, {"id": 1, "items": [{"sku": "a"}, {}]}, "items[1] has no sku."),
        (with_struct, {"id": 1, "items": [{"sku": "a", "price": -77}]}, "items[0].price: expected `float` >= 0.0."),
        (with_struct, {"id": 1, "colour": "secret"}, "colour is not valid."),
        (with_struct, {"id": 1, "secret": 1}, "The data is not valid."),
        (with_struct, {"id": 1, "at": "secret"}, "at is not valid."),
        (with_struct, {"id": 1, "code": "SECRET"}, "code: expected `str` of length <= 5."),
        (with_struct, {"id": 1, "kinds": {"secret\r\n": "x"}}, "kinds[...]: expected `int`, got `str`."),
        (with_dataclass, {"name": "secret"}, "The data is not valid."),
        (with_union, {"type": "Secret"}, "type is not valid."),
        (with_literal, "secret", "The data is not valid."),
    ],
)
def test_data_of_another_shape_is_answered_with_the_place_and_no_value(function: Any, data: Any, detail: str) -> None:
    with pytest.raises(Rejected) as caught:
        run(function, data)

    assert (caught.value.status, caught.value.detail) == (422, detail)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("fields", [{"headers": FORM}, {"body": b"", "method": "GET"}])
def test_the_texts_of_forms_and_queries_are_converted(fields: dict[str, Any]) -> None:
    assert run(with_struct, {"id": "7"}, **fields) == Order(id=7)
    assert run(with_dataclass, {"name": "acme", "open": "false", "tags": "x"}, **fields) == Shop("acme", False, ["x"])
    assert run(with_dataclass, {"name": "acme", "tags": ["x", "y"]}, **fields) == Shop("acme", True, ["x", "y"])
    with pytest.raises(Rejected, match=r"^id: expected `int`, got `str`\.$"):
        run(with_struct, {"id": "seven"}, **fields)


def test_the_texts_of_json_are_not() -> None:
    with pytest.raises(Rejected):
        run(with_struct, {"id": "7"}, headers={"Content-Type": "application/json"})


def test_what_is_of_the_type_already_is_taken() -> None:
    order = Order(id=1)

    assert run(with_struct, order) == order
    assert run(with_dataclass, Shop("acme")) == Shop("acme")


def with_default(order: Order = Order(id=9)) -> Any:  # noqa: B008 - the default is what is tested
    return order


def with_several(*orders: Order) -> Any:
    return orders[0]


def with_default_and_event(order: Order | None = None, *, more: int = 1) -> Any:
    return order


@pytest.mark.parametrize("function", [with_default, with_several, with_default_and_event])
def test_the_first_parameter_gets_the_data_whatever_its_default(function: Any) -> None:
    assert run(function, {"id": 1}) == Order(id=1)
    with pytest.raises(Rejected):
        run(function, {"id": "x"})


@pytest.mark.parametrize("kind", [Order, Item, Shop, Cat])
def test_a_class_is_no_transform_of_what_it_holds(kind: Any) -> None:
    with pytest.raises(DeclarationError, match=f"{kind.__name__} is a class. Call it in a function"):
        typed(kind)


def no_annotation(event): ...  # type: ignore[no-untyped-def]
def an_event(event: Event): ...  # type: ignore[no-untyped-def]
def anything(event: Any): ...  # type: ignore[no-untyped-def]
def an_object(event: object): ...  # type: ignore[no-untyped-def]
def an_event_or_none(event: Event | None): ...  # type: ignore[no-untyped-def]
def several(*events: Any): ...  # type: ignore[no-untyped-def]
def for_type_checkers(event: event_module.Event): ...  # type: ignore # noqa: F821


@pytest.mark.parametrize(
    "function",
    [
        no_annotation,
        an_event,
        anything,
        an_object,
        an_event_or_none,
        several,
        for_type_checkers,
        dict,
        len,
        lambda event: 1,
    ],
)
def test_other_functions_are_given_back_as_they_are(function: Any) -> None:
    assert typed(function) is function


def not_found(order: Route) -> Any: ...
def not_convertible(order: Plain) -> Any: ...
def not_convertible_within(order: list[dict[str, Plain]]) -> Any: ...
def two_of_them(order: Order, shop: Shop) -> Any: ...
def too_many(order: Order, event: Event, other: Event) -> Any: ...
def two_structs(order: Order | Item) -> Any: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (not_found, "cannot be found when it is declared"),
        (not_convertible, "annotated with Plain, which data cannot be converted to"),
        (not_convertible_within, "annotated with Plain, which data cannot be converted to"),
        (two_of_them, "it asks for order, shop"),
        (too_many, "it asks for order, event, other"),
        (two_structs, "a type that data cannot be converted to"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_refused_when_declared(function: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=words) as caught:
        typed(function)

    assert function.__name__ in str(caught.value)


def test_what_is_typed_keeps_its_name() -> None:
    function: Any = typed(with_event)

    assert (function.__module__, function.__qualname__) == ("tests.test_typed", "with_event")
