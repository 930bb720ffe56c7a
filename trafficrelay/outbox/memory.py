"""The outbox for tests: keeps what it is handed in a list and forgets it with the process."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence

from ..errors import OutboxError
from .counters import Counter
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
        self._counts: dict[Counter, int] = {}
        self._brought: dict[tuple[str, str], bytes] = {}

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

    def keep_secret(self, route: str, name: str, value: bytes) -> bytes | None:
        """Keep a secret, unless there is one already."""
        with self._lock:
            return self._brought.setdefault((route, name), value)

    def kept_secret(self, route: str, name: str) -> bytes | None:
        """Give a secret that was kept."""
        return self._brought.get((route, name))

    def add_counts(self, counts: Mapping[Counter, int]) -> None:
        """Add to the sums."""
        with self._lock:
            for counter, count in counts.items():
                self._counts[counter] = self._counts.get(counter, 0) + count

    def counts(self) -> dict[Counter, int]:
        """Give what was counted."""
        return dict(self._counts)

    def check(self) -> None:
        """Return: memory is always there."""

    def close(self, timeout: float = 0.0) -> None:
        """Do nothing: there is no connection."""
