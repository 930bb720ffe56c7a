"""The job that runs a dead letter again: what `rq requeue` runs in a worker once the transform is mended."""

from __future__ import annotations

import importlib
from typing import Any

from rq import get_current_job

from .errors import DeadLetterError
from .event import FORMAT, Event
from .relay import Relay


def replay(letter: dict[str, Any]) -> list[str]:
    """Run a kept event through today's transform of its route.

    Args:
        letter: what the intake kept: `v`, the `module` that declares the transform, and the `event`.

    Returns:
        The ids of the jobs that it became.

    Raises:
        DeadLetterError: the letter is of an unknown format, or its relay is not found here.
        Exception: whatever the transform raises; the letter then fails again, with the new traceback.
    """
    if letter.get("v") != FORMAT:
        raise DeadLetterError(
            f"This dead letter has format {letter.get('v')!r}; this trafficrelay reads format {FORMAT}."
        )
    event = Event.from_dict(letter["event"])
    relay = _find_relay(letter["module"], event)
    job = get_current_job()
    if job is not None and not relay.bound:
        relay.bind(job.connection)
    return list(relay.replay(event).jobs)


def _find_relay(module: str, event: Event) -> Relay:
    try:
        namespace = vars(importlib.import_module(module))
    except ImportError as error:
        raise DeadLetterError(
            f"The module {module!r}, which declares the route {event.route}, cannot be imported here. Run the worker "
            "where it can."
        ) from error
    for value in namespace.values():
        if isinstance(value, Relay) and value.find(event.route, event.method) is not None:
            return value
    raise DeadLetterError(f"The module {module} has no relay with the route {event.method} {event.route} any more.")
