"""Running letters again, one after the other: what `trafficrelay replay` does once it knows which."""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from ..dead_letter import read_event, run_event, run_handover
from ..errors import DeadLetterError, LetterGone, OutboxError, OutboxUnavailable, RoutePaused
from ..failures import BUGS, place
from ..intake import REPLAY
from ..outbox.handover import Outbox
from ..outbox.letters import Kind, Letter, Letters, Selection
from ..outbox.stored import HAND_OVER
from ..relay import Relay
from ..route import Route
from ..target import JobOptions

State: TypeAlias = Literal["done", "failed", "gone", "paused", "skipped"]

_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a letter.

    Attributes:
        state: `done`; `failed` again; `gone`, because somebody else ran it; `paused`, as its route is; or `skipped`.
        jobs: how many jobs it became.
        why: for those that failed the exception's type and place, for those that were skipped the reason.
        words: the exception's own words.
    """

    state: State
    jobs: int = 0
    why: str = ""
    words: str = ""


class Tally:
    """Counts outcomes.

    Attributes:
        done: how many are done, by kind.
        jobs: how many jobs the events among them became.
        failed: how many failed again, by the exception's type and place.
        first: the job and the words of the first of each.
        skipped: how many were left because they are not this relay's, by reason.
        paused: how many were left because their route is paused.
        gone: how many were not there any more.
    """

    def __init__(self) -> None:
        self.done: Counter[Kind] = Counter()
        self.jobs = 0
        self.failed: Counter[str] = Counter()
        self.first: dict[str, tuple[str, str]] = {}
        self.skipped: Counter[str] = Counter()
        self.paused = 0
        self.gone = 0

    def add(self, letter: Letter, outcome: Outcome) -> None:
        """Count one."""
        match outcome.state:
            case "done":
                self.done[letter.kind] += 1
                self.jobs += outcome.jobs
            case "failed":
                self.failed[outcome.why] += 1
                self.first.setdefault(outcome.why, (letter.job, outcome.words))
            case "skipped":
                self.skipped[outcome.why] += 1
            case "paused":
                self.paused += 1
            case "gone":
                self.gone += 1

    @property
    def tried(self) -> int:
        """How many were this relay's and still there."""
        return self.done.total() + self.failed.total() + self.paused

    @property
    def left(self) -> int:
        """How many of them still lie where they were."""
        return self.failed.total() + self.paused


class Replayer:
    """Runs letters again, each in one step with its removal: whoever is stopped in between leaves nothing half done.

    Args:
        relay: whose they are; those of others are skipped.
        module: the module that was named as the relay's.
        letters: reads them.
        outbox: where their jobs go.
    """

    def __init__(self, relay: Relay, module: str, letters: Letters, outbox: Outbox) -> None:
        self._relay = relay
        self._module = module
        self._letters = letters
        self._outbox = outbox

    def in_order(self, selection: Selection, tell: Callable[[int], Any]) -> list[bytes]:
        """Find all that are meant, those whose events came first at the front. `letter_of` reads what is given.

        Some hundred bytes are held of each, and nothing of what is in it.

        Raises:
            OutboxUnavailable: Redis does not answer.
        """
        found = set()
        for letter in self._letters.find(selection):
            found.add(_key(letter))
            tell(len(found))
        return sorted(found)

    def each(self, keys: list[bytes], selection: Selection) -> Iterator[Letter | None]:
        """Read them one after the other; `None` for those that are not there any more, or not meant any more."""
        for key in keys:
            letter = self._letters.get(key[8:].decode("ascii"))
            yield letter if letter is not None and selection.takes(letter) else None

    def run(self, letter: Letter) -> Outcome:
        """Run one again.

        Raises:
            OutboxUnavailable: Redis does not answer, or cannot write now.
        """
        try:
            route = self._relay.find(letter.route, letter.method)
            if route is None:
                return self._skipped(letter)
            if letter.kind == "job":
                return Outcome("done" if self._letters.requeue(letter, _options(route, letter)) else "gone", jobs=1)
            function, argument = self._letters.argument(letter)
            if function == HAND_OVER:
                return Outcome("done", jobs=run_handover(argument, self._outbox, settles=letter.job).count)
            if function != REPLAY:
                raise DeadLetterError(f"Its job calls {function}, which is nothing of this trafficrelay.")
            event, modules = read_event(argument)
            if not self._is_declared_in(modules):
                return Outcome("skipped", why=f"of another relay, in {' or '.join(modules) or 'no module'}")
            return Outcome("done", jobs=run_event(self._relay, event, self._outbox, settles=letter.job).count)
        except LetterGone:
            return Outcome("gone")
        except RoutePaused:
            return Outcome("paused")
        except OutboxUnavailable:
            raise
        except (OutboxError, DeadLetterError) as error:
            return Outcome("failed", why=type(error).__name__, words=str(error))
        except BUGS as error:
            where = place(error)
            return Outcome("failed", why=f"{type(error).__name__}{f' ({where})' if where else ''}", words=str(error))

    def would(self, letter: Letter) -> Outcome:
        """Say what `run` would do, as far as that can be said without doing it."""
        if self._relay.find(letter.route, letter.method) is None:
            return self._skipped(letter)
        if letter.kind == "event":
            try:
                _, modules = read_event(self._letters.argument(letter)[1])
            except DeadLetterError as error:
                return Outcome("failed", why=type(error).__name__, words=str(error))
            if not self._is_declared_in(modules):
                return Outcome("skipped", why=f"of another relay, in {' or '.join(modules) or 'no module'}")
        return Outcome("done")

    def _skipped(self, letter: Letter) -> Outcome:
        return Outcome("skipped", why=f"this relay has no route {letter.method} {letter.route}")

    def _is_declared_in(self, modules: list[str]) -> bool:
        """Whether a worker would find this relay by them: two programs on one Redis may have a rule in common."""
        return any(
            name == self._module
            or (name in sys.modules and any(value is self._relay for value in vars(sys.modules[name]).values()))
            for name in modules
        )


def _key(letter: Letter) -> bytes:
    """Give the job's id behind what sorts by time: at once small, and the same however often it is found."""
    return struct.pack(">Q", max(0, int(letter.received_at.timestamp() * _MICROSECONDS))) + letter.job.encode("ascii")


def _options(route: Route, letter: Letter) -> JobOptions | None:
    """Give what the route says today of a job like this one; `None` if that cannot be told."""

    def is_or_chooses(said: object, name: str) -> bool:
        return said == name or callable(said)

    alike = [target for target in route.targets if is_or_chooses(target.job_of, letter.function)]
    beside = [target for target in alike if is_or_chooses(target.queue_of, letter.queue)]
    same = [target for target in beside if target.queue_of == letter.queue]
    # One of that queue; or one whose queue is chosen; or, if its queue was another before, the only one of that job.
    for found in (same, beside, alike):
        if found:
            return found[0].options if len(found) == 1 or found is same else None
    return None
