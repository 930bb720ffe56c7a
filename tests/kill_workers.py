"""Workers for the tests that kill them: with short times, and one that ends itself at a named step of its work.

Run by `rq worker -w tests.kill_workers.QuickWorker`; as a module it forks a worker for each line that it is sent, which
is many times faster than starting them one by one:

    {"url": …, "queues": […], "name": …, "step": …, "signal": "SIGKILL", "log": …}

The functions at the end are the jobs. Each notes in a file when it begins and when it ends: KILL_NOTES/<job's id>.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import redis
from redis.client import Pipeline
from rq import Retry, get_current_job

from trafficrelay.worker import RelayWorker, keeper, ledger, loop, relay_worker, running

NOTES: Final = "KILL_NOTES"
_STEP: Final = "KILL_AT"
_SIGNAL: Final = "KILL_WITH"
_AT_ONCE: Final = 6

LEASE: Final = 2
LOOKS: Final = 1.0
GRACE: Final = 1.0

T = TypeVar("T")


class QuickWorker(RelayWorker):
    """A RelayWorker that finds dead ones within some 4 seconds in place of 30."""

    def work(self, *args: Any, **options: Any) -> bool:
        # Here, not when this is imported: the tests' own process imports it too.
        quick = {
            (ledger, "LEASE"): LEASE,
            (keeper, "LOOKS"): LOOKS,
            (relay_worker, "BEAT"): 0.4,
            (loop, "GRACE"): GRACE,
        }
        for (module, name), value in quick.items():
            assert hasattr(module, name)
            setattr(module, name, value)
        self.before_work()
        return super().work(*args, **options)

    def before_work(self) -> None:
        pass


# The steps


FAST_STEPS: Final = (
    "before the exchange is sent",
    "before its reply is read",
    "before threads have the jobs",
    "before the function",
    "in the function",
    "after the function",
    "before the outcome is sent",
    "after the outcome is written",
)
MULTI_STEPS: Final = tuple(f"{when} transaction {number}" for number in (1, 2, 3) for when in ("before", "after"))


def die(step: str) -> None:
    """End this process the way that its environment says, if this is the step."""
    if os.environ.get(_STEP) == step:
        os.environ[_STEP] = ""
        os.kill(os.getpid(), getattr(signal, os.environ[_SIGNAL]))


class DyingWorker(QuickWorker):
    """One that ends itself at the step KILL_AT, with the signal KILL_WITH."""

    def before_work(self) -> None:
        exchange, begin, perform, execute = (
            ledger.Ledger.exchange,
            loop.Loop._begin,
            running.perform,
            Pipeline.execute,
        )
        transactions = 0

        def dying_exchange(self: Any, ended: Any, **options: Any) -> Any:
            die("before the outcome is sent" if ended else "before the exchange is sent")
            got = exchange(self, ended, **options)
            if ended:
                die("after the outcome is written")
            if got.begun:
                die("before its reply is read")
            return got

        def dying_begin(self: Any, begun: Any) -> None:
            die("before threads have the jobs")
            begin(self, begun)

        def dying_perform(job: Any) -> Any:
            die("before the function")
            value = perform(job)
            die("after the function")
            return value

        def dying_execute(self: Any, *args: Any, **options: Any) -> Any:
            nonlocal transactions
            if not threading.current_thread().name.startswith("trafficrelay-job-") or not self.command_stack:
                return execute(self, *args, **options)
            transactions += 1
            number = transactions
            die(f"before transaction {number}")
            given = execute(self, *args, **options)
            die(f"after transaction {number}")
            return given

        replaced: Any = (
            (ledger.Ledger, "exchange", dying_exchange),
            (loop.Loop, "_begin", dying_begin),
            (running, "perform", dying_perform),
            (Pipeline, "execute", dying_execute),
        )
        for thing, name, function in replaced:
            setattr(thing, name, function)


# Forking


def main() -> None:
    """Fork a worker that works in burst mode for each line on stdin; say how each ended on stdout."""
    living: dict[int, str] = {}
    for line in sys.stdin:
        if len(living) >= _AT_ONCE:
            _bury(living)
        order = json.loads(line)
        if pid := os.fork():
            living[pid] = order["name"]
            continue
        _work(**order)
    while living:
        _bury(living)


def _bury(living: dict[int, str]) -> None:
    pid, status = os.wait()
    sys.stdout.write(json.dumps({"name": living.pop(pid), "code": os.waitstatus_to_exitcode(status)}) + "\n")
    sys.stdout.flush()


def _work(url: str, queues: list[str], name: str, step: str, log: str, **more: str) -> None:
    code = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ |= {_STEP: step, _SIGNAL: more["signal"], "TRAFFICRELAY_CONCURRENCY": "2"}
        with redis.Redis.from_url(url) as client:
            DyingWorker(queues, name=name, connection=client).work(burst=True)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Nothing of the parent's is done a second time.
        os._exit(code)


# The jobs


def note(what: str, job: Any = None) -> None:
    """Note what this run of the job does: one write, which a kill does not take back."""
    job = job or get_current_job()
    line = f"{what} {os.getpid()} {time.time():.4f}\n".encode()
    file = os.open(_place() / job.id, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def _place() -> Path:
    return Path(os.environ[NOTES])


def _noted(function: Callable[[], T]) -> T:
    note("begin")
    value = function()
    note("end")
    return value


def plain() -> int:
    return _noted(lambda: die("in the function") or os.getpid())


def slow(seconds: float) -> int:
    return _noted(lambda: time.sleep(seconds) or os.getpid())


def deaf(seconds: float) -> int:
    """Sleep, and heed nothing that is thrown into it."""

    def sleep() -> int:
        with contextlib.suppress(BaseException):
            time.sleep(seconds)
        return os.getpid()

    return _noted(sleep)


def gated() -> int:
    """Wait until the file `gate` is there. Fails in a process for which there is a file `doom-<pid>`."""

    def wait() -> int:
        while not (_place() / "gate").exists():
            time.sleep(0.01)
        if (_place() / f"doom-{os.getpid()}").exists():
            raise RuntimeError("this process is doomed")
        return os.getpid()

    return _noted(wait)


def interruptible() -> None:
    """Run until something is thrown into it."""
    note("begin")
    while True:
        time.sleep(0.005)


def poison() -> None:
    note("begin")
    os.kill(os.getpid(), signal.SIGKILL)


def retry_once() -> Any:
    note("begin")
    job = get_current_job()
    return os.getpid() if job is not None and job.number_of_retries else Retry(max=3)


def fail_once() -> int:
    note("begin")
    job = get_current_job()
    if job is not None and job.retries_left == 1:
        raise RuntimeError("the first run fails")
    return os.getpid()


def fail() -> None:
    note("begin")
    raise RuntimeError("this job always fails")


def on_success(job: Any, connection: Any, result: Any) -> None:
    note("callback", job)


def raising_handler(job: Any, *exc_info: Any) -> bool:
    raise RuntimeError("this handler always fails")


if __name__ == "__main__":
    main()
