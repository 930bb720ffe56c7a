"""`verify = { provider = "github", secret_env = "GITHUB_SECRET" }`: who may send, and how deliveries are signed."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from .. import verify
from .functions import FUNCTION_TABLE, is_function_table
from .kinds import Choice, Definitions, Kind, Named, Schema, refuse
from .place import Place, toml_words
from .secrets import SecretKeys, refusals
from .signatures import Parameter, call, parameters, summary, table_keys
from .tables import Key, Table

Maker: TypeAlias = Callable[..., Any]


def _kind(provider: Maker) -> Any:
    """Give what providers have in common that take the same: a row's class; a function is a kind of its own."""
    return type(provider) if isinstance(provider, verify.Provider) else provider


def _sayable() -> dict[str, Maker]:
    found: dict[str, Maker] = {
        name: cast("Maker", value)
        for name, value in sorted({**vars(verify), **verify.CATALOGUE}.items())
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, verify.Provider))
    }
    # One of each kind is looked at: to read the signatures of all would take longer than to read most files.
    kinds = {_kind(provider): provider for provider in found.values()}
    unsayable = {kind for kind, provider in kinds.items() if parameters(provider) is None}
    return {name: provider for name, provider in found.items() if _kind(provider) not in unsayable}


PROVIDERS: Final[Mapping[str, Maker]] = _sayable()
"""What of `trafficrelay.verify` a file can call, by its name: rows of the catalogue, and functions."""

_SAYS: Final = 'a table such as { provider = "github", secret_env = "GITHUB_SECRET" }'
_WHO: Final = f'"none" for a route that is open to everybody, or {_SAYS}'
_WHO_SENDS: Final = "Who sends, or in whose way it is signed."
_NO_PROVIDER: Final = 'It has no provider. Say which, such as provider = "github": docs/providers.md lists them all.'


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
            raise at.fault(_NO_PROVIDER)
        if not isinstance(name, str) or name not in PROVIDERS:
            raise at.at("provider").fault(f"There is no such provider. {_nearest(name)}")
        return _table(name, self.signs).read(value, at)

    def schema(self, definitions: Definitions) -> Schema:
        """See `kinds.Kind`."""
        tables = schema_of_tables(definitions, signs=self.signs)
        return tables if self.signs else {"anyOf": [tables, _FUNCTION.schema(definitions)]}


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


_FUNCTION: Final = Named("function", FUNCTION_TABLE)
VERIFY: Final = _Verify(Named("verify", Verifying()))
SIGN: Final = Named("sign", Verifying(signs=True))


def _nearest(name: Any) -> str:
    """Say which provider was probably meant, by its name or by what it calls itself: of so many a list is no help."""
    names = {_title(one).lower(): one for one in PROVIDERS} | {one: one for one in PROVIDERS}
    near = difflib.get_close_matches(name.lower(), names, n=1) if isinstance(name, str) else []
    if near:
        return f"Did you mean {names[near[0]]}?"
    return "docs/providers.md lists those that there are; of others most can be said as hmac_signature."


def _title(name: str) -> str:
    provider = PROVIDERS[name]
    return provider.title if isinstance(provider, verify.Provider) else name


def _table(name: str, signs: bool) -> Table:
    provider = PROVIDERS[name]
    given = parameters(provider) or []
    keys, secrets = table_keys(given, function=not signs)
    refused = {key: text for key, text in refusals(secrets).items() if key not in keys}
    return Table(
        {"provider": Key(Choice.of(name), _WHO_SENDS, needed=_NO_PROVIDER), **keys},
        _Maker(provider, given, secrets),
        _SAYS,
        refused=refused,
        choices=[_missing(provider, secret) for secret in secrets if secret.needed],
    )


def _missing(provider: Maker, secret: SecretKeys) -> tuple[list[str], str]:
    names, text = secret.choice
    return names, f"{text} It is {_sentence(provider.needs)}" if isinstance(provider, verify.Provider) else text


@dataclass(frozen=True, slots=True)
class _Maker:
    provider: Maker
    given: list[Parameter]
    secrets: list[SecretKeys]

    def __call__(self, options: dict[str, Any], at: Place) -> Any:
        options.pop("provider")
        for secret in self.secrets:
            secret.take(options, at)
        return call(self.provider, self.given, options)


def schema_of_tables(definitions: Definitions, *, signs: bool) -> Schema:
    """Give the schema of all tables that name a provider, in which what a kind of provider takes is said once.

    Editors complete what stands under `properties`: each provider with words of its own, and each key once. Which keys
    a provider takes stands under `dependencies`, where they check, and look for nothing to complete. Of a table for
    each provider, as alternatives, they would offer each key as often as there are providers.

    Args:
        definitions: where parts go that are needed in several places.
        signs: see `Verifying`.
    """
    kinds: dict[Any, list[str]] = {}
    for name, provider in PROVIDERS.items():
        kinds.setdefault(_kind(provider), []).append(name)
    tables = [(names, _table(names[0], signs).schema(definitions)) for names in kinds.values()]
    keys: dict[str, list[Schema]] = {}
    for _, table in tables:
        for key, said in table["properties"].items():
            known = keys.setdefault(key, [])
            known += [] if _bare(said) in map(_bare, known) else [said]
    # The description is for those who read the file: beside $ref nothing counts, and taplo shows the definition's.
    keys["provider"] = [{"description": _WHO_SENDS, **Named("provider", _NAMES).schema(definitions)}]
    return {
        "type": "object",
        "properties": {key: _any_of(schemas) for key, schemas in keys.items()},
        "additionalProperties": False,
        "required": ["provider"],
        "dependencies": {"provider": {"allOf": [_when(names, table, keys) for names, table in tables]}},
    }


def _when(names: list[str], table: Schema, keys: Mapping[str, list[Schema]]) -> Schema:
    """Give what is asked of a table if it names one of these providers."""
    own = {key: said for key, said in table["properties"].items() if len(keys[key]) > 1}
    then = {"propertyNames": {"enum": list(table["properties"])}, "required": table["required"]}
    return {
        "if": {"properties": {"provider": {"description": _WHO_SENDS, "enum": names}}},
        "then": then | ({"properties": own} if own else {}) | {key: table[key] for key in ("allOf",) if key in table},
    }


def _any_of(schemas: list[Schema]) -> Schema:
    """Give what kinds of providers say of one key, in the words of the first."""
    if len(schemas) == 1:
        return schemas[0]
    return {"description": schemas[0]["description"], "anyOf": [_bare(schema) for schema in schemas]}


def _bare(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "description"}


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of all providers. What is said of each stands in `x-taplo`, where taplo looks for it."""

    says: str = "the name of a provider"

    def read(self, value: Any, at: Place) -> Any:
        return value

    def schema(self, definitions: Definitions) -> Schema:
        abouts = [_about(provider) for provider in PROVIDERS.values()]
        docs = {"docs": {"enumValues": abouts}}
        return {"description": _WHO_SENDS, "type": "string", "enum": list(PROVIDERS), "x-taplo": docs}


_NAMES: Final = _Names()


def _about(provider: Maker) -> str:
    if not isinstance(provider, verify.Provider):
        return summary(provider)
    text = f"**{provider.title}** ([how it signs]({provider.docs})). Secret: {_sentence(provider.needs)}"
    return f"{text} {_sentence(provider.note)}".strip()


def _sentence(text: str) -> str:
    """Give what a row says, which is written for those who write Python."""
    return toml_words(text if not text or text.endswith(".") else f"{text}.")
