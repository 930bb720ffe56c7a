"""The process that owns the embedded pieces: Valkey and the worker.

    python -m trafficrelay.standalone.keeper --data DIR --grace SECONDS [--serializer NAME] [--fsync WHEN] [QUEUE ...]

The main process starts it and holds the other end of its stdin. When that end closes, the main process wants it to end
or has gone, by kill -9 too. It says one line of JSON on stdout: `{"url": ...}` when all is ready, or
`{"error": ..., "kind": ...}`. It has one thread: see `processes.dies_with_parent`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from ..errors import DataDirectoryInUse, ServerError
from . import valkey
from .datadir import DataLock, Holder
from .processes import end_all, session_members
from .workers import WorkerProcess, stop_all

_TICK: Final = 0.2

# What a predecessor that is ending may take beyond its workers' grace: cutting jobs off, and ending Valkey.
_PREDECESSOR_EXTRA: Final = 10.0


class Keeper:
    """Runs Valkey and the workers until stdin ends or SIGTERM comes.

    Args:
        data: the data directory, prepared.
        queues: the queues that the worker works on; none for no worker.
        serializer: what the workers' `--serializer` is given, `None` for nothing.
        grace: seconds that running jobs have to finish in when the keeper ends.
        fsync: when Valkey's file goes to the disk, `everysec` or `always`.
    """

    def __init__(
        self, data: Path, queues: Sequence[str], *, serializer: str | None, grace: float, fsync: str = "everysec"
    ) -> None:
        self._data = data
        self._queues = queues
        self._serializer = serializer
        self._grace = grace
        self._fsync = fsync
        self._asked_to_end = False

    def run(self) -> None:
        """Start everything, say so, and end everything when the time has come.

        Raises:
            DataDirectoryInUse: another keeper runs on the data.
            ServerError: Valkey did not start, or ended by itself.
        """
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        with DataLock(self._data, patience=self._grace + _PREDECESSOR_EXTRA) as lock:
            self._end_orphans(lock.predecessor)
            socket = valkey.socket_path(self._data)
            lock.write(Holder(os.getpid(), socket=str(socket)))
            server = valkey.start(self._data, socket, fsync=self._fsync)
            url = valkey.url_of(socket)
            marker = marker_of(self._data)
            worker = WorkerProcess(url, self._queues, marker, serializer=self._serializer)
            workers = [worker] if self._queues else []
            try:
                say({"url": url})
                self._watch(server, workers)
            finally:
                lock.write(Holder(os.getpid(), ending=True, socket=str(socket)))
                self._stop(server, workers, socket)
                lock.write(Holder())

    def _watch(self, server: subprocess.Popen[bytes], workers: list[WorkerProcess]) -> None:
        while not self._asked_to_end and not _main_has_gone():
            if server.poll() is not None:
                log = self._data / valkey.LOG_NAME
                raise ServerError(f"Valkey ended by itself with code {server.returncode}; {log} says why.")
            for worker in workers:
                worker.keep()

    def _stop(self, server: subprocess.Popen[bytes], workers: list[WorkerProcess], socket: Path) -> None:
        stop_all(workers, grace=self._grace)
        # What a worker that was killed left behind, a running job above all.
        end_all(lambda: self._members_of(os.getpid()), grace=0)
        valkey.stop(server)
        valkey.remove_socket(self._data, socket)

    def _end_orphans(self, predecessor: Holder) -> None:
        """End what a keeper that was killed has left: it cannot be told from a second run on the same data."""
        if predecessor.pid:
            end_all(lambda: self._members_of(predecessor.pid), grace=2.0)
        if predecessor.socket:
            valkey.take_over(self._data, Path(predecessor.socket))

    def _members_of(self, session: int) -> list[int]:
        return session_members(session, marker_of(self._data))

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._asked_to_end = True


def marker_of(data: Path) -> str:
    """Say how the workers on a data directory are marked: a pid alone does not tell whose process it is."""
    return f"TRAFFICRELAY_KEEPER_DATA={data}"


def _main_has_gone() -> bool:
    """Look at stdin, for a moment at most: it ends when the main process closes it, and when that ends."""
    readable, _, _ = select.select([sys.stdin], [], [], _TICK)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1024)


def say(line: dict[str, str]) -> None:
    """Tell the main process, which may have gone."""
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{json.dumps(line)}\n".encode())


def main() -> int:
    """Run a keeper as a process."""
    parser = argparse.ArgumentParser(prog="python -m trafficrelay.standalone.keeper", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("--serializer")
    parser.add_argument("--fsync", choices=("everysec", "always"), default="everysec")
    parser.add_argument("queues", nargs="*")
    options = parser.parse_args()
    try:
        Keeper(
            options.data,
            options.queues,
            serializer=options.serializer,
            grace=options.grace,
            fsync=options.fsync,
        ).run()
    except ServerError as error:
        in_use = isinstance(error, DataDirectoryInUse)
        say({"error": str(error), "kind": "in_use" if in_use else "server"})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
