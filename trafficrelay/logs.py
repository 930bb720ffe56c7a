"""What log records say of the job that wrote them: its event, its route and its id."""

from __future__ import annotations

import logging
from typing import Any, Final

from .current import context_of, current_job

NOTHING: Final = "-"
"""What stands in a record for what is not known, as outside of jobs."""

_LONGEST: Final = 200


class EventFilter(logging.Filter):
    """Gives each record `event_id`, `event_route` and `job_id`, for a handler's format.

        "%(asctime)s %(levelname)s [%(event_id)s %(event_route)s] %(message)s"

    Put it on handlers: the filters of a logger are not asked about its children's records. With
    `logging.config.dictConfig`:

        "filters": {"event": {"()": "trafficrelay.logs.EventFilter"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["event"], "formatter": "lines"}},

    Outside of jobs all three are `-`, and in jobs of others the first two. Nothing of the payload is in them, and no
    line ends in them. It never drops a record. Behind a queue (`QueueHandler`) put it on the handler that fills the
    queue: it asks the thread that it is called in.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Fill the record in."""
        job = current_job()
        context = context_of(job) or {}
        record.event_id = _word(context.get("event"))
        record.event_route = _word(context.get("route"))
        record.job_id = _word(job.id if job is not None else None)
        return True


def install(*loggers: logging.Logger) -> None:
    """Put an `EventFilter` on all handlers that these loggers have now, and that have none so far.

    Args:
        loggers: the loggers; the root one where none is given.
    """
    for logger in loggers or (logging.getLogger(),):
        for handler in logger.handlers:
            if not any(isinstance(known, EventFilter) for known in handler.filters):
                handler.addFilter(EventFilter())


def _word(value: Any) -> str:
    # What is noted in a job is ours; but whoever writes to Redis can write there too.
    if not isinstance(value, str) or not value:
        return NOTHING
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in value[:_LONGEST])
