"""Functions that a configuration names: imported when it is loaded."""

from __future__ import annotations

import difflib
import importlib
from types import ModuleType
from typing import Any, Final

from ..errors import ConfigError
from ..failures import place
from .kinds import Made, Text
from .place import Place
from .tables import Key, Table

DOTTED: Final = r"[^\s.:/\\]+(\.[^\s.:/\\]+)+"
"""How a dotted name looks, roughly; what imports it knows it exactly."""

_SAYS: Final = 'the dotted name of a function, such as "shop.hooks.push"'


def imported(name: str, at: Place, *, callable_: bool = True) -> Any:
    """Import a function by its dotted name.

    Args:
        name: the name.
        at: where it stands.
        callable_: whether it has to be a function.

    Raises:
        ConfigError: its module cannot be imported, or has no such function.
    """
    module_name, _, attribute = name.rpartition(".")
    inner: list[str] = [attribute]
    module = _module(module_name, at)
    while module is None and "." in module_name:
        # A method, perhaps: `shop.hooks.Shop.push`.
        module_name, _, attribute = module_name.rpartition(".")
        inner.insert(0, attribute)
        module = _module(module_name, at)
    if module is None:
        raise at.fault(f"There is no module {name.rpartition('.')[0]} here; run this where it lies, or install it.")
    found: Any = module
    for step in inner:
        try:
            found = getattr(found, step)
        except AttributeError:
            raise at.fault(_missing(module, ".".join(inner))) from None
    if callable_ and not callable(found):
        raise at.fault(f"{name} is no function; its type is {type(found).__name__}.")
    return found


def _module(name: str, at: Place) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise _failed(name, error, at) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error, at) from error


def _failed(name: str, error: BaseException, at: Place) -> ConfigError:
    return at.fault(f"{name} cannot be imported: {type(error).__name__}: {error} ({place(error)})")


def _missing(module: ModuleType, name: str) -> str:
    own = [
        known
        for known, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__
    ]
    near = difflib.get_close_matches(name, own, n=1)
    hint = f"Did you mean {module.__name__}.{near[0]}?" if near else ""
    return f"{module.__name__} has no {name}. {hint}".strip()


FUNCTION: Final = Made(Text(_SAYS, DOTTED), imported)
"""A dotted name that is read as the function itself."""

SECRET_FUNCTION: Final = Made(Text(_SAYS, DOTTED, hidden=True), imported)
"""The same where somebody may write a secret by mistake."""


def is_function_table(value: Any) -> bool:
    """Say whether a table names a function in place of saying something else."""
    return isinstance(value, dict) and "function" in value


FUNCTION_TABLE: Final = Table(
    {"function": Key(FUNCTION, "The dotted name of a function of the event.", needed="It has no function.")},
    lambda options, _: options["function"],
    'a table such as { function = "shop.hooks.choose" }',
)
"""`{ function = "…" }`: a function of the event in place of a value."""
