"""The main process of the standalone server: granian's, which keeps the port and replaces the processes behind it.

What granian 2.8 does here has to be done otherwise for a reload without a lost request. Its server processes listen on
sockets of their own, and with the old process goes whatever waits in its socket; and it does not wait until the new
process is ready. So the sockets are made here and outlive the processes, and every process has a line to this one, on
which it says that it is ready and is told to leave.
"""

from __future__ import annotations

import contextlib
import functools
import json
import queue
import socket
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from multiprocessing import Pipe, connection
from multiprocessing.connection import Connection
from typing import Any, Final

from granian._granian import ListenerSpec, SocketHolder
from granian.server.mp import MPServer, WorkerProcess

from .leaving import LEAVE, LEFT, STOP
from .reload import Replaced

_TICK: Final = 0.1

# Within which a process hears what it is told, unless something is wrong with it.
_HEARING: Final = 5.0

# What a process that ends may take beyond the times that it is given, and looks after itself.
_EXTRA: Final = 5.0


class Supervisor(MPServer):
    """granian's server, with processes that can be replaced under load.

    Args:
        target: what granian shows as its name.
        load_timeout: seconds within which a new process must be ready.
        patience: seconds that an old one may take until the senders have left it, before it is made to end.
        settings: granian's own.
    """

    def __init__(self, target: str, *, load_timeout: float, patience: float, **settings: Any) -> None:
        super().__init__(target, **settings)
        self._load_timeout = load_timeout
        self._patience = patience
        self._listeners: list[tuple[SocketHolder, socket.socket]] = []
        self._lines: weakref.WeakKeyDictionary[WorkerProcess, Connection] = weakref.WeakKeyDictionary()
        self._leaving: list[WorkerProcess] = []
        self._leave_by = 0.0
        self._facts: dict[str, Any] = {}
        self._outcomes: queue.SimpleQueue[Replaced] = queue.SimpleQueue()

    # From another thread than the one that serves

    def replace(self) -> Replaced:
        """Start new server processes, and have the old ones leave once all of the new ones are ready.

        If one of them does not get ready, all new ones end and the old ones stay.
        """
        while not self._outcomes.empty():  # nobody asked for it
            self._outcomes.get()
        self.signal_handler_reload()  # type: ignore[no-untyped-call]
        return self._outcomes.get()

    def see_off(self, seconds: float) -> bool:
        """Wait for the processes that leave, and kill those that take longer than they may.

        Args:
            seconds: how long to wait at most, this time.

        Returns:
            Whether all of them have ended.
        """
        # Not `join`: granian waits for each process in a thread of its own.
        ended = connection.wait([worker.inner.sentinel for worker in self._leaving], seconds) if self._leaving else []
        self._leaving = [worker for worker in self._leaving if worker.inner.sentinel not in ended]
        if time.monotonic() > self._leave_by:
            for worker in self._leaving:
                worker.kill()  # type: ignore[no-untyped-call]
        return not self._leaving

    # What granian calls, in the main thread

    def _init_shared_socket(self) -> None:
        # Only Linux spreads connections over several sockets. Elsewhere all processes share one, as with granian.
        for _ in range(self.workers if sys.platform == "linux" else 1):
            holder = ListenerSpec(self.bind_addr, self.bind_port, self.backlog).build()
            self._listeners.append((holder, socket.socket(fileno=holder.get_fd())))

    def _drop_shared_socket(self) -> None:
        for _, listener in self._listeners:
            listener.close()

    def _spawn_worker(  # type: ignore[override] # MPServer takes one argument fewer than what it is made of
        self, idx: int, target: Any, callback_loader: Callable[..., Any]
    ) -> WorkerProcess:
        # granian hands these over to the process; each index has its socket, whichever process has the index.
        self._shd, self._sso = self._listeners[idx % len(self._listeners)]  # type: ignore[assignment]
        ours, theirs = Pipe()
        loader = functools.partial(callback_loader, line=theirs, listener=self._sso.fileno())
        worker = super()._spawn_worker(idx, target, loader)
        self._lines[worker] = ours
        return worker

    def _reload(self, spawn_target: Any, target_loader: Callable[..., Any]) -> None:
        self.reload_signal = False
        self.main_loop_interrupt.clear()
        before = self._facts = self._heard(self.wrks) or self._facts
        fresh = [self._spawn_worker(idx, spawn_target, target_loader) for idx in range(self.workers)]
        for worker in fresh:
            # granian would end the run if one of them fails.
            worker.interrupt_by_parent = True
            worker.start()  # type: ignore[no-untyped-call]
        reason = self._wait_until_ready(fresh)
        if reason:
            self._facts = before
            self._send_away(fresh)
        else:
            old, self.wrks = self.wrks, fresh
            self._send_away(old)
            self._take_charge()
            self._wait_until_left(old)
        if self.interrupt_signal or self.interrupt_children:
            # These may have come before the event was cleared above.
            self.main_loop_interrupt.set()
        self._outcomes.put(Replaced(reason, before, self._facts))

    def _stop_workers(self) -> None:
        self.wrks.extend(worker for worker in self._leaving if worker not in self.wrks)
        self._tell(self.wrks, STOP)
        super()._stop_workers()  # type: ignore[no-untyped-call]
        self._outcomes.put(Replaced("The run ends."))

    # How it is done

    def _wait_until_ready(self, fresh: list[WorkerProcess]) -> str:
        """Wait until all are ready; give a sentence if one does not get there, `""` if all do."""
        waiting = {self._lines[worker] for worker in fresh}
        sentinels = {worker.inner.sentinel for worker in fresh}
        deadline = time.monotonic() + self._load_timeout
        while waiting:
            if self.interrupt_signal:
                return "The run ends."
            if time.monotonic() > deadline:
                return f"Its server processes are not ready within {self._load_timeout:g} seconds."
            for found in connection.wait([*waiting, *sentinels], _TICK):
                facts = _read(found) if isinstance(found, Connection) else None
                if not isinstance(facts, dict):
                    return "A server process ended before it was ready; the reason is above."
                self._facts = facts
                waiting.discard(found)
        return ""

    def _take_charge(self) -> None:
        """Watch over the new processes as granian does; what became of the old ones does not matter any more."""
        self.interrupt_children.clear()
        self.respawned_wrks.clear()
        for worker in self.wrks:
            worker.interrupt_by_parent = False
            if connection.wait([worker.inner.sentinel], 0) and worker.idx not in self.interrupt_children:
                # It ended a moment ago, when nobody watched.
                self.interrupt_children.append(worker.idx)

    def _send_away(self, workers: list[WorkerProcess]) -> None:
        for worker in workers:
            worker.interrupt_by_parent = True
        self._leaving = [*self._leaving, *workers]
        self._leave_by = time.monotonic() + self._patience + (self.workers_kill_timeout or 0) + _EXTRA
        self._tell(workers, LEAVE)

    def _wait_until_left(self, workers: Iterable[WorkerProcess]) -> None:
        """Wait until they accept no more connections: whoever comes after that comes to another one."""
        waiting = {self._lines[worker] for worker in workers}
        deadline = time.monotonic() + _HEARING
        while waiting and not self.interrupt_signal and time.monotonic() < deadline:
            ready = connection.wait(list(waiting), _TICK)
            waiting = {line for line in waiting if line not in ready or _read(line) not in (None, LEFT)}

    def _tell(self, workers: Iterable[WorkerProcess], word: bytes) -> None:
        for worker in workers:
            with contextlib.suppress(OSError):  # it has ended
                self._lines[worker].send_bytes(word)

    def _heard(self, workers: Iterable[WorkerProcess]) -> dict[str, Any]:
        """Give what one of the processes said when it was ready and nobody has read yet; empty where there is none."""
        lines = [self._lines[worker] for worker in workers]
        heard = [facts for line in lines if line.poll() and isinstance(facts := _read(line), dict)]
        return heard[-1] if heard else {}


def _read(line: Connection) -> Any:
    """Read what a process says: `facts`, `LEFT`, or `None` if it has ended."""
    try:
        return json.loads(line.recv_bytes())
    except (EOFError, OSError):
        return None
