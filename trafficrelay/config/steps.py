"""`transforms = [{ keep = ["id", "total"] }, "shop.hooks.push"]`: the ready steps by their names, and functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from ..transforms import STEPS
from ..transforms.step import OUTCOMES
from .functions import FUNCTION
from .kinds import Anything, Choice, Definitions, Either, Kind, ListOf, Made, Named, Schema
from .place import Place, nearest
from .secrets import SecretKeys
from .signatures import Parameter, parameters, summary, table_keys
from .tables import Key, Table

_SAYS: Final = 'a table such as { keep = ["id", "total"] }, or the dotted name of a function such as "shop.hooks.push"'


_OUTCOMES: Final = ("missing", "invalid")
_OUTCOME: Final = Choice.of(*OUTCOMES)
"""What all steps call what happens where they cannot apply, and what that may be."""

_OF_FILES: Final = frozenset({"validate"})
"""Steps that are given the name of a file where they are given a string."""


@dataclass(frozen=True, slots=True)
class _Step:
    """The kind of a table that says a ready step: under its name what it is to do, beside it its options."""

    says: str = _SAYS

    def read(self, value: Any, at: Place) -> Any:
        name = _name(value)
        if name is None:
            wrong = next(iter(value), "")
            raise at.fault(f"There is no step {wrong}. {nearest(wrong, STEPS)}" if wrong else f"This is {_SAYS}.")
        return _table(name).read(value, at)

    def schema(self, definitions: Definitions) -> Schema:
        return {"anyOf": [Named(f"step_{name}", _table(name)).schema(definitions) for name in STEPS]}


def _name(value: dict[str, Any]) -> str | None:
    """Tell which of the keys is the step: an option may be called as another step is."""
    steps = [name for name in value if name in STEPS]
    for name in steps:
        if value.keys() <= _table(name).keys.keys():
            return name
    return steps[0] if steps else None


def _table(name: str) -> Table:
    function = STEPS[name]
    given = parameters(function) or []
    main = next((parameter for parameter in given if parameter.positional and parameter.kind is not None), None)
    keys, secrets = table_keys([parameter for parameter in given if parameter is not main], function=False)
    keys |= {option: replace(key, kind=_OUTCOME) for option, key in keys.items() if option in _OUTCOMES}
    kind: Kind = Anything() if main is None or main.kind is None else main.kind
    if name in _OF_FILES:
        kind = Made(kind, _file)
    refused: dict[str, str] = {}
    for secret in secrets:
        refused |= {key: text for key, text in secret.refused.items() if key not in keys}
    return Table(
        {name: Key(kind, summary(function), needed=f"It has no {name}."), **keys},
        _Maker(name, function, given, secrets),
        _SAYS,
        refused=refused,
        choices=[secret.choice for secret in secrets if secret.needed],
    )


def _file(value: Any, at: Place) -> Any:
    return str(at.file(value)) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class _Maker:
    name: str
    function: Callable[..., Any]
    given: list[Parameter]
    secrets: list[SecretKeys]

    def __call__(self, options: dict[str, Any], at: Place) -> Any:
        value = options.pop(self.name)
        for secret in self.secrets:
            secret.take(options, at)
        return self.function(value, **options)


TRANSFORMS: Final = ListOf(
    Either({str: FUNCTION, dict: Named("step", _Step())}, _SAYS),
    'a list such as [{ keep = ["id", "total"] }, "shop.hooks.push"]',
    empty=True,
)
"""What `transforms` may be."""
