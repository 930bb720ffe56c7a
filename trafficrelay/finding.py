"""Finding the relay that a job of ours names: in a worker, which knows no more of it than a module and a route."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from .errors import DeadLetterError
from .relay import Relay


def find_relay(modules: Iterable[str], rule: str, method: str) -> Relay:
    """Give the relay that declares a route.

    Args:
        modules: the names of the modules that may declare it.
        rule: the route's rule.
        method: one of its methods.

    Raises:
        DeadLetterError: there is none, or a module cannot be imported here.
    """
    names = list(modules)
    missing: ImportError | None = None
    for module in names:
        try:
            namespace = vars(importlib.import_module(module))
        except ImportError as error:
            missing = missing or error
            continue
        for value in namespace.values():
            if isinstance(value, Relay) and value.find(rule, method) is not None:
                return value
    places = " and ".join(names)
    if missing is not None:
        raise DeadLetterError(
            f"The relay of the route {method} {rule} is in {places}, which cannot be imported here: "
            f"{missing}. Run the worker where it can."
        ) from missing
    raise DeadLetterError(f"{places or 'Its module'} has no relay with the route {method} {rule} any more.")
