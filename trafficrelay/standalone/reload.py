"""SIGHUP: new code for the standalone server, if it loads.

The target is tried in a process of its own first. One that fails, exits or hangs costs a sentence on stderr, and the
server processes that run go on with the code that they have.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import RelayError
from ..failures import place
from .processes import send
from .target import load_bound

if TYPE_CHECKING:
    from ..relay import Relay

LOAD_SECONDS: Final = 30.0
"""How long new code may take to load."""

_TICK: Final = 0.1
_STOP_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Replaced:
    """What came of replacing the server processes.

    Attributes:
        reason: a sentence that says why it failed, `""` if it did not.
        before: the `facts` of the relay in the old processes, empty if unknown.
        now: those in the new ones.
    """

    reason: str
    before: Mapping[str, Any] = field(default_factory=dict)
    now: Mapping[str, Any] = field(default_factory=dict)


class Replaceable(Protocol):
    """A server whose processes can be replaced: `supervisor.Supervisor`, which takes granian to import.

    Attributes:
        interrupt_signal: whether the run ends.
    """

    interrupt_signal: bool

    def replace(self) -> Replaced:
        """Start new processes, and have the old ones leave once all of the new ones are ready."""
        ...

    def see_off(self, seconds: float) -> bool:
        """Wait for the old processes, `seconds` at most, and say whether all have ended."""
        ...

    def signal_handler_interrupt(self) -> None:
        """End the run."""
        ...


class Reloads:
    """Replaces the server processes at each SIGHUP. Several that come together count as one.

    Make it in the main thread when the program starts: it remembers which of stdin, stdout and stderr are a terminal.

    Args:
        server: whose processes are replaced.
        target: `module:relay`.
        url: the Redis URL that the relay is bound to; `None` leaves it with what it is declared with.
        load_timeout: seconds within which the target must load.
    """

    def __init__(
        self, server: Replaceable, target: str, *, url: str | None, load_timeout: float = LOAD_SECONDS
    ) -> None:
        self._server = server
        self._target = target
        self._url = url
        self._load_timeout = load_timeout
        self._ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._terminals = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()  # a signal handler may put into it
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trafficrelay-reload", daemon=True)

    def start(self) -> None:
        """Take SIGHUP over, unless it is ignored: nohup is meant to last. Call it in the main thread."""
        self._thread.start()
        signal.signal(signal.SIGHUP, signal.SIG_IGN if self._ignored else self._on_hangup)

    def stop(self) -> None:
        """Break off a reload that has begun. Call it when the server has ended."""
        self._stopping.set()
        self._asked.put(None)
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def _on_hangup(self, signum: int, frame: FrameType | None) -> None:
        if self._terminal_closed():
            self._server.signal_handler_interrupt()
        else:
            self._asked.put(None)

    def _terminal_closed(self) -> bool:
        """Say whether the terminal of this run has gone: SIGHUP is what tells of that, too."""
        return not all(os.isatty(descriptor) for descriptor in self._terminals)

    def _run(self) -> None:
        while True:
            self._asked.get()
            while not self._asked.empty():
                self._asked.get()
            if self._given_up():
                return
            self._reload()
            self._see_off()

    def _reload(self) -> None:
        self._say(f"Loading {self._target} anew.")
        reason = try_target(self._target, self._url, timeout=self._load_timeout, given_up=self._given_up)
        if self._terminal_closed():
            # A shell may say so a moment before it closes it.
            self._server.signal_handler_interrupt()
        if self._given_up():
            return
        outcome = Replaced(reason) if reason else self._server.replace()
        if self._given_up():
            return
        if outcome.reason:
            self._say(f"The new {self._target} cannot be loaded; the old one goes on. {outcome.reason}")
            return
        self._say(f"The new {self._target} serves.")
        for sentence in changes(outcome.before, outcome.now):
            self._say(sentence)

    def _see_off(self) -> None:
        told = False
        while not self._server.see_off(_TICK) and not self._given_up():
            if not (told or self._asked.empty()):
                told = True
                self._say("The next reload waits until the old server processes have ended.")

    def _given_up(self) -> bool:
        return self._stopping.is_set() or self._server.interrupt_signal

    def _say(self, sentence: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is closed
            sys.stderr.write(f"trafficrelay: {sentence}\n")
            sys.stderr.flush()


def facts(relay: Relay) -> dict[str, Any]:
    """Say of a relay what workers have to fit, so that `changes` can compare it."""
    return {"queues": list(relay.queues), "serializer": relay.serializer_name}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what workers that were started for the code before do not fit; nothing where that is unknown."""
    if not before:
        return []
    sentences = []
    new = [name for name in now["queues"] if name not in before["queues"]]
    if new:
        names = ", ".join(new)
        sentences.append(f"New queues: {names}. They need workers; `run` starts its own when it is started again.")
    if now["serializer"] != before["serializer"]:
        sentences.append("The serializer is another one. Workers that were started before cannot read new jobs.")
    return sentences


def try_target(
    target: str, url: str | None, *, timeout: float = LOAD_SECONDS, given_up: Callable[[], bool] = lambda: False
) -> str:
    """Load a target in a process of its own, as a server process does, and build the app.

    Args:
        target: `module:relay`.
        url: the Redis URL that the relay is bound to; `None` leaves it with what it is declared with.
        timeout: seconds after which it is given up.
        given_up: asked now and then; when it says so, nobody wants to know any more.

    Returns:
        A sentence that says why it failed; `""` if it did not.
    """
    # As granian starts its processes: the same interpreter, options, path and environment.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_trial, args=(theirs, target, url), name="trafficrelay-trial")
    process.start()
    theirs.close()
    deadline = time.monotonic() + timeout
    try:
        while not ours.poll(_TICK):
            if given_up():
                return "It was given up."
            if time.monotonic() > deadline:
                return f"It does not load within {timeout:g} seconds."
        return ours.recv_bytes().decode()
    except (EOFError, OSError):
        process.join(_STOP_SECONDS)
        return f"Loading it ended the process with code {process.exitcode}."
    finally:
        # With what its import may have started.
        if process.pid:
            send(process.pid, signal.SIGKILL, group=True)
        process.kill()
        process.join()
        ours.close()


def _trial(line: Connection, target: str, url: str | None) -> None:
    # A group of its own, as server processes have: Ctrl-C is for the main process.
    os.setpgid(0, 0)
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    try:
        relay = load_bound(target, url)
        relay.app  # noqa: B018 - it is built on first use
        facts(relay)
        reason = ""
    except RelayError as error:
        reason = str(error)
    except BaseException as error:
        reason = f"{type(error).__name__}: {error} ({place(error)})"
    with contextlib.suppress(OSError):
        line.send_bytes(reason.encode(errors="replace"))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that the import has started are not waited for.
    os._exit(0)


def _end_with(line: Connection) -> None:
    """End this process when the other end of the line has gone: nothing else ever comes from there."""
    line.poll(None)
    os._exit(1)
