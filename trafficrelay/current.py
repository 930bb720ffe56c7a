"""The event that the running job came from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from .errors import DeadLetterError
from .event import FORMAT, Event

if TYPE_CHECKING:
    from rq.job import Job

ARGUMENTS: Final = "_trafficrelay_arguments"
"""The attribute of RQ's job, in this process and never in Redis, that has the arguments that were kept aside."""

_FIELD: Final = "trafficrelay"
_NOT_KEPT: Final = {"query": {}, "remote_addr": "", "body": ""}
"""What does not travel with a job."""


def current_event() -> Event | None:
    """Give the event that the job came from that runs here; `None` outside of a job, and in jobs of others.

        def on_push(data):
            event = trafficrelay.current_event()
            log.info("%s from %s", event.id, event.headers.get("user-agent"))

    Its `data` is the job's argument, what the transform made of the event. `query`, `remote_addr`, `body` and the
    headers that prove something by being known do not travel with jobs and are empty.

    Its `id` is the same in all jobs of the event and in every run of them; a job's own id, `rq.get_current_job().id`,
    is the same in every run of this job. That is what to fence with where nothing may happen twice.

    A thread that the job starts has none of its own: ask first, and hand the event over.

    Raises:
        DeadLetterError: a later version of trafficrelay wrote the job.
    """
    job = current_job()
    context = context_of(job)
    if job is None or context is None:
        return None
    if context.get("v") != FORMAT:
        raise DeadLetterError(
            f"This job's event has format {context.get('v')!r}; this trafficrelay reads format {FORMAT}. "
            "Bring the worker up to the version of the relay."
        )
    try:
        event = Event.from_dict({**context, **_NOT_KEPT})
    except DeadLetterError:
        return None  # somebody wrote something of their own under this name
    arguments = getattr(job, ARGUMENTS, None) or job.args
    return replace(event, data=arguments[0] if arguments else None)


def current_job() -> Job | None:
    """Give RQ's job that runs here."""
    # Where rq has not been imported no job runs: and a web host that asks must not pay for importing it.
    rq_job = sys.modules.get("rq.job")
    job: Job | None = rq_job.get_current_job() if rq_job is not None else None
    return job


def context_of(job: Job | None) -> Mapping[str, Any] | None:
    """Give what the relay noted of the event in the job's meta; `None` if it is no relay's job."""
    meta = job.meta if job is not None else None
    context = meta.get(_FIELD) if isinstance(meta, dict) else None
    return context if isinstance(context, dict) else None
