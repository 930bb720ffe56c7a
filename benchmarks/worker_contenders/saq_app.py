"""The jobs as saq's functions: coroutines, as it wants them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any

from saq import Queue

from . import jobs

queue = Queue.from_url(jobs.redis_url(), name="bench")


async def nothing(_ctx: dict[str, Any], *, number: int) -> None:
    await jobs.nothing_async(number)


async def fetch(_ctx: dict[str, Any], *, number: int) -> None:
    await jobs.fetch_async(number)


settings = {
    "queue": queue,
    "functions": [nothing, fetch],
    "concurrency": int(os.environ.get("BENCH_CONCURRENCY", "10")),
}


def enqueue(kind: str, numbers: Iterable[int]) -> None:
    """Put the jobs into the queue."""

    async def put() -> None:
        for number in numbers:
            await queue.enqueue(kind, number=number)
        await queue.disconnect()

    asyncio.run(put())
