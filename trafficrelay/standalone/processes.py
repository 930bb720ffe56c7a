"""Ending processes for certain, also when their parent was killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def dies_with_parent() -> Callable[[], None] | None:
    """Make a `preexec_fn` that has the kernel send SIGTERM to the child when this process is gone; Linux only.

    Call it and start the child in the main thread of a process that has no other: a fork copies locks that other
    threads hold, and the kernel goes by the thread that forked.
    """
    if sys.platform != "linux":
        return None
    # Loaded before the fork: the child does as little as it can.
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            # The parent had gone before the kernel was asked.
            os._exit(1)

    return before_exec


def session_members(session: int, marker: str) -> list[int]:
    """List the processes of a session that were started with an environment variable; empty where there is no /proc.

    Args:
        session: the session's id, which is the pid of the process that began it.
        marker: `NAME=value` as it stands in their environment. A pid is used again some day; this tells ours apart.
    """
    return [pid for pid in _pids() if pid != os.getpid() and _session(pid) == session and _marked(pid, marker)]


def end_all(members: Callable[[], Iterable[int]], *, grace: float) -> None:
    """Send SIGTERM to processes, and SIGKILL to those that are still there after `grace` seconds."""
    for signum, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 2.0)):
        for pid in members():
            send(pid, signum)
        deadline = time.monotonic() + patience
        while any(True for _ in members()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)


def send(pid: int, signum: signal.Signals, *, group: bool = False) -> None:
    """Send a signal to a process or its group, which may have gone."""
    # macOS says PermissionError of a group that only has zombies in it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(pid, signum)


def _pids() -> Iterator[int]:
    try:
        yield from (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    except FileNotFoundError:
        return


def _session(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name before it stands in parentheses and may hold anything: state, ppid, pgrp, session.
    state, _, _, session = stat.rpartition(")")[2].split()[:4]
    return None if state == "Z" else int(session)


def _marked(pid: int, marker: str) -> bool:
    try:
        return marker.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
