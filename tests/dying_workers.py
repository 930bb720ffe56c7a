"""RQ's own workers, made to die at a step: for `rq worker -w`. And the jobs that they die with."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from rq import Queue, SimpleWorker, Worker
from rq.executions import Execution
from rq.job import Job


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class AfterPop(Worker):
    """Dies when it has taken a job from its queue."""

    def execute_job(self, job: Job, queue: Queue) -> None:
        die()


class BeforeStart(Worker):
    """Dies when the execution is written and the job is not started."""

    def prepare_execution(self, job: Job) -> Execution:
        execution = super().prepare_execution(job)
        die()
        return execution


class Running(SimpleWorker):
    """Dies with the jobs below, which kill the process that they run in."""


def die_once(path: str) -> str:
    """Take the worker along, the first time."""
    marker = Path(path)
    if not marker.exists():
        marker.touch()
        die()
    with marker.open("a") as file:
        file.write("ran\n")
    return "done"


def wait_for(path: str) -> None:
    """Say that it runs, and wait until it may end."""
    with Path(path).open("a") as file:
        file.write("ran\n")
    while not Path(path).with_suffix(".gate").exists():
        time.sleep(0.01)
