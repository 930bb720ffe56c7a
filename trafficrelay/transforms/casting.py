"""The step cast: from one JSON type to another, by rules that lose nothing and guess nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from ..errors import DeclarationError
from .fields import absentee
from .matching import Fault, automaton, rewrite
from .paths import keyed, show
from .step import Step, give_up, nearest, noted, outcome, step, table

_LARGEST: Final = 10**4_000
"""Below it integers have digits that Python reads and writes (no more than 4,300: sys.set_int_max_str_digits)."""

_INT: Final = re.compile(r"[+-]?[0-9]{1,4000}")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,3})?")
_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,400}(?:\.[0-9]{1,400})?")
_EPOCH: Final = re.compile(r"[0-9]{9,15}(?:\.[0-9]{1,9})?")
_WORDS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


@step("cast")
def cast(types: Mapping[str, str], *, invalid: str = "reject", missing: str = "skip") -> Step:
    """Turn fields into other types: `cast({"amount": "int", "created": "datetime", "items.*.price": "decimal"})`.

    - `"int"`: whole numbers: 7, 7.0, "7". Not 7.5, "7.5" or true.
    - `"float"`: numbers: 7, "7.5", "1e3". Not "nan".
    - `"str"`: texts; numbers and true as JSON writes them.
    - `"bool"`: true and false; 1 and 0; "true", "yes", "on", "1" and their opposites, in any case.
    - `"decimal"`: an amount of money as text without an exponent: "10.50" stays "10.50", 10.5 becomes "10.5".
    - `"datetime"`: a time in UTC as ISO 8601 text, "2026-03-01T12:00:00+00:00", of such text (which is UTC where it
      names no offset) or of seconds since 1970.
    - `"datetime_ms"`: the same, with numbers that are milliseconds, as of `Date.now()` in browsers.

    Null stays null. Blanks around a text that is to be a number are passed over.

    Args:
        types: paths and the types that they shall have.
        invalid: what happens where a value cannot be turned: `"reject"` (422), `"error"`, `"drop"` or `"skip"`, which
            leaves all fields as they are.
        missing: what happens where a path leads to nothing: `"skip"`, `"drop"`, `"reject"` (422) or `"error"`.

    Raises:
        DeclarationError: a path, a type or an option is wrong.
    """
    places = keyed(table(types, "cast", '{"amount": "int"}'), "cast")
    casts = [_cast(kind) for kind in places.values()]
    names = [f"{place.text} to {_name(kind)}" for place, kind in places.items()]
    text = noted(f"cast {', '.join(names)}", invalid=(invalid, "reject"), missing=(missing, "skip"))
    outcome(invalid, "invalid")
    absent = None if outcome(missing, "missing") == "skip" else absentee(tuple(places))
    state = automaton(tuple(places), "cast")

    def change(value: Any, number: int) -> Any:
        return value if value is None else casts[number](value)

    def run(data: Any) -> Any:
        if absent is not None and (where := absent(data)):
            return give_up(missing, data, f"{where} is missing.")
        try:
            return rewrite(data, state, change)
        except Fault as fault:
            return give_up(invalid, data, f"{show(reversed(fault.segments))} {fault.reason}.")

    return Step("cast", text, lambda data, _event: run(data))


def _int(value: Any) -> Any:
    kind = type(value)
    if kind is int:
        return value
    if kind is float and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    if kind is str and _INT.fullmatch(text := value.strip()):
        return int(text)
    raise Fault("is no whole number")


def _float(value: Any) -> Any:
    kind = type(value)
    number = math.nan
    if kind is float:
        return value
    if kind is int and abs(value) < 10**308:
        number = float(value)
    elif kind is str and _NUMBER.fullmatch(text := value.strip()):
        number = float(text)
    if not math.isfinite(number):
        raise Fault("is no number")
    return number


def _str(value: Any) -> Any:
    kind = type(value)
    if kind is str:
        return value
    if kind is bool:
        return "true" if value else "false"
    if kind is float or (kind is int and -_LARGEST < value < _LARGEST):
        return repr(value)
    raise Fault("is no text")


def _bool(value: Any) -> Any:
    if value is True or value is False:
        return value
    if type(value) is str and (word := _WORDS.get(value.strip().lower())) is not None:
        return word
    if type(value) is int and value in (0, 1):
        return value == 1
    raise Fault("is neither true nor false")


def _decimal(value: Any) -> Any:
    kind = type(value)
    if (kind is float and math.isfinite(value)) or (kind is int and -_LARGEST < value < _LARGEST):
        return format(Decimal(repr(value)), "f")
    if kind is str and _DECIMAL.fullmatch(text := value.strip()):
        return format(Decimal(text), "f")
    raise Fault("is no amount")


def _datetime(value: Any, unit: int = 1) -> Any:
    kind = type(value)
    try:
        if kind is int or kind is float:
            return datetime.fromtimestamp(value / unit, UTC).isoformat()
        if kind is str:
            text = value.strip()
            if _EPOCH.fullmatch(text):
                return datetime.fromtimestamp(float(text) / unit, UTC).isoformat()
            moment = datetime.fromisoformat(text)
            return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)).isoformat()
    except (ValueError, OverflowError, OSError):
        pass  # of another year than datetime has, or no such text
    raise Fault("is no time")


_CASTS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "int": _int,
    "float": _float,
    "str": _str,
    "bool": _bool,
    "decimal": _decimal,
    "datetime": _datetime,
    "datetime_ms": lambda value: _datetime(value, 1_000),
}
_OF_PYTHON: Final[Mapping[Any, str]] = {
    int: "int",
    float: "float",
    str: "str",
    bool: "bool",
    Decimal: "decimal",
    datetime: "datetime",
}


def _name(kind: Any) -> Any:
    return _OF_PYTHON.get(kind, kind) if isinstance(kind, type) else kind


def _cast(kind: Any) -> Callable[[Any], Any]:
    name = _name(kind)
    if not isinstance(name, str) or name not in _CASTS:
        hint = nearest(name, _CASTS) or f"There are {', '.join(_CASTS)}."
        raise DeclarationError(f"cast has no type {name!r:.80}. {hint}", option="cast")
    return _CASTS[name]
