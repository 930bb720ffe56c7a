"""Starts RelayWorkers: one in this process, or several in processes of RQ's pool."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Final

import redis
from redis.sentinel import SentinelConnectionPool
from rq.serializers import resolve_serializer
from rq.worker_pool import WorkerPool

from ..errors import DeclarationError, OutboxUnavailable
from ..logs import install
from ..outbox.sentinel import trouble
from .relay_worker import RelayWorker
from .settings import Settings

_FORMAT: Final = "%(asctime)s %(levelname)s [%(event_id)s] %(message)s"


def work(
    connection: redis.Redis,
    queues: Sequence[str],
    *,
    serializer: str | None,
    processes: int = 1,
    burst: bool = False,
    level: str = "INFO",
) -> None:
    """Work on queues until there is a reason to end.

    Args:
        connection: where the jobs are.
        queues: the queues' names, in the order in which they are asked.
        serializer: how jobs are written, as the relay says.
        processes: in how many processes.
        burst: whether to end when there are no more jobs.
        level: what is logged.

    Raises:
        OutboxUnavailable: Redis does not answer.
        DeclarationError: the environment says what cannot be, or the processes cannot find Redis.
    """
    settings = Settings.of(os.environ)
    if not logging.getLogger().handlers:
        # RQ adds handlers of its own only where there are none.
        logging.basicConfig(level=level, format=_FORMAT)
        install()
    try:
        connection.ping()
    except redis.RedisError as error:
        raise OutboxUnavailable(f"Redis {trouble(error)}, so no worker was started.") from error
    if processes == 1:
        worker = RelayWorker(list(queues), connection=connection, serializer=serializer)
        worker.settings = settings
        worker.work(burst=burst, logging_level=level)
        return
    if isinstance(connection.connection_pool, SentinelConnectionPool):
        raise DeclarationError(
            "RQ's worker pool cannot ask sentinels where Redis is. Start as many workers, each with --processes 1."
        )
    pool = WorkerPool(
        list(queues),
        connection=connection,
        num_workers=processes,
        worker_class=RelayWorker,
        serializer=resolve_serializer(serializer),
    )
    pool.start(burst=burst, logging_level=level)
