"""The kinds of values that several tables have: durations, sizes, rates, waits, and functions in place of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..backoff import Backoff
from ..options import per_event
from ..rate import ADDRESS, Rate
from .functions import FUNCTION_TABLE, is_function_table
from .kinds import Choice, Definitions, Either, Flag, Kind, ListOf, Named, Number, Schema, Text, Whole
from .place import Place
from .tables import Key, Table, with_defaults

_TIME: Final = "[0-9]{1,9}[smhd]?"


def duration(least: int = 0) -> Kind:
    """Give the kind of a time: seconds, or a string such as `15m`."""
    says = 'a time, in whole seconds or such as "90s", "15m", "24h" or "7d"'
    return Either({int: Whole(least, 10**10, says), str: Text(says, _TIME)}, says)


def lifetime() -> Kind:
    """Give the kind of a time that may be -1, for ever."""
    says = 'a time, in whole seconds or such as "90s", "15m", "24h" or "7d"; or -1 for ever'
    return Either({int: Whole(-1, 10**10, says), str: Text(says, _TIME)}, says)


def size(least: int = 0) -> Kind:
    """Give the kind of a number of bytes, or a string such as `5MB`."""
    says = 'a number of bytes, or a size such as "256KB" or "5MB"'
    return Either({int: Whole(least, None, says), str: Text(says, "[0-9]{1,12} ?[KMGkmg]?[Ii]?[Bb]?")}, says)


@dataclass(frozen=True, slots=True)
class OrFunction:
    """A kind in whose place a table may name a function of the event: `{ function = "shop.hooks.choose" }`.

    Attributes:
        kind: what it is otherwise.
        mark: whether the function is marked as one that chooses for each event.
    """

    kind: Kind
    mark: bool = False

    @property
    def says(self) -> str:
        """What it is."""
        return self.kind.says

    def read(self, value: Any, at: Place) -> Any:
        """See `Kind`."""
        if not is_function_table(value):
            return self.kind.read(value, at)
        function = FUNCTION_TABLE.read(value, at)
        return per_event(function) if self.mark else function

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        return {"anyOf": [self.kind.schema(definitions), _FUNCTION.schema(definitions)]}


_FUNCTION: Final = Named("function", FUNCTION_TABLE)

_PER: Final = OrFunction(
    Text('"route", "address", "header:NAME" or "data:path.to.field"', "route|address|(header|data):.+")
)
_RATE: Final = Text(
    'a number of events and a time, such as "100/m", "10/s per address" or "1000/h per header:X-Api-Key"',
    "[0-9]{1,9}/[0-9]{0,9}[smhd]( per .+)?",
)


def rate(option: str, *, per: Kind | None = _PER) -> Kind:
    """Give the kind of a rate.

    Args:
        option: the option that is read, for errors.
        per: the kind of what it may be counted by, `None` where that is always the address.
    """
    keys = {
        "rate": Key(_RATE, "How many events, and in what time.", needed='It has no rate, such as rate = "100/m".'),
        "burst": Key(Whole(1), "How many may come at once, by one that has been quiet."),
    }
    if per is not None:
        keys["per"] = Key(per, "What shares one count: the route, each address, each value of a header or a field.")

    def make(options: dict[str, Any], _: Place) -> Rate:
        text = options.pop("rate")
        usual: dict[str, Any] = {} if per is not None or " per " in text else {"per": ADDRESS}
        return Rate(text, option=option, **usual, **options)

    table = Table(keys, make, _RATE.says)
    return Named(option, Either({str: _RATE, dict: table}, f"{_RATE.says}; or a table"))


BACKOFF: Final = Named(
    "backoff",
    Table(
        with_defaults(
            {
                "tries": Key(Whole(1, 1000), "How often it is tried again."),
                "first": Key(duration(1), "The most that is waited before the first of these."),
                "factor": Key(Number(1, 100), "By what the most grows from try to try."),
                "longest": Key(duration(1), "What it does not grow over."),
                "jitter": Key(Flag(), "Whether each wait is drawn, from 1 s to the most."),
                "at_front": Key(Flag(), "Whether the job then goes to the front of its queue."),
            },
            Backoff,
        ),
        lambda options, _: Backoff(**options),
        'a table of a backoff, such as { tries = 8, longest = "1h" }',
    ),
)

WAITS: Final = ListOf(duration(), 'a list of waits, such as [10, 60, "15m"]', empty=True)

RETRY: Final = Either(
    {
        int: Whole(0, 1000, "a number of tries"),
        list: ListOf(duration(), 'a list of waits, such as [10, 60, "15m"]'),
        dict: BACKOFF,
    },
    'a number of tries, a list of the waits before each such as [10, 60, "15m"], or a table such as { tries = 8 }',
)


def none_or(kind: Kind) -> Kind:
    """Give a kind in whose place `"none"` may be said."""
    none = Choice({"none": None})
    if isinstance(kind, Text):
        return _NoneOrText(kind)
    return Either({str: none, int: kind}, f'{kind.says}, or "none"')


@dataclass(frozen=True, slots=True)
class _NoneOrText:
    kind: Text

    @property
    def says(self) -> str:
        return f'{self.kind.says}, or "none"'

    def read(self, value: Any, at: Place) -> Any:
        return None if value == "none" else Text(self.says, self.kind.pattern).read(value, at)

    def schema(self, definitions: Definitions) -> Schema:
        return {"anyOf": [{"enum": ["none"]}, self.kind.schema(definitions)]}
