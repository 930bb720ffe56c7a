"""What the value of a key may be. Each kind reads values, says in a sentence what it wants, and gives its JSON Schema.

A schema refuses nothing that is read. It may let pass what only the declaration itself refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

from ..errors import ConfigError, DeclarationError
from .place import Place, kind_of, nearest, shown

Schema: TypeAlias = dict[str, Any]
Definitions: TypeAlias = dict[str, Schema]


class Kind(Protocol):
    """What a value may be."""

    @property
    def says(self) -> str:
        """What it is, such as `a string`."""
        ...

    def read(self, value: Any, at: Place) -> Any:
        """Check a value and give what the declaration takes.

        Raises:
            ConfigError: it is something else.
        """
        ...

    def schema(self, definitions: Definitions) -> Schema:
        """Give its schema; parts that are needed in several places go into `definitions`."""
        ...


def refuse(at: Place, says: str, value: Any, *, hidden: bool = False) -> ConfigError:
    """Make the error for a value of the wrong kind; `hidden` where it may be a secret."""
    return at.fault(f"This is {says}, not {kind_of(value) if hidden else shown(value)}.")


@dataclass(frozen=True, slots=True)
class Text:
    """A string.

    Attributes:
        says: what it is.
        pattern: how it looks, a regular expression that Python and JavaScript read alike.
        hidden: whether errors do not repeat it.
    """

    says: str = "a string"
    pattern: str = ""
    hidden: bool = False

    def read(self, value: Any, at: Place) -> str:
        """See `Kind`."""
        if not isinstance(value, str) or (self.pattern and not re.fullmatch(self.pattern, value)):
            raise refuse(at, self.says, value, hidden=self.hidden)
        return value

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        return {"type": "string", **({"pattern": f"^(?:{self.pattern})$"} if self.pattern else {})}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number.

    Attributes:
        least: the smallest that it may be, `None` for any.
        most: the largest.
        says: what it is.
    """

    least: int | None = None
    most: int | None = None
    says: str = "a whole number"

    def read(self, value: Any, at: Place) -> int:
        """See `Kind`."""
        if type(value) is not int or not _within(value, self.least, self.most):
            raise refuse(at, f"{self.says}{_bounds(self.least, self.most)}", value)
        return value

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        return {"type": "integer", **_limits(self.least, self.most)}


@dataclass(frozen=True, slots=True)
class Number:
    """A number, with a point or without.

    Attributes:
        least: the smallest that it may be, `None` for any.
        most: the largest.
        says: what it is.
    """

    least: int | None = None
    most: int | None = None
    says: str = "a number"

    def read(self, value: Any, at: Place) -> float:
        """See `Kind`."""
        if type(value) not in (int, float) or not _within(value, self.least, self.most):
            raise refuse(at, f"{self.says}{_bounds(self.least, self.most)}", value)
        number: float = value
        return number

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        return {"type": "number", **_limits(self.least, self.most)}


@dataclass(frozen=True, slots=True)
class Flag:
    """`true` or `false`."""

    says: str = "true or false"

    def read(self, value: Any, at: Place) -> bool:
        """See `Kind`."""
        if not isinstance(value, bool):
            raise refuse(at, self.says, value)
        return value

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few strings.

    Attributes:
        values: those, and what the declaration takes for each.
        hidden: whether errors do not repeat what else was written.
        words: what errors say it is, where more may be written than these strings.
    """

    values: Mapping[str, Any]
    hidden: bool = False
    words: str = ""

    @classmethod
    def of(cls, *values: str) -> Choice:
        """Give a choice whose strings are what the declaration takes."""
        return cls({value: value for value in values})

    @property
    def says(self) -> str:
        """The strings."""
        if self.words:
            return self.words
        names = [f'"{value}"' for value in self.values]
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"

    def read(self, value: Any, at: Place) -> Any:
        """See `Kind`."""
        if not isinstance(value, str):
            raise refuse(at, self.says, value)
        if value not in self.values:
            said = refuse(at, self.says, value, hidden=self.hidden)
            hint = "" if self.hidden else nearest(value, self.values)
            raise at.fault(f"This is {self.says}, not {shown(value)}. {hint}") if hint.startswith("Did") else said
        return self.values[value]

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        return {"enum": list(self.values)}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list, all of whose items are of one kind.

    Attributes:
        item: their kind.
        says: what it is.
        empty: whether it may have no items.
    """

    item: Kind
    says: str = "a list"
    empty: bool = False

    def read(self, value: Any, at: Place) -> list[Any]:
        """See `Kind`."""
        if not isinstance(value, list):
            raise refuse(at, self.says, value)
        if not value and not self.empty:
            raise at.fault(f"This is {self.says}, and this one is empty. Leave the key out, or put something into it.")
        items: list[Any] = []
        faults: list[ConfigError] = []
        for number, item in enumerate(value):
            try:
                items.append(self.item.read(item, at.at(number)))
            except ConfigError as error:
                faults += error.faults
        if faults:
            raise ConfigError.of(faults)
        return items

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        return {
            "type": "array",
            "items": self.item.schema(definitions),
            **({} if self.empty else {"minItems": 1}),
        }


@dataclass(frozen=True, slots=True)
class MapOf:
    """A table whose keys are the user's own.

    Attributes:
        value: the kind of its values.
        says: what it is.
        no_strings: keys, in lower case, whose values are not written as strings, and why not.
    """

    value: Kind
    says: str = "a table"
    no_strings: Mapping[str, str] = field(default_factory=dict)

    def read(self, value: Any, at: Place) -> dict[str, Any]:
        """See `Kind`."""
        if not isinstance(value, dict):
            raise refuse(at, self.says, value)
        for name, item in value.items():
            if isinstance(item, str) and name.lower() in self.no_strings:
                raise at.at(name).fault(self.no_strings[name.lower()])
        return {name: self.value.read(item, at.at(name)) for name, item in value.items()}

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        return {"type": "object", "additionalProperties": self.value.schema(definitions)}


@dataclass(frozen=True, slots=True)
class Either:
    """One of several kinds, which is told by what TOML calls the value.

    Attributes:
        kinds: for each of `str`, `int`, `bool`, `list` and `dict` the kind that reads it.
        says: what it is.
        hidden: whether errors do not repeat what else was written.
    """

    kinds: Mapping[type, Kind]
    says: str
    hidden: bool = False

    def read(self, value: Any, at: Place) -> Any:
        """See `Kind`."""
        kind = self.kinds.get(type(value))
        if kind is None:
            raise refuse(at, self.says, value, hidden=self.hidden)
        if isinstance(kind, Choice):
            # A string that is none of them may have been meant as any of the others.
            kind = replace(kind, words=self.says)
        return kind.read(value, at)

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        return {"anyOf": [kind.schema(definitions) for kind in self.kinds.values()]}


@dataclass(frozen=True, slots=True)
class Anything:
    """Whatever TOML can say: the declaration looks at it."""

    says: str = "a value"

    def read(self, value: Any, at: Place) -> Any:
        """See `Kind`."""
        return value

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        return {}


@dataclass(frozen=True, slots=True)
class Made:
    """A kind whose value is turned into something else.

    Attributes:
        kind: what is written.
        make: what the declaration takes, of what was read and its place.
    """

    kind: Kind
    make: Callable[[Any, Place], Any]

    @property
    def says(self) -> str:
        """What it is."""
        return self.kind.says

    def read(self, value: Any, at: Place) -> Any:
        """See `Kind`."""
        given = self.kind.read(value, at)
        try:
            return self.make(given, at)
        except ConfigError:
            raise
        except DeclarationError as error:
            raise at.translated(error) from error

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        return self.kind.schema(definitions)


@dataclass(frozen=True, slots=True)
class Named:
    """A kind that stands once in the schema, under a name.

    Attributes:
        name: the name.
        kind: the kind.
    """

    name: str
    kind: Kind

    @property
    def says(self) -> str:
        """What it is."""
        return self.kind.says

    def read(self, value: Any, at: Place) -> Any:
        """See `Kind`."""
        return self.kind.read(value, at)

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        if self.name not in definitions:
            definitions[self.name] = {}  # its own parts may name it
            definitions[self.name] = self.kind.schema(definitions)
        return {"$ref": f"#/definitions/{self.name}"}


def _within(value: float, least: int | None, most: int | None) -> bool:
    # Not the other way round: NaN is within nothing.
    return (least is None or value >= least) and (most is None or value <= most)


def _bounds(least: int | None, most: int | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f", {least} or more"
    return f", {most} at most" if most is not None else ""


def _limits(least: int | None, most: int | None) -> Schema:
    return {
        **({"minimum": least} if least is not None else {}),
        **({"maximum": most} if most is not None else {}),
    }
