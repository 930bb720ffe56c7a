"""Importing jobs as a worker would, to say beforehand what would fail there."""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path
from typing import Final

from .checkup import Finding
from .failures import BUGS, place
from .relay import Relay

_MOST_PLACES: Final = 3


def of_jobs(relay: Relay) -> list[Finding]:
    """Say which of the jobs that a relay's routes name cannot be imported here."""
    rules: dict[str, str] = {}
    for route in relay.routes:
        for target in route.targets:
            if isinstance(target.job_of, str) and not target.destinations:
                rules.setdefault(target.job_of, route.rule)
    return [
        Finding("fault", rule, f"Its job {job} would fail: {fault}")
        for job, rule in rules.items()
        if (fault := fault_of(job))
    ]


def fault_of(job: str) -> str:
    """Say why a worker could not import a job, and where it was looked for; `""` if it could.

    It goes about it as RQ does (`rq.utils.import_attribute`): the longest beginning of the name that is a module,
    and then one attribute, or a method of a class. Importing runs the modules.

    Args:
        job: the job's dotted name.
    """
    parts = job.split(".")
    failure: ImportError | None = None
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            if not _is_missing(name, error):
                return _failed(name, error)
            failure = failure or error
            continue
        except BUGS as error:
            return _failed(name, error)
        return _fault_in(module, parts[length:], failure)
    return f"There is no module {parts[0]} in {_places(sys.path)}."


def _is_missing(name: str, error: ImportError) -> bool:
    """Whether the module itself, or a package that it would lie in, is what was not found."""
    return isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")


def _failed(name: str, error: BaseException) -> str:
    where = place(error)
    return f"{name} cannot be imported: {type(error).__name__}: {error}{f' ({where})' if where else ''}."


def _fault_in(module: object, attributes: list[str], failure: ImportError | None) -> str:
    name = getattr(module, "__name__", "")
    file = getattr(module, "__file__", None) or name
    found = module
    for attribute in attributes:
        if not hasattr(found, attribute):
            if failure is not None and found is module:
                paths = list(getattr(module, "__path__", ()))
                looked = f"in {_places(paths)}" if paths else f"in {name}, which is no package ({file})"
                return f"There is no module {name}.{attribute} {looked}."
            near = difflib.get_close_matches(attribute, vars(found) if hasattr(found, "__dict__") else (), n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            return f"{file} has no {attribute}.{hint}"
        found = getattr(found, attribute)
    if callable(found):
        return ""
    return f"{'.'.join((name, *attributes))} is no function; its type is {type(found).__name__}."


def _places(paths: list[str]) -> str:
    shown = [str(Path(path or ".").absolute()) for path in paths]
    more = len(shown) - _MOST_PLACES
    return ", ".join(shown[:_MOST_PLACES]) + (f" and {more} more places of sys.path" if more > 0 else "")
