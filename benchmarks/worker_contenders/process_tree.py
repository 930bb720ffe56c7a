"""A process with its descendants: what CPU time and memory they took, and the end of all of them by id. Linux only."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from trafficrelay.standalone.processes import dies_with_parent

_TICKS = os.sysconf("SC_CLK_TCK")


class _Stat(NamedTuple):
    """The fields of /proc/PID/stat that are needed; proc_pid_stat(5)."""

    parent: int
    cpu: float
    started: int


def _stat(pid: int) -> _Stat | None:
    try:
        # The name may hold spaces and brackets: what follows the last bracket is counted.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    # utime, stime, and those of the children that it waited for: a forked job's time is not lost.
    return _Stat(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS, int(fields[19]))


class ProcessTree:
    """A started command with all that it starts."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], cwd: Path, output: IO[bytes] | int
    ) -> None:
        """Start the command.

        It gets a session of its own, so that Ctrl-C reaches this process alone, and the kernel ends it should this one
        be killed.
        """
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output != subprocess.PIPE else None,
            start_new_session=True,
            preexec_fn=dies_with_parent(),  # noqa: PLW1509 - there are no threads here
        )
        self._seen: dict[int, int] = {}
        self._look()

    @property
    def stdout(self) -> IO[bytes] | None:
        """What it prints, if its output is a pipe."""
        return self._process.stdout

    def is_running(self) -> bool:
        """Tell whether the command itself still runs."""
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """Give the user and system time of all its processes, the finished ones included that were waited for."""
        return sum(stat.cpu for stat in self._look().values())

    def memory(self, field: str = "VmHWM") -> float:
        """Sum up a field of /proc/PID/status over its processes, in MiB: VmHWM is the peak, VmRSS what is held now."""
        total = 0
        for pid in self._look():
            try:
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
        return total / 1024

    def kill(self) -> None:
        """End all of it, by id.

        Stopped first, until no further one is found: a process that is stopped starts no other.
        """
        stopped: set[int] = set()
        while new := self._look().keys() - stopped:
            for pid in new:
                _send(pid, signal.SIGSTOP)
            stopped |= new
        for pid in stopped:
            _send(pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _look(self) -> dict[int, _Stat]:
        """Find its processes: the command, and what descends from it or from one that was seen to."""
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        stats = {pid: stat for pid in pids if (stat := _stat(pid))}
        # An id is used again some day: the time of the start tells.
        found = {pid for pid, started in self._seen.items() if pid in stats and stats[pid].started == started}
        if self._process.pid in stats and self._process.returncode is None:
            found.add(self._process.pid)
        grown = True
        while grown:
            children = {pid for pid, stat in stats.items() if stat.parent in found} - found
            found |= children
            grown = bool(children)
        self._seen = {pid: stats[pid].started for pid in found}
        return {pid: stats[pid] for pid in found}


def _send(pid: int, signum: int) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return
