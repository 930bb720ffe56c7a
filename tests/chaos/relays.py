"""`trafficrelay run` with the modules that the harness sends to, kept alive as a supervisor does."""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ..standalone_support import command_line, kill, process_table
from .children import end, spawn

START_SECONDS: Final = 30.0

SPOOL: Final = "spool.db"

_HOOKS: Final = """\
{imports}

relay = Relay({relay})
bare = dict(verify=None, job="jobs.echo", queue="hooks"{route})
options = bare | {{"dedupe": "header:X-Id"}}


def part(event, number=1):
    return {{"id": event.headers["X-Id"], "part": number, "sent": event.data}}


relay.route("/in", **options)(part)
relay.route("/small", **(options | {{"job": "jobs.count", "queue": "small"}}))(part)


@relay.route("/bare", **bare)
def each_try(event):
    return part(event, int(event.headers["X-Try"]))


@relay.route("/fan", **options)
def fan(event):
    for number in (1, 2, 3):
        yield part(event, number)


@relay.route("/broken", **options)
def broken(event):
    raise RuntimeError("this transform always fails")
"""

_JOBS: Final = """\
from rq import get_current_job


def echo(data):
    pass


def count(data):
    job = get_current_job()
    job.connection.incr(f"runs:{job.id}")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """How the relay is declared.

    Attributes:
        spool: whether it has a spool; then every route spools when Redis is away.
        spool_size: how large the spool may become; as the relay says unless given.
        fsync: whether it waits for Redis' fsync before the 2xx.
        wait_replicas: for how many replicas it waits.
        lossy: whether it shall start although it finds that this Redis may lose what it acknowledges.
    """

    spool: bool = False
    spool_size: str = ""
    fsync: bool = False
    wait_replicas: int = 0
    lossy: bool = False

    def module(self, spool: Path) -> str:
        """Write the module that declares it."""
        size = f", max_size={self.spool_size!r}" if self.spool_size else ""
        relay = [f"spool=Spool({str(spool)!r}{size})"] if self.spool else []
        relay += ["fsync=True"] if self.fsync else []
        relay += [f"wait_replicas={self.wait_replicas}"] if self.wait_replicas else []
        # As a relay without a spool is declared: one from before there were spools shall run too.
        imports = "from trafficrelay import Relay" + (", Spool" if self.spool else "")
        return _HOOKS.format(imports=imports, relay=", ".join(relay), route=', on_outage="spool"' if self.spool else "")


class RelayRun:
    """A standalone relay of two processes; a context manager that starts it and ends it.

    Args:
        directory: where its modules and its spool are; it is made.
        url: its Redis.
        port: where it listens.
        options: how it is declared.
        spool: where its spool is; in `directory` unless given.
        environment: what its processes' environment has besides.

    Attributes:
        directory: where its modules and its spool are.
        spool: its spool's file.
        log: what it says.
        restarts: how often it ended by itself and was started again.
    """

    def __init__(
        self,
        directory: Path,
        url: str,
        port: int,
        *,
        options: RelayOptions,
        spool: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.spool = spool or directory / SPOOL
        self.log = directory / "relay.log"
        self.restarts = 0
        self._url = url
        self._more = ["--lossy-redis", "warn"] if options.lossy else []
        self._port = port
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: set[int] = set()
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hooks.py").write_text(options.module(self.spool))
        (directory / "jobs.py").write_text(_JOBS)

    def __enter__(self) -> Self:
        self.start()
        self.wait_until_up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            end(self._process)
            self.kill_all()

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "trafficrelay", "run", "hooks:relay", "--redis", self._url]
        command += ["--processes", "2", "--port", str(self._port), *self._more]
        self._process = spawn(command, self.directory, self.log, **self._environment)
        self._sessions.add(self._process.pid)

    def keep(self) -> None:
        """Start it again if it has ended, as a supervisor does."""
        if self._process is not None and self._process.poll() is not None:
            self.restarts += 1
            self.start()

    def wait_until_up(self) -> None:
        """Wait until it answers requests, whether it can keep events or not.

        Raises:
            RuntimeError: it does not.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.keep()
            if self._answers():
                return
            time.sleep(0.05)
        raise RuntimeError(f"the relay does not start: {self.log.read_text()[-2000:]}")

    def processes(self) -> set[int]:
        """All of its processes that live, the main one included; also those whose parent has gone."""
        # Each run is a session of its own, which its processes do not leave.
        return {pid for pid, (_, session) in process_table().items() if session in self._sessions}

    def servers(self) -> list[int]:
        """Its server processes."""
        return sorted(pid for pid in self.processes() if "spawn_main" in command_line(pid))

    def kill_one(self, dice: random.Random) -> None:
        """Kill one server process with SIGKILL; the main process starts another one."""
        if servers := self.servers():
            kill(dice.choice(servers))

    def kill_main(self) -> None:
        """Kill the main process alone; the others see that within a moment and end."""
        if self._process is not None:
            kill(self._process.pid)
            self._process.wait()

    def kill_all(self) -> None:
        """Kill all of its processes with SIGKILL, and wait until they have gone."""
        deadline = time.monotonic() + 10
        while pids := self.processes():
            for pid in pids:
                kill(pid)
            if self._process is not None and self._process.pid in pids:
                self._process.wait()
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes do not die: {sorted(pids)}")
            time.sleep(0.005)

    def tracebacks(self) -> int:
        """Count the tracebacks in its log, all but those of the transform that fails on purpose."""
        return len(re.findall(r"^Traceback \(most recent call last\)", self.log.read_text(errors="replace"), re.M))

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/-/health")
            return connection.getresponse().status == 200
        return False
