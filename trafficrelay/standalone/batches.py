"""Hands events over in batches: those that came while one batch was on its way are the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from ..errors import OutboxError, OutboxUnavailable
from ..failures import without_words
from ..outbox.handover import Handover, Outbox, Receipt

log: Final = logging.getLogger("trafficrelay.outbox")

MAX_WAITING: Final = 2_048
"""How many requests wait at most. A sender that is refused at once can try again; one that waits holds its body."""

MAX_BATCH: Final = 64
"""How many events of several requests one round trip takes: enough to make its cost small, few enough not to hold up
Redis."""


MAX_FLIGHTS: Final = 4
"""How many batches are on their way at once: one, and others only while it is held up by a Redis that does not answer.
The outbox puts into its spool what comes meanwhile."""

PATIENCE: Final = 0.6
"""Seconds after which a batch counts as held up; a little more than the outbox' own."""

_Waiting: TypeAlias = tuple[Sequence[Handover], "asyncio.Future[list[Receipt]]"]


class Batches:
    """Hands events over to an outbox from an event loop, many at a time, in threads of its own.

    Under load a round trip serves dozens of events, and the thread and the loop wait for each other's hold on the
    interpreter twice a batch instead of twice an event.

    Args:
        outbox: where events go.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._threads = ThreadPoolExecutor(MAX_FLIGHTS, thread_name_prefix="trafficrelay-outbox")
        self._waiting: list[_Waiting] = []
        self._sender: asyncio.Task[None] | None = None
        self._flights: set[asyncio.Task[None]] = set()

    async def accept(self, group: Sequence[Handover]) -> list[Receipt]:
        """Hand over what came in one request, all or nothing of it, with those that wait too.

        Raises:
            OutboxError: the outbox did not take it.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise OutboxUnavailable(f"{MAX_WAITING} events wait to be handed over already.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Receipt]] = loop.create_future()
        self._waiting.append((group, future))
        if self._sender is None:
            self._sender = loop.create_task(self._send())
        return await future

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._next_batch()
            flight = loop.create_task(self._hand_over(batch))
            self._flights.add(flight)
            flight.add_done_callback(self._flights.discard)
            await asyncio.wait({flight}, timeout=PATIENCE)
            if len(self._flights) >= MAX_FLIGHTS:
                await asyncio.wait(self._flights, return_when=asyncio.FIRST_COMPLETED)
        self._sender = None

    async def _hand_over(self, batch: list[_Waiting]) -> None:
        groups = [group for group, _ in batch]
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._threads, self._outbox.accept_groups, groups)
            _settle(batch, results)
        except Exception as error:
            # A fault of one event must not leave the others without an answer.
            log.error("a batch of events could not be handed over\n%s", without_words(error))
            _settle(batch, [_unforeseen(error) for _ in batch])

    def _next_batch(self) -> list[_Waiting]:
        """Take those that wait longest, all of one kind: who may be spooled does not wait for who may not."""
        kind = self._waiting[0][0][0].spool
        batch: list[_Waiting] = []
        rest: list[_Waiting] = []
        events = 0
        for one in self._waiting:
            # A request of very many events goes by itself: those of others are not to wait for it.
            fits = one[0][0].spool is kind and (not batch or events + len(one[0]) <= MAX_BATCH)
            (batch if fits else rest).append(one)
            events += len(one[0]) if fits else 0
        self._waiting = rest
        return batch


def _settle(batch: list[_Waiting], results: list[list[Receipt] | OutboxError]) -> None:
    for (_, future), result in zip(batch, results, strict=True):
        if future.done():
            continue  # its request was cancelled
        if isinstance(result, OutboxError):
            future.set_exception(result)
        else:
            future.set_result(result)


def _unforeseen(error: Exception) -> OutboxError:
    unavailable = OutboxUnavailable(f"The outbox failed ({type(error).__name__}).")
    unavailable.__cause__ = error
    return unavailable
