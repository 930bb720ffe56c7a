"""Hands events over in batches: those that came while one batch was on its way are the next."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from ..errors import OutboxError, OutboxUnavailable
from ..outbox.handover import Handover, Outbox, Receipt

MAX_WAITING: Final = 1_024
"""How many events wait at most. A sender that is refused at once can try again; one that waits holds its body."""

MAX_BATCH: Final = 64
"""How many events one round trip takes: enough to make its cost small, few enough not to hold up Redis."""


_Waiting: TypeAlias = tuple[Handover, "asyncio.Future[Receipt]"]


class Batches:
    """Hands events over to an outbox from an event loop, many at a time, in a thread of its own.

    Under load a round trip serves dozens of events, and the thread and the loop wait for each other's hold on the
    interpreter twice a batch instead of twice an event.

    Args:
        outbox: where events go.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trafficrelay-outbox")
        self._waiting: list[_Waiting] = []
        self._sender: asyncio.Task[None] | None = None

    async def accept(self, handover: Handover) -> Receipt:
        """Hand one event over with those that wait too.

        Raises:
            OutboxError: the outbox did not take it.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise OutboxUnavailable(f"{MAX_WAITING} events wait to be handed over already.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt] = loop.create_future()
        self._waiting.append((handover, future))
        if self._sender is None:
            self._sender = loop.create_task(self._send())
        return await future

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            handovers = [handover for handover, _ in batch]
            results: list[Receipt | OutboxError]
            try:
                results = await loop.run_in_executor(self._thread, self._outbox.accept_each, handovers)
            except Exception as error:
                # A fault of one event must not leave the others without an answer.
                results = [_unforeseen(error) for _ in batch]
            _settle(batch, results)
            if all(isinstance(result, OutboxUnavailable) for result in results):
                # Who waited meanwhile would wait out one time-out after the other.
                rest, self._waiting = self._waiting, []
                _settle(rest, [results[0]] * len(rest))
        self._sender = None


def _settle(batch: list[_Waiting], results: list[Receipt | OutboxError]) -> None:
    for (_, future), result in zip(batch, results, strict=True):
        if future.done():
            continue  # its request was cancelled
        if isinstance(result, Receipt):
            future.set_result(result)
        else:
            future.set_exception(result)


def _unforeseen(error: Exception) -> OutboxError:
    unavailable = OutboxUnavailable(f"The outbox failed ({type(error).__name__}).")
    unavailable.__cause__ = error
    return unavailable
