"""Jobs that the test client runs."""

from __future__ import annotations

from typing import Any

from rq import get_current_job

from trafficrelay import current_event

NUMBER = 7
TRIED: list[Any] = []


def say(data: Any) -> dict[str, Any]:
    event, job = current_event(), get_current_job()
    assert event is not None
    assert job is not None
    return {
        "data": data,
        "event": event.id,
        "kind": event.headers["x-kind"],
        "job": job.id,
        "queue": job.origin,
    }


def give(data: Any) -> Any:
    return data


async def give_later(data: Any) -> Any:
    return data


def spoil(data: Any) -> None:
    data["n"] = 2


def fail(data: Any) -> str:
    if data["fail"]:
        raise ArithmeticError("a bug in a job")
    return "well"


def fail_once(data: Any) -> str:
    TRIED.append(data)
    if len(TRIED) == 1:
        raise ArithmeticError("a bug in a job")
    return "well"


def current() -> Any:
    return get_current_job()


def note_progress(data: Any) -> str:
    job = get_current_job()
    assert job is not None
    job.meta["progress"] = 1
    job.save_meta()
    return "noted"


def ask_redis(data: Any) -> None:
    job = get_current_job()
    assert job is not None
    job.connection.get("key")
