"""How much one request may become, however many events it holds: it is written in one step that holds up Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .errors import BecomesTooMuch, TooManyItems
from .outbox.handover import Handover

MAX_JOBS: Final = 2_000
"""Jobs that the events of one request may become together. A thousand take Redis some 50 ms (measured)."""

MAX_HEADERS: Final = 8 * 1024 * 1024
"""Bytes of header and of CloudEvents' attributes that their jobs may carry together: senders make them long."""


def check_jobs(handovers: Sequence[Handover]) -> None:
    """Return if the events so far are not too many jobs.

    Raises:
        BecomesTooMuch: they are, or these would carry too much.
    """
    jobs = sum(len(handover.jobs) for handover in handovers)
    if jobs > MAX_JOBS:
        raise BecomesTooMuch(f"The body becomes more than {MAX_JOBS} jobs; send it in several requests.")
    carried = sum(len(handover.jobs) * _size(handover.context) for handover in handovers) if jobs > 1 else 0
    if carried > MAX_HEADERS:
        raise BecomesTooMuch("The header is too large for so many items; send them in several requests.")


def _size(context: Mapping[str, Any]) -> int:
    """Give how many characters of its sender's an event's context holds."""
    parts: list[Mapping[str, str]] = [context.get("headers", {}), context.get("cloudevent", {})]
    return sum(len(name) + len(value) for part in parts for name, value in part.items())


def check_rate(handovers: Sequence[Handover]) -> None:
    """Refuse what its rate would never take at once; being told to try again its sender would for ever.

    Raises:
        TooManyItems: there are more events than that.
    """
    counts = Counter(handover.rate_key for handover in handovers if handover.writes)
    rate = handovers[0].limits.rate if handovers else None
    if rate is not None and counts and max(counts.values()) > rate.burst:
        raise TooManyItems(rate.burst)
