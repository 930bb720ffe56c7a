"""Valkey: started on a port and a directory of its own; killed, frozen, filled, restarted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from trafficrelay.standalone.valkey import find_binary

from .children import end, spawn

START_SECONDS: Final = 30.0

_SETTINGS: Final = {
    "bind": "127.0.0.1",
    "daemonize": "no",
    "appendonly": "yes",
    "save": "",
    "maxmemory-policy": "noeviction",
    # Replicas get the data over the wire at once.
    "repl-diskless-sync-delay": "0",
}


class Valkey:
    """One Valkey server; a context manager that starts it and ends it.

    Args:
        directory: its data; it is made.
        port: where it listens.
        settings: its settings, beyond those that all servers here have.
        environment: what its environment has besides.

    Attributes:
        port: where it listens.
        url: its URL, of database 0.
        log: what it says.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.log = directory.with_suffix(".log")
        self._directory = directory
        self._settings = {**_SETTINGS, **(settings or {})}
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            end(self._process, patience=5)

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it has read its file and answers.

        Raises:
            RuntimeError: it does not.
        """
        options = {"port": str(self.port), "dir": str(self._directory), **self._settings}
        command = [str(find_binary()), *(part for name, value in options.items() for part in (f"--{name}", value))]
        self._process = spawn(command, self._directory, self.log, **self._environment)
        if wait:
            self.wait_until_up()

    def wait_until_up(self) -> None:
        """Wait until it answers.

        Raises:
            RuntimeError: it does not.
        """
        deadline = time.monotonic() + START_SECONDS
        with self.client() as client:
            while time.monotonic() < deadline and self.runs:
                with contextlib.suppress(redis.RedisError):
                    client.ping()
                    return
                time.sleep(0.01)
        raise RuntimeError(f"Valkey does not start: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it where it is, and let it go on at the end."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    @contextlib.contextmanager
    def read_only(self, nobody: int) -> Iterator[None]:
        """Make it a replica of nobody, and a master again at the end.

        Args:
            nobody: a port that nobody listens on.
        """
        with self.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", str(nobody))
            try:
                yield
            finally:
                client.execute_command("REPLICAOF", "NO", "ONE")

    @contextlib.contextmanager
    def full(self, *, room: int) -> Iterator[None]:
        """Let it have no more memory than it uses and `room` bytes, and as much as it likes at the end."""
        with self.client() as client:
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", max(1, used + room))
            try:
                yield
            finally:
                client.config_set("maxmemory", 0)

    def client(self, *, timeout: float = 10.0) -> redis.Redis:
        """Make a client that tries once."""
        return redis.Redis(port=self.port, socket_timeout=timeout, retry=Retry(NoBackoff(), 0))

    def _signal(self, signum: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signum)
