"""What things are called in Redis: RQ's own names, ours, and the fields that we add to RQ's jobs."""

from __future__ import annotations

from typing import Final

import rq.defaults
from rq import Queue
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry
from rq.results import Result

# RQ 3 takes it from the environment; two that differ share nothing, so neither do we.
_PREFIX: Final[str] = getattr(rq.defaults, "RQ_KEY_PREFIX", "rq")

KEYS: Final = "trafficrelay:1:" if _PREFIX == "rq" else f"trafficrelay:1:{_PREFIX}:"
"""What the names of our own keys begin with; the number is the version of what is in them."""

PAUSED_KEY: Final = f"{KEYS}paused"
"""The hash of paused routes: a rule and how it is paused, `refuse` or `spool`."""

COUNTS_KEY: Final = f"{KEYS}counts"
"""The hash of counters: JSON of what, why and the route's rule -> how many."""

BROUGHT: Final = f"{KEYS}brought:"
"""What the name of a hash begins with that holds secrets which challenges brought; the route's rule follows."""

HELD_KEY: Final = f"{KEYS}held"
"""The hash of jobs that RelayWorkers hold: id -> worker's name, a colon, the execution's id."""

LEASES_KEY: Final = f"{KEYS}workers"
"""The sorted set of RelayWorkers, by the second until which each is known to live."""

DEAD_KEY: Final = f"{KEYS}dead"
"""The hash of those that seem to be dead: until when each was known to live, and since when it is seen so."""

BROKEN_KEY: Final = f"{KEYS}broken"
"""The hash of jobs that were set aside: id -> JSON that says of which queue, when and why."""

ASIDE: Final = f"{KEYS}aside:"
"""What the name of a job's argument begins with that is kept aside; the job's id follows."""

ONCE: Final = "trafficrelay_once"
"""The field of a job's hash that is `1` if the job must not run again when its worker died. RQ does not know it."""

BEGUN: Final = "trafficrelay_begun"
"""Of such a job: the execution whose thread has begun it."""

DEATHS: Final = "trafficrelay_deaths"
"""How many workers died while they ran the job."""

LOST: Final = "trafficrelay_lost"
"""How often a job was lost between its queue and its start."""

RQ_NAMES: Final = (
    f"local JOB, RESULTS = {RQJob.key_for('')!r}, {Result.get_key('')!r}\n"
    f"local FAILED = {FailedJobRegistry.key_template.format('')!r}\n"
    f"local ASIDE = {ASIDE!r}\n"
    f"local QUEUE, QUEUES = {Queue.redis_queue_namespace_prefix!r}, {Queue.redis_queues_keys!r}\n"
)
"""The beginning of a script: what RQ calls its keys, and we ours."""
