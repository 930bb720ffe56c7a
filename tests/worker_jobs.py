"""The jobs, callbacks and handlers of tests of workers. What they count under `seen:` in Redis shows that they ran."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any, NoReturn

from rq import Queue, Retry, get_current_job
from rq.job import Job


def this_job() -> Job:
    job = get_current_job()
    assert job is not None
    return job


def see(job: Job, what: str) -> None:
    """Count in Redis that something happened."""
    job.connection.hincrby(f"seen:{job.id}", what, 1)


# Jobs that return


def nothing() -> None:
    pass


def give(value: Any, **more: Any) -> Any:
    return {"value": value, **more} if more else value


def count() -> None:
    see(this_job(), "runs")


def big(size: int) -> str:
    return "x" * size


def unserialisable() -> object:
    return threading.Lock()


async def coroutine(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


class Thing:
    """A job may be a method of an object that travels along."""

    def __init__(self, value: int) -> None:
        self.value = value

    def double(self) -> int:
        return self.value * 2

    @staticmethod
    def alone(value: int) -> int:
        return value


def know_itself() -> list[Any]:
    """Say what a job sees of itself."""
    job = this_job()
    status = job.connection.hget(job.key, "status")
    return [job.id, job.origin, job.get_status(refresh=False), status, job.args, job.timeout, job.retries_left]


def keep_meta(value: Any) -> None:
    job = this_job()
    job.meta["kept"] = value
    job.save_meta()


def forget_meta(value: Any) -> None:
    this_job().meta["forgotten"] = value


# Jobs that raise


def fail() -> NoReturn:
    see(this_job(), "runs")
    raise RuntimeError("it fails")


def fail_in_words_that_cannot_be_written() -> NoReturn:
    see(this_job(), "runs")
    raise RuntimeError("caf\udce9")


def fail_until(times: int) -> str:
    job = this_job()
    job.meta["tries"] = job.meta.get("tries", 0) + 1
    job.save_meta()
    if job.meta["tries"] <= times:
        raise RuntimeError("not yet")
    return "done"


def fail_from() -> NoReturn:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise RuntimeError("outer") from error


async def fail_later() -> NoReturn:
    await asyncio.sleep(0)
    raise RuntimeError("it fails later")


def leave(code: int) -> NoReturn:
    raise SystemExit(code)


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def spin() -> NoReturn:
    """Take up a processor until something is raised in here."""
    while True:
        pass


def ask_again(*, most: int, times: int = 100, interval: int = 0, at_front: bool = False) -> Any:
    """Return `Retry` some times."""
    done = this_job().number_of_retries or 0
    return Retry(max=most, interval=interval, enqueue_at_front=at_front) if done < times else "done"


# Jobs that change jobs


def delete_itself(*, and_fail: bool = False) -> None:
    this_job().delete()
    if and_fail:
        raise RuntimeError("deleted, and failed")


def cancel_itself(*, and_fail: bool = False) -> None:
    this_job().cancel()
    if and_fail:
        raise RuntimeError("cancelled, and failed")


def change_itself(**fields: Any) -> None:
    job = this_job()
    for name, value in fields.items():
        setattr(job, name, value)


def delete_other(id_: str) -> None:
    Job.fetch(id_, connection=this_job().connection).delete()


def cancel_other(id_: str, *, with_dependents: bool = False) -> None:
    Job.fetch(id_, connection=this_job().connection).cancel(enqueue_dependents=with_dependents)


def add_dependent(id_: str, queue: str) -> None:
    """Make a job that depends on this one while this one runs."""
    job = this_job()
    Queue(queue, connection=job.connection).enqueue(nothing, job_id=id_, depends_on=job)


def add_job(id_: str, queue: str) -> None:
    Queue(queue, connection=this_job().connection).enqueue(nothing, job_id=id_)


# Jobs that tests hold on to


def note(path: str) -> None:
    """Write a line of its own: its id."""
    with Path(path).open("a") as file:
        file.write(this_job().id + "\n")


def wait_for(key: str, seconds: float = 20) -> None:
    """Say `<key>:here`, and end when `key` is in Redis."""
    connection = this_job().connection
    connection.incr(f"{key}:here")
    deadline = time.monotonic() + seconds
    while not connection.exists(key):
        assert time.monotonic() < deadline, f"nobody set {key}"
        time.sleep(0.01)


def spin_aloud(key: str) -> NoReturn:
    this_job().connection.incr(f"{key}:here")
    spin()


def spin_without_its_hash(key: str) -> None:
    """Delete itself, and go on until `key` is in Redis."""
    this_job().delete()
    wait_for(key)


def measure(key: str) -> None:
    """Write how many objects and threads there are, and how many bytes more than at the first time."""
    gc.collect()
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    memory, _ = tracemalloc.get_traced_memory()
    this_job().connection.rpush(key, len(gc.get_objects()), threading.active_count(), memory)


def rest(seconds: float, *, fail: bool = False) -> None:
    time.sleep(seconds)
    if fail:
        raise RuntimeError("rested, and failed")


# Callbacks and handlers


def succeeded(job: Job, connection: Any, result: Any) -> None:
    see(job, f"success callback: {result}")


def failed(job: Job, connection: Any, kind: type[BaseException], error: BaseException, trace: Any) -> None:
    see(job, f"failure callback: {kind.__name__}: {error}")


def stopped(job: Job, connection: Any) -> None:
    see(job, "stopped callback")


def raise_in_callback(job: Job, connection: Any, *rest: Any) -> NoReturn:
    see(job, "bad callback")
    raise ValueError("the callback fails")


def spin_in_callback(job: Job, connection: Any, *rest: Any) -> NoReturn:
    see(job, "slow callback")
    spin()


async def wait_in_callback(job: Job, connection: Any, *rest: Any) -> None:
    see(job, "never")


def handle(job: Job, *exc_info: Any) -> None:
    see(job, f"first handler: {exc_info[0].__name__}")


def handle_for_good(job: Job, *exc_info: Any) -> bool:
    see(job, "handler that says no more")
    return False


def fail_to_handle(job: Job, *exc_info: Any) -> NoReturn:
    see(job, "bad handler")
    raise OSError("the handler fails")


class SpecialJob(Job):
    """A job class of the user's own."""

    def perform(self) -> Any:
        see(self, "special")
        return super().perform()


class SpecialQueue(Queue):
    """A queue class of the user's own."""

    job_class = SpecialJob
