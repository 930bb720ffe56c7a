"""Ready transforms, each usable in a route's `transforms=[…]` and in relay.toml, alone and after one another.

    from trafficrelay import transforms as t

    transforms = [t.keep("id", "customer", "items"), t.redact("customer.email"), t.split("items"), my_function]

Each is compiled and checked once, when it is declared. `docs/steps.md` shows each with an example. `select`, `only_if`
and `drop_if` need jmespath, `validate` needs jsonschema-rs: `pip install 'trafficrelay[steps]'`. Neither is imported
until such a step is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from .casting import cast
from .chain import Chain
from .choosing import drop_if, only_if, select
from .expressions import condition
from .fields import hash_ as hash  # noqa: A004 - the step's name is what users write
from .fields import keep, omit, redact
from .placing import default, rename
from .placing import set_ as set  # noqa: A004 - the same
from .request import with_request
from .schema import validate
from .splitting import split
from .step import Step
from .typed import typed

STEPS: Final[Mapping[str, Callable[..., Step]]] = MappingProxyType(
    {
        "select": select,
        "keep": keep,
        "omit": omit,
        "rename": rename,
        "set": set,
        "default": default,
        "redact": redact,
        "hash": hash,
        "cast": cast,
        "only_if": only_if,
        "drop_if": drop_if,
        "split": split,
        "with_request": with_request,
        "validate": validate,
    }
)
"""The steps by the names that relay.toml has for them: `{ keep = ["a"], missing = "drop" }` is
`STEPS["keep"](["a"], missing="drop")`."""

__all__ = [
    "STEPS",
    "Chain",
    "Step",
    "cast",
    "condition",
    "default",
    "drop_if",
    "hash",
    "keep",
    "omit",
    "only_if",
    "redact",
    "rename",
    "select",
    "set",
    "split",
    "typed",
    "validate",
    "with_request",
]
