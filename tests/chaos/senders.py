"""The process that sends, tries again with the same id, and writes down every 2xx.

    python -m tests.chaos.senders --port N --seed N --ledger FILE [--connections N] [--rate N] [--first N]

It takes orders on stdin, a line each, and answers each with a line of JSON on stdout:

    go      send
    pause   bring what has been begun to its 2xx, and send nothing more
    status  say how it stands: `{"sending": false, "begun": 0, "acknowledged": 12, …}`
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import random
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .connection import Answer, Connection, NoAnswer
from .ledger import Ledger
from .payload import Manners, Sent, is_bare, make, manners

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Task:
    """What a sender does next.

    Attributes:
        number: the event.
        acknowledged_as: the id of its 2xx, if it had one and is sent once more.
    """

    number: int
    acknowledged_as: str | None = None


class Work:
    """What there is to send: new numbers while it goes on, and acknowledged ones that are sent once more."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._later: list[tuple[float, int, str]] = []
        self._lock = threading.Lock()
        self._going = threading.Event()
        self.begun = 0

    @property
    def going(self) -> bool:
        """Whether to send."""
        return self._going.is_set()

    def set_going(self, going: bool) -> None:
        """Begin to send, or begin nothing more."""
        with self._lock:
            (self._going.set if going else self._going.clear)()

    def take(self) -> Task:
        """Wait until there is something to send, and count it as begun."""
        while True:
            self._going.wait()
            with self._lock:
                if not self._going.is_set():
                    continue
                self.begun += 1
                if self._later and self._later[0][0] <= time.monotonic():
                    _, number, id_ = heapq.heappop(self._later)
                    return Task(number, id_)
                self._next += 1
                return Task(self._next - 1)

    def done(self) -> None:
        """Count one that was begun as done."""
        with self._lock:
            self.begun -= 1

    def put_off(self, number: int, id_: str, seconds: float) -> None:
        """Have an acknowledged event sent once more later."""
        with self._lock:
            heapq.heappush(self._later, (time.monotonic() + seconds, number, id_))


class Sender:
    """One sender: one event after the other, each until it is acknowledged."""

    def __init__(self, port: int, seed: int, work: Work, ledger: Ledger, *, interval: float) -> None:
        self._seed = seed
        self._work = work
        self._ledger = ledger
        self._interval = interval
        self._main = Connection(port)
        self._other = Connection(port)
        # Only for pauses: nothing that is checked depends on it.
        self._dice = random.Random()

    def run(self) -> None:
        """Send for ever."""
        turn = time.monotonic()
        while True:
            task = self._work.take()
            if task.acknowledged_as is None:
                self._deliver(task.number)
            else:
                self._repeat(make(self._seed, task.number), task.acknowledged_as)
            self._work.done()
            turn = max(turn + self._interval, time.monotonic() - self._interval)
            time.sleep(max(0.0, turn - time.monotonic()))

    def _deliver(self, number: int) -> None:
        event, manner = make(self._seed, number), manners(self._seed, number)
        first, tries, pause = time.monotonic(), 0, _FIRST_PAUSE
        while True:
            tries += 1
            answer = self._try(event, manner, tries)
            if answer is not None and answer.good:
                break
            if answer is not None and is_bare(number):
                self._ledger.refused(event, tries)
            time.sleep(pause * self._dice.uniform(0.5, 1))
            pause = min(pause * 2, _LONGEST_PAUSE)
        self._ledger.acknowledged(event, answer, first, tries)
        if manner.again:
            self._repeat(event, answer.id)
        if manner.later:
            self._work.put_off(number, answer.id, manner.later)

    def _repeat(self, event: Sent, id_: str) -> None:
        """Send an acknowledged event once more, as somebody who presses "Redeliver"; whatever the answer."""
        answer = self._ask(event, 0)
        if answer is not None and answer.good:
            self._ledger.repeated(same=answer.id == id_)

    def _try(self, event: Sent, manner: Manners, attempt: int) -> Answer | None:
        if attempt == 1 and manner.impatient:
            self._hang_up(event, attempt)
            return None
        if not manner.twin:
            return self._ask(event, attempt)
        begun = time.monotonic()
        sent = [connection for connection in (self._main, self._other) if self._sent(event, connection, attempt)]
        answers = [answer for connection in sent if (answer := self._answer(connection, begun))]
        return next((answer for answer in answers if answer.good), answers[0] if answers else None)

    def _ask(self, event: Sent, attempt: int) -> Answer | None:
        begun = time.monotonic()
        return self._answer(self._main, begun) if self._sent(event, self._main, attempt) else None

    def _hang_up(self, event: Sent, attempt: int) -> None:
        if self._sent(event, self._other, attempt):
            self._other.close()

    def _sent(self, event: Sent, connection: Connection, attempt: int) -> bool:
        self._ledger.tried()
        begun = time.monotonic()
        try:
            connection.send(event, attempt)
        except NoAnswer:
            self._ledger.answered(begun, None)
            return False
        return True

    def _answer(self, connection: Connection, begun: float) -> Answer | None:
        answer: Answer | None = None
        with contextlib.suppress(NoAnswer):
            answer = connection.read()
        self._ledger.answered(begun, answer)
        return answer


def main() -> None:
    """Run the senders until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.senders", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=12)
    parser.add_argument("--rate", type=float, default=800.0, help="events a second, all connections together")
    parser.add_argument("--first", type=int, default=0, help="the first number")
    options = parser.parse_args()
    work, ledger = Work(options.first), Ledger(options.ledger)
    for _ in range(options.connections):
        interval = options.connections / options.rate
        sender = Sender(options.port, options.seed, work, ledger, interval=interval)
        threading.Thread(target=sender.run, daemon=True).start()
    for line in sys.stdin:
        order = line.strip()
        if order == "go":
            ledger.begin()
            work.set_going(True)
        elif order == "pause":
            work.set_going(False)
        begun, status = work.begun, ledger.status()
        if not work.going and not begun:
            ledger.rest()
        sys.stdout.write(json.dumps({"sending": work.going, "begun": begun, **status}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
