"""Commands of documents, run as they are pasted: in bash, with this interpreter's programs first on the path."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.standalone_support import environment
from tests.waiting import wait_until

PORT = "8000"
"""The port that all commands of the documents use; tests put a free one in its place, and in the variable PORT."""

BLOCKS = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(text: str) -> list[str]:
    """Give the shell commands of a document."""
    return BLOCKS.findall(text)


def user_environment(redis_url: str = "", **more: str) -> dict[str, str]:
    """Make the environment of a user who has a Redis, and the package and its friends installed."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    settings = {"REDIS_URL": redis_url, "RQ_REDIS_URL": redis_url} if redis_url else {}
    # gunicorn's control socket has one place for all that run at once.
    quiet = {"GUNICORN_CMD_ARGS": "--no-control-socket", "PYTHONUNBUFFERED": "1"}
    return environment(PATH=programs, **settings, **quiet, **more)


def shell(command: str, folder: Path, environ: dict[str, str]) -> str:
    """Run a command to its end and give what it printed."""
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Command:
    """A command that goes on until it is ended, with all that it starts; killed at the end.

    Args:
        command: a line of shell.
        folder: where it is run, and where its log is.
        environ: its environment.
    """

    def __init__(self, command: str, folder: Path, environ: dict[str, str]) -> None:
        self.port = free_port()
        self.command = command.replace(PORT, str(self.port))
        self._log = folder / f"{self.port}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", self.command],
                cwd=folder,
                env={**environ, "PORT": str(self.port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until_up(self) -> Self:
        """Wait until somebody listens on its port."""
        wait_until(self._listens, 30)
        return self

    def wait_for(self, text: str, seconds: float = 30) -> Self:
        """Wait until its log says something."""
        wait_until(lambda: text in self.log or self.process.poll() is not None, seconds)
        assert text in self.log, f"{self.command}\n{self.log}"
        return self

    def end(self) -> int:
        """Ask it to end, as Ctrl-C in its terminal or a service manager does, and give its status."""
        self._signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """End all of it at once."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _listens(self) -> bool:
        assert self.process.poll() is None, f"{self.command}\n{self.log}"
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
