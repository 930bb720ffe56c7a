"""How much one request may become, however many events it holds: it is written in one step that holds up Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from .errors import BecomesTooMuch, TooManyItems
from .outbox.handover import Handover

MAX_JOBS: Final = 2_000
"""Jobs that the events of one request may become together. A thousand take Redis some 50 ms (measured)."""

MAX_HEADERS: Final = 8 * 1024 * 1024
"""Bytes of header that their jobs may carry together: each has that of the request, which its sender makes long."""


def check_jobs(handovers: Sequence[Handover]) -> None:
    """Return if the events so far are not too many jobs.

    Raises:
        BecomesTooMuch: they are, or these would carry too much.
    """
    jobs = sum(len(handover.jobs) for handover in handovers)
    if jobs > MAX_JOBS:
        raise BecomesTooMuch(f"The body becomes more than {MAX_JOBS} jobs; send it in several requests.")
    headers = handovers[0].context.get("headers", {}) if jobs > 1 else {}
    size = sum(len(name) + len(value) for name, value in headers.items())
    if jobs * size > MAX_HEADERS:
        raise BecomesTooMuch("The header is too large for so many items; send them in several requests.")


def check_rate(handovers: Sequence[Handover]) -> None:
    """Refuse what its rate would never take at once; being told to try again its sender would for ever.

    Raises:
        TooManyItems: there are more events than that.
    """
    counts = Counter(handover.rate_key for handover in handovers if handover.writes)
    rate = handovers[0].limits.rate if handovers else None
    if rate is not None and counts and max(counts.values()) > rate.burst:
        raise TooManyItems(rate.burst)
