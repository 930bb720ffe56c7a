"""The outbox of a test client: takes what Redis would take, turns away what it would, and fails when it is told to."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..errors import Backlogged, OutboxError, OutboxUnavailable, RateExceeded
from ..limits import NO_LIMITS
from ..outbox.counters import Counter
from ..outbox.handover import Handover, Job, JobState, Receipt, job_id
from ..rate import Rate
from .clock import Clock

__tracebackhide__ = True  # pytest shows the line of the test, and not those here

TRIES: Final = 2
"""How often the relay sends a write; see `outbox.rq.TRIES`, which is not imported because rq would come with it."""

PATIENCE: Final = 15  # outbox.replies.BACKLOGPATIENCE
_SLACK: Final = 1_000_000  # microseconds that a clock may go back; rate.py says why


@dataclass(slots=True)
class Seen:
    """What became of one request's events.

    Attributes:
        taken: those that are in the queues now.
        spooled: those that went into the spool.
        repeated: the first receipts of those that were known already.
        errors: what the user's code raised, by the id of its event.
        accepted: whether the request was accepted.
        challenge: what the challenge that it was is called; `""` of events.
    """

    taken: list[Handover] = field(default_factory=list)
    spooled: list[Handover] = field(default_factory=list)
    repeated: list[Receipt] = field(default_factory=list)
    errors: dict[str, BaseException] = field(default_factory=dict)
    accepted: bool = False
    challenge: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that no worker has run.

    Attributes:
        handover: its event's.
        number: which of its event's jobs it is.
        job: the job.
        since: when it was queued, in microseconds.
    """

    handover: Handover
    number: int
    job: Job
    since: int

    @property
    def id(self) -> str:
        """The job's id."""
        return job_id(self.handover.id, self.number)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a test pretends to be in a queue.

    Attributes:
        queue: its name; `None` for every queue.
        jobs: how many wait.
        seconds: how long the oldest of them has.
    """

    queue: str | None
    jobs: int
    seconds: float


class StandInOutbox:
    """Stands in the place of Redis, with marks, limits, and faults.

    What Redis forgets after a time, this forgets when the clock says so.

    Args:
        clock: says what time it is.
        has_spool: whether the relay has one.
    """

    def __init__(self, clock: Clock, *, has_spool: bool) -> None:
        self._clock = clock
        self._has_spool = has_spool
        self._lock = threading.Lock()
        self._counts: dict[Counter, int] = {}
        self._brought: dict[tuple[str, str], bytes] = {}
        self._secret = secrets.token_bytes(32)
        self._spool: list[Handover] = []
        self._spooled: dict[str, Receipt] = {}
        self._marks: dict[str, tuple[Receipt, int]] = {}
        self._arrivals: dict[tuple[str, str], int] = {}
        self._away = False
        self._lost = 0
        self._backlog: Backlog | None = None
        self.seen = Seen()
        self.taken: list[Handover] = []
        self.waiting: list[Waiting] = []
        self.ran: dict[str, JobState] = {}
        self._failed: dict[str, list[Waiting]] = {}

    # What an outbox does

    def accept(self, handover: Handover) -> Receipt:
        """Take one event.

        Raises:
            OutboxError: it is not taken.
        """
        with self._lock:
            return self._group([handover])[0]

    def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        """Take several groups, each whole or not at all."""
        results: list[list[Receipt] | OutboxError] = []
        with self._lock:
            for group in groups:
                try:
                    results.append(self._group(group))
                except OutboxError as error:
                    results.append(error)
        return results

    def states(self, event_id: str, count: int) -> list[JobState]:
        """Say how an event's jobs are.

        Raises:
            OutboxUnavailable: Redis is away.
        """
        spooled = [one for one in self._spool if one.id == event_id]
        if self._away and not spooled:
            raise OutboxUnavailable("Redis does not answer.")
        known = {one.id: JobState(one.id, "queued") for one in self.waiting} | self.ran
        known |= {job_id(one.id, 0): JobState(job_id(one.id, 0), "failed") for one in self.taken if one.dead_letter}
        missing = "spooled" if spooled else "unknown"
        ids = [job_id(event_id, number) for number in (range(1, count + 1) if count else (0,))]
        return [known.get(one) or JobState(one, missing) for one in ids]

    def secret(self) -> bytes:
        """Give what tokens are made with."""
        return self._secret

    def keep_secret(self, route: str, name: str, value: bytes) -> bytes | None:
        """Keep a secret that a challenge brought, unless there is one already.

        Raises:
            OutboxUnavailable: Redis is away.
        """
        self._check_there()
        with self._lock:
            return self._brought.setdefault((route, name), value)

    def kept_secret(self, route: str, name: str) -> bytes | None:
        """Give such a secret.

        Raises:
            OutboxUnavailable: Redis is away.
        """
        self._check_there()
        return self.brought(route, name)

    def brought(self, route: str, name: str) -> bytes | None:
        """Give it to who signs with it, whether Redis is away or not."""
        return self._brought.get((route, name))

    def _check_there(self) -> None:
        if self._away:
            raise OutboxUnavailable("Redis does not answer.")

    def add_counts(self, counts: Mapping[Counter, int]) -> None:
        """Add to what is counted."""
        with self._lock:
            for counter, count in counts.items():
                self._counts[counter] = self._counts.get(counter, 0) + count

    def counts(self) -> dict[Counter, int]:
        """Give what was counted."""
        return dict(self._counts)

    def check(self) -> None:
        """Return if events can be taken now.

        Raises:
            OutboxUnavailable: they cannot.
        """
        if self._away and not self._has_spool:
            raise OutboxUnavailable("Redis does not answer.")

    def close(self, timeout: float = 0.0) -> None:
        """Do nothing: there is no connection."""

    @property
    def in_spool(self) -> list[Handover]:
        """What waits in the spool."""
        return list(self._spool)

    # What a test does to it

    def begin(self) -> Seen:
        """Begin a request, and give what will be seen of it."""
        self.seen = Seen()
        return self.seen

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Be away, and take what was spooled meanwhile afterwards."""
        self._away = True
        try:
            yield
        finally:
            self._away = False
            self._drain()

    @contextmanager
    def lost_reply(self, times: int) -> Iterator[None]:
        """Lose the next replies, and take what was spooled for it afterwards."""
        self._lost = times
        try:
            yield
        finally:
            self._lost = 0
            self._drain()

    @contextmanager
    def crowd(self, backlog: Backlog) -> Iterator[None]:
        """Pretend that jobs wait."""
        before, self._backlog = self._backlog, backlog
        try:
            yield
        finally:
            self._backlog = before

    def run(self, waiting: Waiting, run: Callable[[Waiting], Any]) -> Any:
        """Have a job run, and note what it came to."""
        self.ran[waiting.id] = JobState(waiting.id, "failed")
        failed = self._failed.setdefault(waiting.handover.id, [])
        failed.append(waiting)
        result = run(waiting)
        failed.remove(waiting)
        self.ran[waiting.id] = JobState(waiting.id, "finished", result, has_result=True)
        return result

    # How it does it

    def _group(self, group: Sequence[Handover]) -> list[Receipt]:
        if self._away:
            return self._keep(group, OutboxUnavailable("Redis does not answer."))
        for _ in range(TRIES):
            receipts = self._take(group)
            if not self._lost:
                return receipts
            self._lost -= 1
        # Both of the relay's tries arrived, and it heard of neither.
        return self._keep(group, OutboxUnavailable("Redis does not answer in time.", doubtful=True))

    def _keep(self, group: Sequence[Handover], error: OutboxUnavailable) -> list[Receipt]:
        if not self._has_spool or not all(handover.spool for handover in group):
            raise error
        receipts = []
        for handover in group:
            names = _names(handover)
            known = next((self._spooled[name] for name in names if name in self._spooled), None)
            if known is None:
                self._spool.append(handover)
                self._spooled |= dict.fromkeys(names, handover.receipt)
                self.seen.spooled.append(handover)
            else:
                self._repeat(handover, known)
            receipts.append(replace(known, duplicate=True) if known else handover.receipt)
        return receipts

    def _drain(self) -> None:
        """Take what is in the spool. Its limits stay behind: it has been accepted."""
        spooled, self._spool, self._spooled = self._spool, [], {}
        for handover in spooled:
            self._take([replace(handover, limits=NO_LIMITS)])

    def _take(self, group: Sequence[Handover]) -> list[Receipt]:
        """Take all of a group or nothing of it, but for events that are known (as `accept.lua` does)."""
        now = self._clock.microseconds()
        marks: dict[str, Receipt] = {}
        arrivals: dict[tuple[str, str], int] = {}
        receipts: list[Receipt] = []
        new: list[Handover] = []
        for handover in group:
            known = self._known(handover, marks, now)
            if known is None:
                self._decline(handover, arrivals, now)
                new.append(handover)
                marks |= dict.fromkeys(_names(handover), handover.receipt)
            receipts.append(replace(known, duplicate=True) if known else handover.receipt)
        for handover in new:
            self._decline_late(handover, arrivals, now)
        for handover, receipt in zip(group, receipts, strict=True):
            if receipt.duplicate:
                self._repeat(handover, receipt)
        for handover in new:
            self._write(handover, now)
        self._arrivals |= arrivals
        return receipts

    def _known(self, handover: Handover, marks: Mapping[str, Receipt], now: int) -> Receipt | None:
        for name in _names(handover):
            known, until = self._marks.get(name, (None, 0))
            receipt = marks.get(name) or (known if until > now else None)
            if receipt is not None:
                # The first became a dead letter and this one did not: whoever sent it again wants it to run.
                instead = not receipt.count and handover.jobs and receipt.id != handover.id
                return None if instead else receipt
        return None

    def _decline(self, handover: Handover, arrivals: dict[tuple[str, str], int], now: int) -> None:
        limits = handover.limits
        for queue in {job.queue for job in handover.jobs}:
            waiting, lag = self._crowd_in(queue, now)
            if limits.max_queued is not None and waiting >= limits.max_queued:
                raise Backlogged(
                    f"The queue {queue} takes no more: {waiting} jobs wait in it.", retry_after=PATIENCE, queue=queue
                )
            if limits.max_lag is not None and lag > limits.max_lag:
                raise Backlogged(
                    f"The queue {queue} takes no more: its oldest job has waited for {lag:.0f} s.",
                    retry_after=PATIENCE,
                    queue=queue,
                )
        if limits.rate is not None:
            key = (handover.route, handover.rate_key)
            arrivals[key] = arrivals.get(key, self._arrival(key, limits.rate, now)) + limits.rate.interval_us

    def _arrival(self, key: tuple[str, str], rate: Rate, now: int) -> int:
        """Give when the next event would come, had those that were taken come at the rate (see `rate.gcra`)."""
        kept = self._arrivals.get(key, 0)
        return now if kept < now or kept > now + rate.interval_us * rate.burst + _SLACK else kept

    def _decline_late(self, handover: Handover, arrivals: Mapping[tuple[str, str], int], now: int) -> None:
        """Refuse what is over the rate; of several together at the end, when it is known how long all have to wait."""
        rate = handover.limits.rate
        if rate is None:
            return
        early = arrivals[handover.route, handover.rate_key] - rate.interval_us * rate.burst - now
        if early > 0:
            raise RateExceeded(
                f"{handover.route} takes {rate} and no more.", retry_after=max(1, -(-early // 1_000_000))
            )

    def _crowd_in(self, queue: str, now: int) -> tuple[int, float]:
        """Give how many jobs wait in a queue, and for how many seconds the oldest of them has."""
        since = [one.since for one in self.waiting if one.job.queue == queue]
        count, lag = len(since), (now - min(since, default=now)) / 1_000_000
        backlog = self._backlog
        if backlog is not None and backlog.queue in (None, queue):
            count, lag = count + backlog.jobs, max(lag, backlog.seconds)
        return count, lag

    def _write(self, handover: Handover, now: int) -> None:
        first, _ = self._marks.get(_names(handover)[-1], (None, 0))
        if first is not None and not first.count:
            self.taken = [one for one in self.taken if one.id != first.id]  # the dead letter in whose place it comes
        self.taken.append(handover)
        self.seen.taken.append(handover)
        self.waiting += [Waiting(handover, number, job, now) for number, job in enumerate(handover.jobs, 1)]
        self._marks[handover.mark] = (handover.receipt, now + handover.mark_ttl * 1_000_000)
        if handover.dedupe is not None:
            self._marks[_names(handover)[-1]] = (handover.receipt, now + handover.dedupe_window * 1_000_000)

    def _repeat(self, handover: Handover, receipt: Receipt) -> None:
        if receipt.id != handover.id:  # its own id is known where the relay sent a write again
            self.seen.repeated.append(receipt)
            # Whoever sends again what has failed wants it to run.
            self.waiting += (failed := self._failed.pop(receipt.id, []))
            self.ran = {id_: state for id_, state in self.ran.items() if id_ not in {one.id for one in failed}}


def _names(handover: Handover) -> list[str]:
    """Give under what an event is remembered."""
    return [handover.mark] if handover.dedupe is None else [handover.mark, f"dedupe:{handover.dedupe}"]
