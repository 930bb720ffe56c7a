"""Tables: which keys there are, which must be, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import ConfigError, DeclarationError
from .kinds import Definitions, Kind, Schema, refuse
from .place import Place, nearest


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table.

    Attributes:
        kind: what its value may be.
        about: what it is for, as editors and the documentation show it.
        default: what counts where it is left out, for editors; `None` says nothing.
        needed: where it must not be left out, what its absence is told with.
        instead_of: what people call it elsewhere.
    """

    kind: Kind
    about: str
    default: Any = None
    needed: str = ""
    instead_of: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table with keys that are known, and what is made of them.

    Attributes:
        keys: the keys.
        make: makes what the declaration takes, of what was read and the table's place. What it raises as a
            DeclarationError is told as a fault of the table, or of the key that it names.
        says: what the table is.
        refused: keys that are not there for a reason, and the reason.
        choices: lists of keys; of each list at least one must be there.
    """

    keys: Mapping[str, Key]
    make: Callable[[dict[str, Any], Place], Any]
    says: str = "a table"
    refused: Mapping[str, str] = field(default_factory=dict)
    choices: Sequence[tuple[Sequence[str], str]] = ()

    def read(self, value: Any, at: Place) -> Any:
        """See `Kind`."""
        if not isinstance(value, dict):
            # Not the value: it may be what is refused in the table.
            raise refuse(at, self.says, value, hidden=True)
        faults = [at.at(name).fault(self._unknown(name)) for name in value if name not in self.keys]
        options: dict[str, Any] = {}
        for name, key in self.keys.items():
            if name not in value:
                if key.needed:
                    faults.append(at.fault(key.needed))
                continue
            try:
                options[name] = key.kind.read(value[name], at.at(name))
            except ConfigError as error:
                faults += error.faults
        if not faults:
            faults += [at.fault(text) for names, text in self.choices if not any(name in value for name in names)]
        if faults:
            raise ConfigError.of(faults)
        try:
            return self.make(options, at)
        except ConfigError:
            raise
        except DeclarationError as error:
            raise at.translated(error, known=self.keys) from error

    def schema(self, definitions: Definitions) -> Schema:
        """See `Kind`."""
        needed = [name for name, key in self.keys.items() if key.needed]
        choices = [{"anyOf": [{"required": [name]} for name in names]} for names, _ in self.choices]
        return {
            "type": "object",
            "properties": {name: described(key, definitions) for name, key in self.keys.items()},
            "additionalProperties": False,
            **({"required": needed} if needed else {}),
            **({"allOf": choices} if choices else {}),
        }

    def _unknown(self, name: str) -> str:
        if name in self.refused:
            return self.refused[name]
        for known, key in self.keys.items():
            if name in key.instead_of:
                return f"There is no such key. Did you mean {known}?"
        return f"There is no such key. {nearest(name, self.keys)}"


def with_defaults(keys: Mapping[str, Key], declared: type[Any]) -> dict[str, Key]:
    """Give keys with what counts where they are left out: a dataclass's defaults, as far as a file can say them."""
    defaults = {entry.name: entry.default for entry in fields(declared)}
    found = {}
    for name, key in keys.items():
        default = defaults.get(name)
        default = list(default) if isinstance(default, tuple) else default
        sayable = default is not None and default not in ("", []) and isinstance(default, str | int | float | list)
        found[name] = replace(key, default=default) if sayable and not key.needed else key
    return found


def described(key: Key, definitions: Definitions) -> Schema:
    """Give the schema of a key's value with what it is for."""
    schema = key.kind.schema(definitions)
    if "$ref" in schema:
        # Beside $ref nothing counts (draft-07, "Schema References With "$ref"").
        schema = {"allOf": [schema]}
    return {"description": key.about, **schema, **({} if key.default is None else {"default": key.default})}
