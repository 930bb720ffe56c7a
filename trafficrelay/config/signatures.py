"""A function's parameters as the keys of a table: so that whatever is added to verifiers and steps can be said."""

from __future__ import annotations

import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, Union

from ..event import Event
from ..verify.schemes import Secret
from .functions import SECRET_FUNCTION
from .kinds import Anything, Choice, Either, Flag, Kind, ListOf, Made, MapOf, Number, Text, Whole
from .secrets import SecretKeys
from .simple import OrFunction
from .tables import Key

Function: TypeAlias = Callable[..., Any]

_ARGUMENT: Final = re.compile(r"(\w+): (.*)")
_SIMPLE: Final[Mapping[Any, Kind]] = {
    str: Text(),
    int: Whole(),
    float: Number(),
    bool: Flag(),
    Any: Anything(),
    object: Anything(),
    Path: Made(Text('the name of a file, such as "order.schema.json"'), lambda name, at: at.source.folder / name),
}
"""What the annotation of a parameter says of its value."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function, as a table says it.

    Attributes:
        name: its name; `with` where Python needs `with_`.
        kind: what it may be; `None` for a secret.
        rotates: whether a secret may be several.
        chosen: whether a function of the event may give it.
        needed: whether it has no default.
        about: what the function's docstring says of it.
        positional: whether it may be given without its name.
        several: whether it takes any number of arguments.
        default: its default, where a file can say it.
    """

    name: str
    kind: Kind | None
    needed: bool
    about: str
    positional: bool
    several: bool = False
    rotates: bool = False
    chosen: bool = False
    default: Any = None

    def key(self, *, function: bool = False) -> Key:
        """Give the parameter as a key, which it is unless it is a secret; `function` where there are events."""
        assert self.kind is not None  # noqa: S101 - who calls it has looked
        needed = f"{self.name} is missing." if self.needed else ""
        kind = OrFunction(self.kind) if function and self.chosen else self.kind
        return Key(kind, self.about, default=self.default, needed=needed)


_SEVERAL: Final = Either({str: Text(), list: ListOf(Anything())}, "a string, or a list of these")


def parameters(function: Function) -> list[Parameter] | None:
    """Give what a function takes, or an object that is called; `None` if it needs what a file cannot say."""
    written = function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
    hints = _hints(written)
    abouts = _abouts(inspect.getdoc(written) or "")
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        hint = hints.get(name, Any)
        rotates = is_secret(hint)
        secret = rotates or (name == "key" and parameter.kind is parameter.KEYWORD_ONLY)
        several = parameter.kind is parameter.VAR_POSITIONAL
        kind = None if secret else _SEVERAL if several else kind_of_hint(hint)
        needed = parameter.default is parameter.empty and not several
        if kind is None and not secret:
            if needed:
                return None
            continue
        found.append(
            Parameter(
                name.removesuffix("_"),
                kind,
                needed,
                abouts.get(name, f"The {name.replace('_', ' ').strip()}."),
                parameter.kind is not parameter.KEYWORD_ONLY,
                several,
                rotates,
                _of_event(hint),
                parameter.default if type(parameter.default) in (str, int, float, bool) else None,
            )
        )
    return found


def table_keys(given: Iterable[Parameter], *, function: bool) -> tuple[dict[str, Key], list[SecretKeys]]:
    """Give the keys of a table that says parameters, and those of them that are secrets.

    Args:
        given: the parameters.
        function: whether a secret may be a function of the event.
    """
    keys: dict[str, Key] = {}
    secrets = []
    for parameter in given:
        if parameter.kind is None:
            secret = SecretKeys(
                parameter.name, SECRET_FUNCTION if function else None, parameter.needed, parameter.rotates
            )
            secrets.append(secret)
            keys |= secret.keys
        else:
            keys[parameter.name] = parameter.key(function=function)
    return keys, secrets


def call(function: Function, given: Sequence[Parameter], options: dict[str, Any]) -> Any:
    """Call a function with what a table said."""
    arguments: list[Any] = []
    for parameter in given:
        if parameter.name in options and parameter.several:
            arguments += options.pop(parameter.name)
    return function(*arguments, **options)


def summary(function: Function) -> str:
    """Give the first sentence of a function's docstring, without the example in Python."""
    text = (inspect.getdoc(function) or "").partition("\n")[0].partition(": `")[0]
    return text if text.endswith(".") else f"{text}."


def is_secret(hint: Any) -> bool:
    """Say whether an annotation is that of secrets, or of one that may be left out."""
    return hint == Secret or _without_none(hint) == _without_none(Secret)


def kind_of_hint(hint: Any) -> Kind | None:
    """Give the kind of what an annotation says; `None` where a file cannot say it."""
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal and all(isinstance(value, str) for value in arguments):
        return Choice.of(*arguments)
    if origin in (list, tuple, Sequence, Iterable, set, frozenset):
        item = kind_of_hint(arguments[0]) if arguments else Anything()
        return ListOf(item) if item is not None else None
    if origin in (dict, Mapping):
        value = kind_of_hint(arguments[1]) if arguments else Anything()
        return MapOf(value) if value is not None else None
    if origin in (Union, types.UnionType):
        kinds = {one: kind_of_hint(one) for one in arguments if one is not type(None)}
        sayable = [kind for kind in kinds.values() if kind is not None]
        # What is one of several kinds is looked at by the function itself.
        return sayable[0] if len(sayable) == 1 else Anything() if sayable else None
    return None


def _of_event(hint: Any) -> bool:
    """Say whether an annotation is that of a value in whose place there may be a function of the event."""
    functions = [one for one in typing.get_args(hint) if typing.get_origin(one) is collections.abc.Callable]
    return any(typing.get_args(one)[:1] == ([Event],) for one in functions)


def _without_none(hint: Any) -> frozenset[Any]:
    return frozenset(typing.get_args(hint) or [hint]) - {type(None)}


def _hints(function: Function) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError:
        # A type that is imported for type checkers alone.
        return {}


def _abouts(doc: str) -> dict[str, str]:
    """Read what a docstring of Google's style says of the arguments."""
    found: dict[str, str] = {}
    name = ""
    for line in doc.partition("Args:\n")[2].splitlines():
        if not line.startswith("    "):
            break
        if line.startswith("     "):
            found[name] = f"{found.get(name, '')} {line.strip()}"
        elif match := _ARGUMENT.match(line.strip()):
            name = match[1]
            found[name] = match[2]
    return {name: f"{text[0].upper()}{text[1:]}" for name, text in found.items() if text}
