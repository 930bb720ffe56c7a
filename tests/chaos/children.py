"""Processes of ours: started, asked, and ended by their id."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from trafficrelay.standalone.processes import dies_with_parent

from ..standalone_support import environment

ORDER_TIMEOUT: Final = 20.0

# Below the ports that the system gives to outgoing connections: one that looks for a Valkey which is just down could
# otherwise be given that very port, and be connected to itself.
_PORTS: Final = range(15_000, 32_000)


def free_port(dice: random.Random | None = None) -> int:
    """Choose a port that nobody listens on, and that nobody is given by chance."""
    dice = dice or random.Random()
    while True:
        port = dice.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def spawn(command: Sequence[str], directory: Path, log: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start a process with no stdin that logs to a file and ends with this one. Call it in the main thread.

    Args:
        command: what to run.
        directory: where it runs.
        log: what its output is appended to.
        more: what its environment has besides.
    """
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            cwd=directory,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            # Ctrl-C is for the harness alone, which ends the others in order.
            start_new_session=True,
            preexec_fn=dies_with_parent(),  # noqa: PLW1509 - the harness has one thread
        )


def end(process: subprocess.Popen[bytes], *, patience: float = 15.0) -> None:
    """End a process: SIGTERM, and SIGKILL if that does not help."""
    with contextlib.suppress(ProcessLookupError):
        # Also one that was frozen.
        os.kill(process.pid, signal.SIGCONT)
        process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Helper:
    """A module of ours that runs as a process and takes orders, a line each, and answers each with a line of JSON.

    Args:
        module: its name in this package.
        options: its options on the command line.
        log: what it says on stderr is appended to this.
    """

    def __init__(self, module: str, options: Mapping[str, object], log: Path) -> None:
        command = [sys.executable, "-m", f"{__package__}.{module}"]
        command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                start_new_session=True,
            )
        self._log = log

    def ask(self, order: str) -> dict[str, Any]:
        """Give an order and return the answer.

        Raises:
            RuntimeError: the process has gone, or does not answer.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the helper has no pipes")
        try:
            stdin.write(f"{order}\n".encode())
            stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(f"a helper has gone: {self._log.read_text()[-2000:]}") from None
        if not select.select([stdout], [], [], ORDER_TIMEOUT)[0]:
            raise RuntimeError(f"a helper does not answer to {order!r}: {self._log.read_text()[-2000:]}")
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"a helper has gone: {self._log.read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
