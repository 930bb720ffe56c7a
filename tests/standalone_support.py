"""Runs `trafficrelay run` as a user does, and looks at its processes from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from .servers import free_port_number
from .waiting import wait_until

ROOT = Path(__file__).parent.parent
PROC = Path("/proc")

HOOKS = """\
import os
import time
from pathlib import Path

from trafficrelay import Relay, Reply

relay = Relay()
nothing = Relay()
number = 7


@relay.route("/in", verify=None, job="jobs.echo", queue="hooks", max_body=1000)
def take(event):
    return event.data


@relay.route("/gate", verify=None, job="jobs.echo", queue="hooks")
def wait_for_the_gate(event):
    Path("waiting").touch()
    while not Path("gate").exists():
        time.sleep(0.01)
    return event.data


@relay.route("/exit", verify=None, job="jobs.echo", queue="hooks")
def leave(event):
    raise SystemExit(3)


relay.route("/none", verify=None, job="jobs.echo", queue="hooks", max_body=0)(take)


def show(event):
    seen = {"headers": dict(event.headers), "params": dict(event.params), "remote_addr": event.remote_addr}
    return Reply(200, body=seen)


relay.route("/show/<rest:path>", verify=None, job="jobs.echo", queue="hooks", methods=["GET", "POST"], reply=show)(take)
"""

JOBS = """\
import time
from pathlib import Path


def echo(data):
    return data


def touch(name):
    Path(name).touch()


def wait(name):
    Path(name).touch()
    time.sleep(600)
"""


def write_modules(directory: Path) -> None:
    """Write the user's modules that the runs load."""
    (directory / "hooks.py").write_text(HOOKS)
    (directory / "jobs.py").write_text(JOBS)


def environment(**more: str) -> dict[str, str]:
    """Make an environment that finds the package from anywhere and has no settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRAFFICRELAY_", "RQ_"))}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


class Run:
    """One `trafficrelay run` in a directory with the user's modules, with whatever it starts; killed at the end."""

    def __init__(self, directory: Path, *options: str, target: str = "hooks:relay", **more: str) -> None:
        self.directory = directory
        self.port = free_port_number()
        self.known: set[int] = set()
        command = [sys.executable, "-m", "trafficrelay", "run", target, "--port", str(self.port), *options]
        self.log = directory / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=directory, env=environment(**more), stdout=log, stderr=log)

    def wait_until_up(self) -> Self:
        wait_until(self._answers, 20)
        self.processes()
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return get(self.port, "/-/health")[0] == 200
        except OSError:
            return False

    def processes(self) -> set[int]:
        """All processes of this run that live, the main one included; those once seen count after their parent too."""
        table = process_table()
        self.known.add(self.process.pid)
        grown = True
        while grown:
            new = {pid for pid, row in table.items() if {row[0], row[1]} & self.known} - self.known
            self.known |= new
            grown = bool(new)
        return {pid for pid in self.known if pid in table}

    def find(self, text: str) -> set[int]:
        """The processes of this run whose command line holds a text."""
        return {pid for pid in self.processes() if text in command_line(pid)}

    def children_gone(self) -> bool:
        return not self.processes() - {self.process.pid}

    def end(self) -> int:
        self.processes()
        self.process.terminate()
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in self.processes():
            kill(pid)
        self.process.wait(10)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def process_table() -> dict[int, tuple[int, int]]:
    """Map each living process to its parent and its session."""
    if PROC.is_dir():
        rows = [row for entry in PROC.iterdir() if entry.name.isdigit() and (row := _status(entry))]
    else:  # macOS; slim Linux images have no ps
        text = subprocess.run(["ps", "-eo", "pid,ppid,sess,stat"], capture_output=True, text=True, check=True).stdout
        rows = [
            (int(pid), int(ppid), int(sess), stat[0]) for pid, ppid, sess, stat in map(str.split, text.splitlines()[1:])
        ]
    return {pid: (parent, session) for pid, parent, session, state in rows if state != "Z"}


def _status(entry: Path) -> tuple[int, int, int, str] | None:
    try:
        text = (entry / "stat").read_text()
    except OSError:
        return None  # it has just ended
    # The name before it stands in parentheses and may hold anything: state, parent, group, session.
    state, parent, _, session = text.rpartition(")")[2].split()[:4]
    return int(entry.name), int(parent), int(session), state


def command_line(pid: int) -> str:
    if PROC.is_dir():
        with contextlib.suppress(OSError):
            return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return ""
    command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def post(port: int, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    return _request(port, "POST", path, body, {"Content-Type": "application/json", **(headers or {})})


def get(port: int, path: str) -> tuple[int, Any]:
    return _request(port, "GET", path, None, {})


def _request(port: int, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        connection.close()


def stalled_post(port: int) -> socket.socket:
    """Begin a POST and send the first byte of its body."""
    connection = socket.create_connection(("127.0.0.1", port), 20)
    connection.sendall(
        b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    return connection


def embedded_client(data: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(data / "valkey.sock"))


def queue_length(data: Path, queue: str = "hooks") -> int:
    with embedded_client(data) as client:
        length: int = client.llen(f"rq:queue:{queue}")
        return length
