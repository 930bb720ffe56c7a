"""`module:relay` -> Relay, as gunicorn and flask read such a target; and `relay.toml` -> Relay."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from ..config.finding import CONFIG_VARIABLE, put_on_path
from ..errors import TargetError
from ..failures import place
from ..relay import Relay

_CONFIGURED: Final = "trafficrelay.configured"
"""The module of relays from files: that is where workers find them again."""


def load_target(target: str) -> Relay:
    """Import the module of `module:relay` and give back its relay, or read that of a file such as `relay.toml`.

    The working directory is put on the path, and the file's folder too. Such a file is what `TRAFFICRELAY_CONFIG` then
    names in this process and those that it starts, so that workers find the relay in `trafficrelay.configured`.

    Raises:
        TargetError: there is no such file, module or relay in it, it cannot be imported, or the relay has no routes.
        ConfigError: the file says what cannot be.
    """
    if target.endswith(".toml"):
        return _read(target)
    module_name, colon, attribute = target.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        likely = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise TargetError(
            f"{target!r} names a file; write its module, such as {likely}:{attribute or 'relay'}.", target=target
        )
    if not colon or not module_name or not attribute:
        raise TargetError(
            f"{target!r} does not say where the relay is; write module:name, such as shop.hooks:relay.", target=target
        )
    module = _import(module_name, target)
    found: object = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise TargetError(_missing(module, attribute), target=target) from None
    if not isinstance(found, Relay):
        raise TargetError(f"{target} is no Relay; its type is {type(found).__name__}.", target=target)
    if not found.routes:
        raise TargetError(f"{target} has no routes; declare one with @{attribute}.route(...).", target=target)
    return found


def _read(target: str) -> Relay:
    file = Path(target).expanduser().absolute()
    if not file.is_file():
        raise TargetError(
            f"There is no file {target!r} here; run this where it lies ({Path.cwd()} now), or say its whole path.",
            target=target,
        )
    os.environ[CONFIG_VARIABLE] = str(file)
    put_on_path(file)
    # Read anew each time, as it is now: what was loaded before is in use, or of another file.
    sys.modules.pop(_CONFIGURED, None)
    found: Relay = importlib.import_module(_CONFIGURED).relay
    return found


def load_bound(target: str, url: str | None) -> Relay:
    """Load a target and bind its relay as every server process does.

    Args:
        target: `module:relay`, or a file such as `relay.toml`.
        url: the Redis URL that the relay is bound to; `None` leaves it with what it is declared with.

    Raises:
        TargetError, ConfigError: as `load_target`.
        DeclarationError: the relay cannot be bound.
    """
    relay = load_target(target)
    if url is not None:
        relay.bind(url)
    return relay


def _import(name: str, target: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only where the target itself is what was not found; what it imports may be missing just as well.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(
                f"There is no module {error.name!r} here; run this where it lies ({here} now) or install it.",
                target=target,
            ) from None
        raise TargetError(_failed(name, error), target=target) from error
    except (Exception, SystemExit) as error:
        # A program that was named by mistake, or does not find its settings, may well exit.
        raise TargetError(_failed(name, error), target=target) from error


def _failed(name: str, error: BaseException) -> str:
    """Say where in the user's own code the import failed: the last line of it, without a page of traceback."""
    return f"{name} cannot be imported: {type(error).__name__}: {error} ({place(error)})"


def _missing(module: ModuleType, attribute: str) -> str:
    relays = sorted(name for name, value in vars(module).items() if isinstance(value, Relay))
    if relays:
        named = " and ".join(f"{module.__name__}:{name}" for name in relays)
        return f"{module.__name__} has no {attribute!r}; the relays that it has: {named}."
    return f"{module.__name__} has no {attribute!r}, and no other Relay either."
