"""Finds accepted jobs that workers lost, and puts them back into their queues.

RQ's own workers lose jobs when they are killed. On several queues a job is in none for a moment, between the pop and
the start; RQ 3.0 forgets one of which the execution is written and the start not; RQ 2.12 and 3.0 give up what was
running, as failed. `rescue.lua` says what counts as lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import redis
from redis.exceptions import RedisError
from rq.defaults import DEFAULT_FAILURE_TTL
from rq.utils import utcformat

from ..errors import OutboxUnavailable
from ..event import now
from ..outbox.names import BROKEN_KEY, HELD_KEY, KEYS
from ..outbox.payload import ASIDE_STAYS
from ..outbox.sentinel import trouble
from .looking import IDS, SCANNED_AT_ONCE, Looked, Looking, pages
from .reading import FAILED_TYPE, Failure, faults, packed
from .scripts import Scripts
from .turns import Turn

MARGIN: Final = 15.0
"""Seconds for which a job has to lie nowhere, unchanged, before it is put back: a worker may be about to start it."""

INTERVAL: Final = 30.0
"""Seconds between two sweeps."""

MAX_DEATHS: Final = 5
"""With how many deaths of workers a job is not run again."""

HORIZON: Final = 7 * 86_400.0
"""Seconds after which a job that RQ gave up is left to people: nobody expects last year's event to run by itself."""

_LOST_PER_DEATH: Final = 4  # being taken when a worker is killed says little of a job, ending it much
_SHARE: Final = 0.1  # of the time, when a sweep takes long
_FOLLOWING: Final = 0.5  # seconds after the margin
_SEEN_KEY: Final = f"{KEYS}sweep:seen"
_SEEN_TTL: Final = 3600
_PLACES: Final = 2_000
_AT_ONCE: Final = 25  # in a long queue each takes some 0.1 ms (measured)
_SAMPLE: Final = 10
_CLEARING_KEY: Final = f"{KEYS}sweep:clearing"
_CLEARING_STEPS: Final = 20  # of SCANNED_AT_ONCE keys: a Redis of a million is gone through in half an hour

_ONCE_WORDS: Final = (
    "WorkerLost: the worker died while it ran this job, and at_least_once=False says not to run it twice."
)
_DEATHS_WORDS: Final = "WorkerLost: {deaths} workers died while they ran this job; it is not run again by itself."
_LOST_WORDS: Final = "WorkerLost: {lost} workers died when they had taken this job; it is not run again by itself."

_LIES_NOWHERE: Final = frozenset((b"lost", b"died", b"abandoned", b"stuck"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a sweep found and did.

    Attributes:
        seen: how many jobs of relays there were, in queues and elsewhere.
        back: how many were put back into their queues.
        failed: how many became failed jobs: too many workers died with them, or they must not run twice.
        waiting: how many lie nowhere and have to be seen once more, a while later.
        broken: how many lie in no queue and cannot be read, those that were set aside before too.
        broken_ids: some of their ids.
        reclaimed: how many jobs of dead RelayWorkers went back.
        cleared: how many arguments are kept aside of jobs that are gone; they go in an hour. A sweep looks for a part
            of them, and the next one goes on where it ended.
        refused: why Redis did not take some writes; `""` if it took all.
        seconds: how long it took.
        next_in: after how many seconds another sweep makes sense.
        swept: whether it was done at all. Another sweeper may be at it, or was a moment ago.
    """

    seen: int = 0
    back: int = 0
    failed: int = 0
    waiting: int = 0
    broken: int = 0
    broken_ids: tuple[str, ...] = ()
    reclaimed: int = 0
    cleared: int = 0
    refused: str = ""
    seconds: float = 0.0
    next_in: float = INTERVAL
    swept: bool = True


@dataclass(slots=True)
class _Tally:
    back: int = 0
    failed: int = 0
    refused: str = ""
    waiting: dict[bytes, bytes] = field(default_factory=dict)


class Sweeper:
    """Puts accepted jobs back that lie nowhere: in no queue, in no registry, in no worker's hands.

    A job is put back when it was seen so twice, at least `margin` apart and unchanged. What was seen first is kept in
    Redis, so several sweepers act as one. Jobs of other programs are not looked at: accepted ones have ids of 32
    hexadecimal digits and a number, RQ's own have hyphens.

    Args:
        client: a client without decoded responses, for this sweeper alone.
        also: called at the beginning of each sweep; each gives how many jobs it put back by itself.
        margin: seconds between the two looks.
        interval: seconds between two sweeps.
        deaths: with how many deaths of workers a job becomes a failed one.
        horizon: seconds after which a job that RQ gave up stays failed.
        clock: the seconds since 1970; Redis' own unless given, which all sweepers have in common.
        tell: told now and then, in words, how far it is.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        also: Sequence[Callable[[], int]] = (),
        margin: float = MARGIN,
        interval: float = INTERVAL,
        deaths: int = MAX_DEATHS,
        horizon: float = HORIZON,
        clock: Callable[[], float] | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._redis = client
        self._also = tuple(also)
        self._margin = margin
        self._interval = interval
        self._clock = clock or self._time
        self._tell = tell
        self._scripts = Scripts(client)
        self._turn = Turn(self._scripts.turn)
        self._halted = threading.Event()
        self._looking = Looking(client, self._scripts, young=margin, horizon=horizon, go_on=self._may_go_on, tell=tell)
        lost = deaths * _LOST_PER_DEATH
        self._rules: tuple[Any, ...] = (
            deaths, lost, DEFAULT_FAILURE_TTL, _PLACES, FAILED_TYPE, packed(_ONCE_WORDS),
            packed(_DEATHS_WORDS.format(deaths=deaths)), packed(_LOST_WORDS.format(lost=lost)),
        )  # fmt: skip
        self._dry = False
        self._seen_dry: dict[bytes, bytes] = {}

    def sweep(self, *, due_or_not: bool = True) -> Report:
        """Sweep once.

        Args:
            due_or_not: sweep although another sweeper did a moment ago.

        Raises:
            OutboxUnavailable: Redis does not answer. What was put back is; begin again.
        """
        began = time.monotonic()
        try:
            wait = self._turn.take(due_or_not=due_or_not)
            if wait:
                return Report(swept=False, next_in=wait)
            report = Report(swept=False)
            try:
                self._dry = False
                report = self._swept(began)
            finally:
                self._turn.end(report.next_in)
        except RedisError as error:
            raise _translated(error) from error
        return report

    def rehearse(self) -> Report:
        """Sweep once without writing anything: `back` is what would be put back, or would become failed.

        What was seen is kept in this object: call it twice.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        try:
            self._dry = True
            return self._swept(time.monotonic())
        except RedisError as error:
            raise _translated(error) from error

    def halt(self) -> None:
        """Break the sweep off that runs, soon, in another thread; and all later ones."""
        self._halted.set()

    def _swept(self, began: float) -> Report:
        reclaimed = 0 if self._dry else sum(reclaim() for reclaim in self._also)
        before = self._remembered()
        looked = self._looking.look()
        if looked is None:
            return Report(swept=False, reclaimed=reclaimed)
        # A second look is never missed, as a first may be.
        looked.suspects = {**dict.fromkeys(before, ""), **looked.suspects}
        tally = self._settle(looked, before)
        cleared = self._clear()
        seconds = time.monotonic() - began
        next_in = max(self._interval, seconds / _SHARE)
        if tally.waiting:
            next_in = min(next_in, max(self._margin + _FOLLOWING, seconds / _SHARE))
        return Report(
            seen=looked.seen,
            back=tally.back,
            failed=tally.failed,
            waiting=len(tally.waiting),
            broken=len(looked.broken),
            broken_ids=tuple(sorted(id_.decode() for id_ in looked.broken)[:_SAMPLE]),
            reclaimed=reclaimed,
            cleared=cleared,
            refused=tally.refused,
            seconds=seconds,
            next_in=next_in,
        )

    def _settle(self, looked: Looked, before: Mapping[bytes, bytes]) -> _Tally:
        tally = _Tally()
        lying: dict[bytes, bytes] = {}
        for page in pages(looked.suspects, _AT_ONCE):
            for id_, (found, state) in self._rescue(page, looked.suspects, {}, {}).items():
                if found in _LIES_NOWHERE:
                    lying[id_] = state
                elif found == b"broken":
                    looked.broken.add(id_)
        moment, ripe = self._clock(), []
        for id_, state in lying.items():
            since, _, was = before.get(id_, b"").partition(b" ")
            # A clock that was put back does not make it wait for as long.
            seen = was == state and float(since) <= moment
            tally.waiting[id_] = (since if seen else b"%.3f" % moment) + b" " + state
            if seen and moment - float(since) >= self._margin:
                ripe.append(id_)
        # The oldest last: each goes to the front of its queue.
        ripe.sort(key=lambda id_: lying[id_].split(b" ")[1], reverse=True)
        for page in pages(ripe, _AT_ONCE):
            self._act(page, looked, lying, tally)
            if not self._may_go_on():
                break
        self._remember(tally.waiting)
        return tally

    def _act(self, ids: list[bytes], looked: Looked, states: Mapping[bytes, bytes], tally: _Tally) -> None:
        why = faults(self._redis, ids)
        if self._dry:
            answers = {id_: (b"aside" if id_ in why else b"back", b"") for id_ in ids}
        else:
            answers = self._rescue(ids, looked.suspects, states, why)
        for id_, (done, _) in answers.items():
            match done:
                case b"back":
                    tally.back += 1
                case b"failed":
                    tally.failed += 1
                case b"aside" | b"broken":
                    looked.broken.add(id_)
                case b"fine" | b"changed":
                    pass
                case _:
                    # Redis' code, not its words.
                    tally.refused = done.split(b" ")[0].decode("ascii", "replace")
                    continue
            del tally.waiting[id_]

    def _clear(self) -> int:
        """Have go what is kept aside of jobs that are gone: they were deleted, or failed and their time is over."""
        cleared = 0
        cursor: Any = self._redis.get(_CLEARING_KEY) or b"0"
        for _ in range(_CLEARING_STEPS):
            if not self._may_go_on():
                break
            cursor, found = self._scripts.clear(args=[cursor, IDS, SCANNED_AT_ONCE, ASIDE_STAYS, int(not self._dry)])
            cleared += found
            if cursor == b"0":
                break
        if not self._dry:
            self._redis.set(_CLEARING_KEY, cursor, ex=_SEEN_TTL)
        return cleared

    def _rescue(
        self,
        ids: Iterable[bytes],
        failures: Mapping[bytes, Failure],
        states: Mapping[bytes, bytes],
        why: Mapping[bytes, str],
    ) -> dict[bytes, tuple[bytes, bytes]]:
        """Ask of each what it is; with `states`, put back what is still in its state."""
        ids = list(ids)
        moment = now()
        args: list[Any] = [int(bool(states)), utcformat(moment), moment.timestamp(), *self._rules]
        for id_ in ids:
            args += (id_, failures[id_], states.get(id_, b""), why.get(id_, ""))
        answers = self._scripts.rescue(keys=[HELD_KEY, BROKEN_KEY], args=args)
        return {id_: (found, state) for id_, (found, state) in zip(ids, answers, strict=True)}

    def _remembered(self) -> dict[bytes, bytes]:
        if self._dry:
            return self._seen_dry
        seen: Any = self._redis.hgetall(_SEEN_KEY)
        return dict(seen)

    def _remember(self, waiting: dict[bytes, bytes]) -> None:
        if self._dry:
            self._seen_dry = waiting
            return
        with self._redis.pipeline() as pipe:
            pipe.delete(_SEEN_KEY)
            if waiting:
                pipe.hset(_SEEN_KEY, mapping=waiting)  # type: ignore[arg-type]
                pipe.expire(_SEEN_KEY, _SEEN_TTL)
            pipe.execute()

    def _time(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds) + microseconds / 1_000_000

    def _may_go_on(self) -> bool:
        return not self._halted.is_set() and (self._dry or self._turn.keep())


def _translated(error: RedisError) -> OutboxUnavailable:
    return OutboxUnavailable(f"Redis {trouble(error)}. Sweep again when it does; that is safe.")
