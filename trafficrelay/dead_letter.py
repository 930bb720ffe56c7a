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
        letter: what the intake kept: `v`, the `modules` that may declare the relay, and the `event`.

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
    relay = _find_relay(letter["modules"], event)
    job = get_current_job()
    if job is not None and not relay.bound:
        relay.bind(job.connection)
    return list(relay.replay(event).jobs)


def _find_relay(modules: list[str], event: Event) -> Relay:
    missing: ImportError | None = None
    for module in filter(None, modules):
        try:
            namespace = vars(importlib.import_module(module))
        except ImportError as error:
            missing = missing or error
            continue
        for value in namespace.values():
            if isinstance(value, Relay) and value.find(event.route, event.method) is not None:
                return value
    places = " and ".join(filter(None, modules))
    if missing is not None:
        raise DeadLetterError(
            f"The relay of the route {event.method} {event.route} is in {places}, which cannot be imported here: "
            f"{missing}. Run the worker where it can."
        ) from missing
    raise DeadLetterError(
        f"{places or 'Its module'} has no relay with the route {event.method} {event.route} any more."
    )
