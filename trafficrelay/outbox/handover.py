"""What an outbox is given and what it gives back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ..errors import OutboxError
from ..limits import NO_LIMITS, Limits
from ..target import JobOptions
from .counters import Counter

EVENT_MARK_TTL: Final = 120
"""Seconds for which an event's own id is remembered: far longer than writing it can be tried again."""

REPLAY_MARK_TTL: Final = 86_400
"""Seconds for which it is remembered that a dead letter was run again: a worker that died may try it after hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of an event.

    Attributes:
        function: the dotted name of what the worker calls.
        queue: the name of its queue.
        data: the argument it is called with, JSON-safe.
        options: what RQ is told of it.
    """

    function: str
    queue: str
    data: Any = field(repr=False)
    options: JobOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that could not become jobs, kept where RQ keeps failed jobs.

    Attributes:
        function: the dotted name of what a worker calls when the letter is requeued.
        queue: the queue in whose failed registry it lies.
        data: the argument of that call: the event as it was received.
        traceback: why it is here.
        ttl: seconds for which it is kept; -1 for ever, `None` as long as RQ keeps failed jobs.
    """

    function: str
    queue: str
    data: Any = field(repr=False)
    traceback: str = field(repr=False)
    ttl: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """One event on its way into the outbox: all of it goes in, or nothing.

    Attributes:
        id: the event's id. The same id never goes in twice while it is remembered.
        route: its route's rule; somebody may have paused it.
        context: what travels in the jobs' meta.
        jobs: its jobs, in order.
        dead_letter: the event itself, where it could not become jobs.
        dedupe: the name under which it is remembered so that a repeated event is known; `None` for not at all.
        dedupe_window: seconds for which it is.
        limits: what may turn it away.
        rate_key: what events share one count of `limits.rate`.
        spool: whether it is kept in the spool when the outbox cannot take it; refused otherwise.
        mark_ttl: seconds for which its id is remembered.
        replay: whether this is a dead letter that is run again: under its id stands that it became one.
        settles: the dead letter's job that goes when this is taken, and without which it is not taken.
        earlier: how many jobs it may have become before: it is taken only if there is none of them.
    """

    id: str
    route: str = ""
    context: Mapping[str, Any] = field(repr=False)
    jobs: tuple[Job, ...] = ()
    dead_letter: DeadLetter | None = None
    dedupe: str | None = field(default=None, repr=False)
    dedupe_window: int = 0
    limits: Limits = NO_LIMITS
    rate_key: str = field(default="", repr=False)
    spool: bool = False
    mark_ttl: int = EVENT_MARK_TTL
    replay: bool = False
    settles: str = ""
    earlier: int = 0

    @property
    def mark(self) -> str:
        """The name under which the event's id is remembered."""
        return f"{'replay' if self.replay else 'event'}:{self.id}"

    @property
    def dedupe_hash(self) -> str | None:
        """The name under which a repeated event is known, hashed: its sender chooses its length, it may be personal."""
        if self.dedupe is None:
            return None
        return hashlib.sha256(self.dedupe.encode("utf-8", "surrogatepass")).hexdigest()[:40]

    @property
    def writes(self) -> bool:
        """Whether there is anything to hand over; not if the event was dropped."""
        return bool(self.jobs or self.dead_letter)

    @property
    def receipt(self) -> Receipt:
        """What the sender is told when the handover is taken as a new one."""
        return Receipt(self.id, len(self.jobs))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an event.

    Attributes:
        id: its id; of a repeated event the id of the first.
        count: how many jobs it became.
        duplicate: whether it was known already, and nothing was written.
    """

    id: str
    count: int
    duplicate: bool = False

    @property
    def jobs(self) -> tuple[str, ...]:
        """The ids of its jobs."""
        return tuple(job_id(self.id, number) for number in range(1, self.count + 1))


@dataclass(frozen=True, slots=True)
class JobState:
    """How a job is.

    Attributes:
        id: its id.
        state: `queued`, `running`, `finished`, `failed`, `spooled` (not in Redis yet), or `unknown`.
        result: what it gave back, where that can be told.
        has_result: whether it can.
    """

    id: str
    state: str
    result: Any = field(default=None, repr=False)
    has_result: bool = False


def job_id(event_id: str, number: int) -> str:
    """Give the id of an event's job: jobs count from 1, and 0 is the event's dead letter."""
    return f"{event_id}-{number}"


class Outbox(Protocol):
    """Accepts events durably."""

    def accept(self, handover: Handover) -> Receipt:
        """Take all of the handover, or nothing of it; of a known event give the first receipt.

        Sending the same handover again, after whatever error, is safe.

        Raises:
            OutboxUnavailable: it cannot be taken now.
            OutboxCorrupt: a key that it needs holds something else.
            Declined: a limit of its route turns it away.
            LetterGone: what it settles is not there any more.
        """

    def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        """Take several groups, in one round trip; each by itself: give its receipts, or why it was not taken.

        Of a group all is taken or nothing, but for events that are known already. Never raises an `OutboxError`.
        """

    def states(self, event_id: str, count: int) -> list[JobState]:
        """Give how each job of an event is, in order; of one that became a dead letter how that is.

        Raises:
            OutboxError: that cannot be told now.
        """

    def secret(self) -> bytes:
        """Give a secret that all processes of this outbox share.

        Raises:
            OutboxError: it cannot be had now.
        """

    def keep_secret(self, route: str, name: str, value: bytes) -> bytes | None:
        """Keep a secret that a route's sender brought, unless there is one of this name already.

        Returns:
            The one that is kept now: this one, or the one that came before. `None` where the route has too many.

        Raises:
            OutboxError: that cannot be done now.
        """

    def kept_secret(self, route: str, name: str) -> bytes | None:
        """Give a secret that `keep_secret` kept.

        Raises:
            OutboxError: that cannot be told now.
        """

    def add_counts(self, counts: Mapping[Counter, int]) -> None:
        """Add to the sums that all processes of this outbox share.

        Raises:
            OutboxError: that cannot be done now.
        """

    def counts(self) -> dict[Counter, int]:
        """Give these sums.

        Raises:
            OutboxError: that cannot be told now.
        """

    def check(self) -> None:
        """Return if events can be taken now, tried as they would be.

        Raises:
            OutboxError: they cannot.
        """

    def close(self, timeout: float = 0.0) -> None:
        """Let go of connections, after at most `timeout` seconds. The outbox may be used again: it connects anew."""


def each(outbox: Outbox, handovers: Sequence[Handover]) -> list[Receipt | OutboxError]:
    """Hand several events over in one round trip, each by itself: give the receipt, or the error, of each."""
    groups = outbox.accept_groups([[handover] for handover in handovers])
    return [group if isinstance(group, OutboxError) else group[0] for group in groups]
