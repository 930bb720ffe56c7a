"""The jobs that the tests' workers run: plain functions, which need nothing of trafficrelay."""

from __future__ import annotations

import logging
from typing import Any

from rq import get_current_job

from trafficrelay import RetryLater, current_event


def echo(data: Any) -> Any:
    return data


def fail(data: Any) -> None:
    raise RuntimeError("this job always fails")


def later(data: Any) -> None:
    raise RetryLater(30, "the other side is down")


def fail_until(data: Any) -> str:
    """Note in meta which try this is, and fail in all tries but the last."""
    job = get_current_job()
    assert job is not None
    job.meta["tries"] = job.meta.get("tries", 0) + 1
    job.save_meta()
    if job.meta["tries"] <= data:
        raise RuntimeError("not yet")
    return job.id


def say_event(data: Any) -> Any:
    """Give what a job sees of its event."""
    event = current_event()
    job = get_current_job()
    assert event is not None
    assert job is not None
    return {
        "id": event.id,
        "route": event.route,
        "received_at": event.received_at.isoformat(),
        "method": event.method,
        "params": dict(event.params),
        "headers": dict(event.headers),
        "rest": [dict(event.query), event.remote_addr, event.body.decode()],
        "data": event.data,
        "same": event.data is data,
        "job": job.id,
    }


def no_event(data: Any) -> bool:
    return current_event() is None


def log_a_line(data: Any) -> None:
    logging.getLogger("tests.jobs").warning("in a job")
