"""The jobs that run dead letters again: what `rq requeue` runs in a worker, and `trafficrelay replay` by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from rq import get_current_job

from .errors import DeadLetterError
from .event import FORMAT, Event
from .finding import find_relay
from .intake import Intake
from .outbox.handover import REPLAY_MARK_TTL, Outbox, Receipt
from .outbox.rq import RQOutbox
from .outbox.stored import FORMAT as STORED_FORMAT
from .outbox.stored import from_dict
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
    event, modules = read_event(letter)
    relay = find_relay(modules, event.route, event.method)
    if relay.bound and relay.source is None:
        return list(relay.replay(event).jobs)  # to an outbox of its own
    with _outbox(relay) as outbox:
        return list(run_event(relay, event, outbox).jobs)


def hand_over(letter: dict[str, Any]) -> list[str]:
    """Hand over an event that was ready to be and was not, because Redis might have had it before.

    Whoever requeues it says that it has not run. Those of its jobs that are still there are not written again.

    Args:
        letter: `v`, and the `handover` as `outbox.stored` wrote it.

    Returns:
        The ids of its jobs.

    Raises:
        DeadLetterError: the letter is of an unknown format, or it is not run by a worker.
        OutboxError: Redis does not take it; the letter then fails again.
    """
    with _outbox() as outbox:
        return list(run_handover(letter, outbox).jobs)


def run_event(relay: Relay, event: Event, outbox: Outbox, *, settles: str = "") -> Receipt:
    """Run a kept event through today's transform, and hand its jobs over to an outbox that is not the relay's own.

    That one spools what it cannot hand over. A letter is kept already, and the spool is of the processes that serve.

    Args:
        relay: its relay.
        event: the event.
        outbox: where its jobs go.
        settles: the id of the dead letter's job, which goes in the same step.

    Raises:
        DeadLetterError: the relay has no such route.
        Exception: whatever the transform raises.
        OutboxError: the outbox did not take it.
    """
    route = relay.find(event.route, event.method)
    if route is None:
        raise DeadLetterError(f"This relay has no route {event.method} {event.route}.")
    return Intake(outbox).replay(route, event, settles=settles)


def run_handover(letter: Mapping[str, Any], outbox: Outbox, *, settles: str = "") -> Receipt:
    """Hand over what `hand_over` is given; the event's own mark says that it became a letter, so that is passed by.

    Raises:
        DeadLetterError: the letter cannot be read.
        OutboxError: the outbox did not take it.
    """
    _check_format(letter, STORED_FORMAT)
    stored = from_dict(letter.get("handover") or {})
    return outbox.accept(
        replace(stored, dedupe=None, dedupe_window=0, mark_ttl=REPLAY_MARK_TTL, replay=True, settles=settles)
    )


def read_event(letter: Mapping[str, Any]) -> tuple[Event, list[str]]:
    """Give a kept event, and the modules that may declare its relay.

    Raises:
        DeadLetterError: it cannot be read.
    """
    _check_format(letter, FORMAT)
    try:
        return Event.from_dict(letter["event"]), [name for name in letter["modules"] if name]
    except (AttributeError, KeyError, TypeError) as error:
        raise DeadLetterError("This dead letter was not stored whole and cannot be read.") from error


def _check_format(letter: Any, known: int) -> None:
    version = letter.get("v") if isinstance(letter, Mapping) else None
    if version != known:
        raise DeadLetterError(f"This dead letter has format {version!r}; this trafficrelay reads format {known}.")


@contextmanager
def _outbox(relay: Relay | None = None) -> Iterator[Outbox]:
    """Open an outbox on the relay's Redis, or the worker's where that has none, and close its connections."""
    job = get_current_job()
    if job is None:
        raise DeadLetterError("A dead letter is run by a worker: requeue it, or use `trafficrelay replay`.")
    source = relay.source if relay is not None and relay.source is not None else job.connection
    with closing(RQOutbox(source, serializer=job.serializer)) as outbox:
        yield outbox
