"""The outbox for tests: keeps what it is handed in a list and forgets it with the process."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence

from ..errors import OutboxError
from .handover import DeadLetter, Handover, Job, JobState, Receipt, job_id


class MemoryOutbox:
    """Accepts events as the real outbox does, duplicates included, and remembers them for ever.

        outbox = MemoryOutbox()
        relay = Relay(outbox=outbox)
        ...
        (job,) = outbox.jobs
        assert (job.function, job.queue, job.data) == ("shop.jobs.on_push", "hooks", {...})

    Attributes:
        handovers: what was accepted, in order.
    """

    def __init__(self) -> None:
        self.handovers: list[Handover] = []
        self._first: dict[str, Receipt] = {}
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(32)

    @property
    def jobs(self) -> list[Job]:
        """All jobs that were accepted, in order."""
        return [job for handover in self.handovers for job in handover.jobs]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """All events that were kept because their transform failed, in order."""
        return [handover.dead_letter for handover in self.handovers if handover.dead_letter]

    def accept(self, handover: Handover) -> Receipt:
        """Take the handover, or give the first receipt of an event that is known."""
        marks = [handover.mark]
        if handover.dedupe is not None:
            marks.append(f"dedupe:{handover.dedupe}")
        with self._lock:
            for mark in marks:
                if known := self._first.get(mark):
                    return Receipt(known.id, known.count, duplicate=True)
            self.handovers.append(handover)
            self._first.update(dict.fromkeys(marks, handover.receipt))
        return handover.receipt

    def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        """Take several, one after the other."""
        return [[self.accept(handover) for handover in group] for group in groups]

    def states(self, event_id: str, count: int) -> list[JobState]:
        """Say that each job is queued: nothing is run here."""
        known = any(handover.id == event_id for handover in self.handovers)
        numbers = range(1, count + 1) if count else (0,)
        return [JobState(job_id(event_id, number), "queued" if known else "unknown") for number in numbers]

    def secret(self) -> bytes:
        """Give the secret of this outbox."""
        return self._secret

    def check(self) -> None:
        """Return: memory is always there."""

    def close(self, timeout: float = 0.0) -> None:
        """Do nothing: there is no connection."""
