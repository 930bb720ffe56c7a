"""Transforms whose parameter says what the data is: decoded and validated before they are called."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import partial, wraps
from typing import Any, Final, get_args, get_type_hints

import msgspec

from ..errors import DeclarationError, Rejected
from ..event import Event
from ..transform import Transform, plain
from .paths import show

_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")

_EXPECTED: Final = re.compile(r"Expected [^']*?(?= - at |$)")
_GOT: Final = re.compile(r"got `([^`]*)`")
_OF_JSON: Final = frozenset({"object", "array", "str", "int", "float", "bool", "null", "bytes"})
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")
_AT: Final = re.compile(r" - at `(?:key` in `)?(\$[^`]*)`$")


def typed(function: Transform) -> Transform:
    """Give a transform whose parameter is annotated with a type its data as that type.

        class Order(msgspec.Struct):
            id: int
            total: Annotated[int, msgspec.Meta(ge=0)]

        def order(order: Order, event: Event): ...

    The type is anything that msgspec converts to: a Struct, a dataclass, a TypedDict, a list or union of them. What is
    annotated with `Event`, or with nothing, is given the event. Data of another shape is answered 422 with the place of
    the fault and without the value. What comes out of forms and queries, which know only texts, is converted: `"7"` to
    7, `"true"` to `True`, one value to a list of one.

    Args:
        function: a transform; one whose parameters are not annotated so is given back as it is.

    Raises:
        DeclarationError: an annotation cannot be read, or msgspec cannot convert to it; or it is a class, which makes
            what it is given a part of an object.
    """
    if _is_async(function):
        return function  # which `check_plain` refuses
    try:
        parameters = _given(inspect.signature(function))
    except (TypeError, ValueError):
        return function  # some callables of C have no signature to look at
    kinds = {one.name: _annotation(function, one) for one in parameters}
    shaped = [name for name, kind in kinds.items() if not _is_event(kind)]
    if not shaped:
        return function
    name = getattr(function, "__qualname__", type(function).__qualname__)
    if inspect.isclass(function):
        raise DeclarationError(
            f"The transform {name} is a class. Call it in a function, or say the data's type there: "
            f"def reshape(data: {name}): return data.",
            option="transform",
        )
    if len(shaped) > 1 or len(parameters) > 2:
        raise DeclarationError(
            f"The transform {name} takes the data, and the event if a parameter is annotated with Event; it asks for "
            f"{', '.join(kinds)}.",
            option="transform",
        )
    kind = kinds[shaped[0]]
    lists = _check(kind, name)
    order = [parameter.name == shaped[0] for parameter in parameters]

    @wraps(function)
    def shaping(event: Event) -> Any:
        data = _convert(event, kind, lists)
        return function(*[data if is_data else event for is_data in order])

    # `signature` follows `__wrapped__`, and whoever asks shall see that it takes the event alone.
    shaping.__signature__ = inspect.Signature([inspect.Parameter("event", inspect.Parameter.POSITIONAL_ONLY)])  # type: ignore[attr-defined]
    return shaping


def _called(function: Any) -> Any:
    """Give the function that is run when something is called."""
    called = function.func if isinstance(function, partial) else function
    if inspect.isroutine(called) or inspect.isclass(called):
        return called
    return getattr(type(called), "__call__", called)  # noqa: B004 - the method itself is looked at


def _is_async(function: Any) -> bool:
    called = _called(function)
    return inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)


def _given(signature: inspect.Signature) -> list[inspect.Parameter]:
    """Give the parameters that a transform is called with: those it requires, at least the first."""
    found: list[inspect.Parameter] = []
    for one in signature.parameters.values():
        required = one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
        if required or (not found and one.kind not in (one.KEYWORD_ONLY, one.VAR_KEYWORD)):
            found.append(one)
    return found


def _annotation(function: Any, parameter: inspect.Parameter) -> Any:
    """Give what a parameter is annotated with, `Event` where that is nothing."""
    said = parameter.annotation
    if said is parameter.empty:
        return Event
    if isinstance(said, str) and said.rpartition(".")[2] == Event.__name__:
        return Event  # imported for type checkers alone, as many do
    try:
        return get_type_hints(_called(function), include_extras=True).get(parameter.name, said)
    except Exception as error:
        if not isinstance(said, str):
            return said
        name = getattr(function, "__qualname__", type(function).__qualname__)
        raise DeclarationError(
            f"The transform {name} annotates {parameter.name} with {said}, which cannot be found when it is declared: "
            f"{error}. Define it at the top of the module, and import it outside of TYPE_CHECKING.",
            option="transform",
        ) from error


def _is_event(kind: Any) -> bool:
    if kind is Any or kind is object or kind is Event:
        return True
    if isinstance(kind, type) and issubclass(kind, Event):
        return True
    return Event in get_args(kind)


def _check(kind: Any, name: str) -> frozenset[str]:
    """Check that msgspec converts to a type. Give the names of its fields that are lists."""
    try:
        msgspec.json.Decoder(kind)
        found = msgspec.inspect.type_info(kind)
    except Exception as error:
        raise DeclarationError(
            f"The transform {name} is annotated with a type that data cannot be converted to: {error}",
            option="transform",
        ) from error
    waiting: list[Any] = [found]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, msgspec.inspect.CustomType):
            raise DeclarationError(
                f"The transform {name} is annotated with {current.cls.__qualname__}, which data cannot be converted "
                "to. Make it a msgspec.Struct, a dataclass or a TypedDict.",
                option="transform",
            )
        waiting.extend(_inside(current))
    while isinstance(found, msgspec.inspect.Metadata):
        found = found.type
    return frozenset(one.encode_name for one in getattr(found, "fields", ()) if _is_list(one.type))


def _inside(info: Any) -> list[Any]:
    """Give the types within a type, of whatever kind that is."""
    if not isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field):
        return []
    values = [getattr(info, name) for name in info.__struct_fields__]
    return [one for value in values for one in (value if isinstance(value, tuple) else (value,))]


def _is_list(info: Any) -> bool:
    kinds = msgspec.inspect
    if isinstance(info, kinds.Metadata):
        return _is_list(info.type)
    if isinstance(info, kinds.UnionType):
        return any(map(_is_list, info.types)) and not any(isinstance(one, kinds.StrType) for one in info.types)
    return isinstance(info, kinds.ListType | kinds.SetType | kinds.FrozenSetType | kinds.VarTupleType)


def _convert(event: Event, kind: Any, lists: frozenset[str]) -> Any:
    data = event.data
    is_form = not event.body or event.headers.get("content-type", "").lower().startswith(_FORMS)
    if is_form and lists and isinstance(data, dict):
        data = {key: [value] if key in lists and isinstance(value, str) else value for key, value in data.items()}
    try:
        return _converted(data, kind, is_form)
    except (msgspec.ValidationError, RecursionError) as error:
        fault: Exception = error
    if (got := _GOT.search(str(fault))) and got[1] not in _OF_JSON:
        # An object that another function of the chain made, among what it gave: no sender is to blame.
        data = plain(data)
        try:
            return _converted(data, kind, is_form)
        except (msgspec.ValidationError, RecursionError) as error:
            fault = error
    # Not chained: its words may hold the value.
    raise Rejected(422, _sentence(fault)) from None


def _converted(data: Any, kind: Any, is_form: bool) -> Any:
    # What another function of the chain made may be an object of the type already, or of another with its fields.
    made = not isinstance(data, Mapping) and (isinstance(data, msgspec.Struct) or is_dataclass(data))
    return msgspec.convert(data, kind, strict=not is_form, from_attributes=made)


def _sentence(error: Exception) -> str:
    """Say what is wrong and where. Of msgspec's words only those are taken that hold nothing of the data."""
    text = str(error)
    at = _AT.search(text)
    place = at[1].removeprefix("$").removeprefix(".") if at else ""
    where = f"{show_place(place)}" if place else "The data"
    own = error.__cause__ is not None  # raised by the type's own code, whose words are not known
    if not own and (missing := _MISSING.match(text)):
        return f"{where} has no {show([missing[1]])}."
    if not own and (expected := _EXPECTED.match(text)):
        return f"{where}: {expected[0][0].lower()}{expected[0][1:]}."
    return f"{where} is not valid."


def show_place(place: str) -> str:
    """Give msgspec's path in one bounded line: `items[0].price`."""
    text = ascii(place)[1:-1]
    return text if len(text) <= 200 else f"{text[:200]}..."
