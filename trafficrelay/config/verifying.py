"""`verify = { provider = "github", secret_env = "GITHUB_SECRET" }`: who may send, and how deliveries are signed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .. import verify
from .functions import FUNCTION_TABLE, is_function_table
from .kinds import Choice, Definitions, Kind, Named, Schema, refuse
from .place import Place, nearest
from .secrets import SecretKeys
from .signatures import Parameter, call, parameters, summary, table_keys
from .tables import Key, Table

PROVIDERS: Final[Mapping[str, Callable[..., Any]]] = {
    name: function
    for name in verify.__all__
    if inspect.isfunction(function := getattr(verify, name)) and parameters(function) is not None
}
"""The functions of `trafficrelay.verify` that a file can call, by their names."""

_SAYS: Final = 'a table such as { provider = "github", secret_env = "GITHUB_SECRET" }'
_WHO: Final = f'"none" for a route that is open to everybody, or {_SAYS}'


@dataclass(frozen=True, slots=True)
class Verifying:
    """The kind of a table that names a provider and its options.

    Attributes:
        signs: whether it is to sign deliveries: a secret then is no function of an event.
    """

    signs: bool = False

    @property
    def says(self) -> str:
        """What it is."""
        return _SAYS

    def read(self, value: Any, at: Place) -> Any:
        """See `kinds.Kind`."""
        if not isinstance(value, dict):
            # Not the value: somebody may have written the secret here.
            raise refuse(at, self.says, value, hidden=True)
        if is_function_table(value) and not self.signs:
            return FUNCTION_TABLE.read(value, at)
        name = value.get("provider")
        if name is None:
            raise at.fault(f'It has no provider. Say one of {", ".join(PROVIDERS)}, such as provider = "github".')
        if not isinstance(name, str) or name not in PROVIDERS:
            said = nearest(name, PROVIDERS) if isinstance(name, str) else f"There are {', '.join(PROVIDERS)}."
            raise at.at("provider").fault(f"There is no such provider. {said}")
        return _table(name, self.signs).read(value, at)

    def schema(self, definitions: Definitions) -> Schema:
        """See `kinds.Kind`."""
        tables: list[Kind] = [Named(_definition(name, self.signs), _table(name, self.signs)) for name in PROVIDERS]
        if not self.signs:
            tables.append(Named("function", FUNCTION_TABLE))
        return {"anyOf": [table.schema(definitions) for table in tables]}


@dataclass(frozen=True, slots=True)
class _Verify:
    """`"none"`, or a table."""

    table: Kind

    @property
    def says(self) -> str:
        return _WHO

    def read(self, value: Any, at: Place) -> Any:
        if value == "none":
            return None
        if not isinstance(value, dict):
            raise refuse(at, self.says, value, hidden=True)
        return self.table.read(value, at)

    def schema(self, definitions: Definitions) -> Schema:
        return {"anyOf": [{"enum": ["none"]}, self.table.schema(definitions)]}


VERIFY: Final = _Verify(Named("verify", Verifying()))
SIGN: Final = Named("sign", Verifying(signs=True))


def _definition(name: str, signs: bool) -> str:
    return f"{name}_to_sign" if signs else name


def _table(name: str, signs: bool) -> Table:
    function = PROVIDERS[name]
    given = parameters(function) or []
    keys, secrets = table_keys(given, function=not signs)
    refused: dict[str, str] = {}
    for secret in secrets:
        refused |= {key: text for key, text in secret.refused.items() if key not in keys}
    return Table(
        {"provider": Key(Choice.of(name), summary(function), needed="It has no provider."), **keys},
        _Maker(function, given, secrets),
        _SAYS,
        refused=refused,
        choices=[secret.choice for secret in secrets if secret.needed],
    )


@dataclass(frozen=True, slots=True)
class _Maker:
    function: Callable[..., Any]
    given: list[Parameter]
    secrets: list[SecretKeys]

    def __call__(self, options: dict[str, Any], at: Place) -> Any:
        options.pop("provider")
        for secret in self.secrets:
            secret.take(options, at)
        return call(self.function, self.given, options)
