"""The circuit breaker of a destination, which all workers share through Redis; `circuit.lua` holds its rules.

After `THRESHOLD` tries in a row without an answer, or with a 5xx, the circuit is open: nothing is sent to the
destination. After a time that grows from `FIRST` to `LONGEST` one try is let through, the probe. If it is answered, all
are again. What a destination asks for with `Retry-After` holds for all deliveries to it, too, and opens nothing: after
that time it is tried as before. One that has said 410 is disabled until somebody enables it.

No state costs a destination that is well more than a read before and one after each try.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final, Literal, TypeAlias

import redis
from redis.exceptions import RedisError

from ..outbox.names import KEYS
from ..outbox.replies import translated
from .destination import Deliver

THRESHOLD: Final = 5
"""Failures in a row that open a circuit."""

FIRST: Final = 30.0
"""Seconds for which it is open at first; twice as long each time that the probe fails."""

LONGEST: Final = 1800.0
"""Seconds for which it is open at most."""

_SLACK: Final = 30.0
"""Seconds that a probe may take beyond its time-outs: its worker may be busy. One that died frees it then."""

_PREFIX: Final = f"{KEYS}circuit:"

# Read once: each job makes a circuit.
_SCRIPT: Final = files(__package__).joinpath("circuit.lua").read_text("utf-8")

log: Final = logging.getLogger("trafficrelay.deliver")

Answer: TypeAlias = Literal["go", "probe", "held", "open", "busy", "disabled"]
State: TypeAlias = Literal["closed", "held", "open", "half-open", "disabled"]


@dataclass(frozen=True, slots=True)
class Permit:
    """Whether a destination may be tried now.

    Attributes:
        answer: `go`; `probe`, as the only one; `held`, it wants none now; `open`; `busy`, there is a probe already; or
            `disabled`.
        wait: seconds until it may be asked for again.
    """

    answer: Answer
    wait: float

    @property
    def granted(self) -> bool:
        """Whether it may."""
        return self.answer in ("go", "probe")


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a destination.

    Attributes:
        state: `closed`, it is tried; `held`, not before it wants to be; `open`, it is down; `half-open`, the next try
            decides; `disabled`, it has said that it is gone.
        failures: tries in a row that failed.
        until: when it is tried again; `None` where that is now or never.
        disabled: since when it is disabled.
    """

    state: State
    failures: int = 0
    until: datetime | None = None
    disabled: datetime | None = None


class Circuit:
    """The circuit breaker of one destination.

    While Redis does not answer, everything may be sent: the delivery matters more than its breaker.

    Args:
        client: a client of the workers' Redis.
        destination: the destination; all that have its URL share the circuit.
        threshold: failures in a row that open it.
        first: seconds for which it is open at first.
        longest: seconds for which it is open at most.
    """

    def __init__(
        self,
        client: redis.Redis,
        destination: Deliver,
        *,
        threshold: int = THRESHOLD,
        first: float = FIRST,
        longest: float = LONGEST,
    ) -> None:
        self._key = _PREFIX + destination.key
        self._to = destination
        self._lease = destination.longest + _SLACK
        self._rules = (threshold, _ms(first), _ms(longest))
        self._script = client.register_script(_SCRIPT)

    def ask(self) -> Permit:
        """Ask whether the destination may be tried. Who is granted a probe has to tell what came of it."""
        said = self._run("ask", _ms(self._lease))
        if said is None:
            return Permit("go", 0.0)
        return Permit(said[0].decode(), said[1] / 1000)

    def up(self, hold: float = 0.0) -> None:
        """Tell that it answered, and for how many seconds it wants no other try."""
        said = self._run("up", _ms(hold))
        if said and said[0] == 1:
            log.warning("%s answers again; deliveries to it go on", self._to.title)

    def down(self, permit: Permit, hold: float = 0.0) -> None:
        """Tell that it gave no answer, or a 5xx, and for how many seconds it wants no other try."""
        probe = int(permit.answer == "probe")
        said = self._run("down", _ms(hold), *self._rules, probe, self._to.label)
        if said and said[0] == 1:
            log.warning("%s seems to be down; nothing is sent to it for %.0f s", self._to.title, said[1] / 1000)

    def gone(self, status: int) -> None:
        """Tell that it is gone: it is disabled until somebody enables it."""
        self._run("gone", status, self._to.label)
        log.warning("%s answered %d and is disabled; %s enables it", self._to.title, status, enabling(self._to))

    def back(self, permit: Permit) -> None:
        """Tell that nothing was learnt, so that another try may be the probe."""
        if permit.answer == "probe":
            self._run("back")

    def _run(self, *arguments: Any) -> Any:
        try:
            return self._script(keys=[self._key], args=list(arguments))
        except RedisError as error:
            log.warning("the circuit of %s: %s", self._to.title, translated(error))
            return None


def enabling(destination: Deliver) -> str:
    """Give the command that enables a destination. What the relay is called on a command line is not known here."""
    return f"`trafficrelay deliveries MODULE:RELAY --enable {shlex.quote(destination.name)}`"


class Circuits:
    """Looks at destinations, and enables them again.

    Args:
        client: a client of the workers' Redis.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def standings(self, destinations: Iterable[Deliver]) -> list[Standing]:
        """Say what is known of destinations, in their order.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        try:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.time()
            for destination in destinations:
                pipeline.hgetall(_PREFIX + destination.key)
            (seconds, micros), *found = pipeline.execute()
        except RedisError as error:
            raise translated(error) from error
        now = seconds * 1000 + micros // 1000
        return [_standing({name.decode(): value.decode() for name, value in one.items()}, now) for one in found]

    def enable(self, destinations: Iterable[Deliver]) -> int:
        """Enable destinations, closing their circuits, and say how many were disabled, held or open.

        Raises:
            OutboxUnavailable: Redis does not answer, or cannot write now.
        """
        keys = [_PREFIX + destination.key for destination in destinations]
        try:
            removed: Any = self._redis.delete(*keys) if keys else 0
        except RedisError as error:
            raise translated(error) from error
        return int(removed)


def _standing(found: dict[str, str], now: int) -> Standing:
    failures, until = int(found.get("failures", 0)), int(found.get("until", 0))
    if "disabled" in found:
        return Standing("disabled", disabled=_time(int(found["disabled"])))
    down = "opened" in found
    if until <= now:
        return Standing("half-open" if down else "closed", failures)
    return Standing("open" if down else "held", failures, until=_time(until))


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
