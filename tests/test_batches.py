"""Handing events over in batches, from an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.waiting import wait_until
from trafficrelay import MemoryOutbox
from trafficrelay.errors import OutboxAway, OutboxError, OutboxUnavailable
from trafficrelay.outbox import Handover, Job, Receipt
from trafficrelay.outbox.resilient import ResilientOutbox
from trafficrelay.standalone.batches import MAX_BATCH, MAX_WAITING, Batches
from trafficrelay.target import JobOptions


class GatedOutbox(MemoryOutbox):
    """Holds its first batch back until the gate opens, and notes the size of each."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.sizes: list[int] = []

    def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        self.sizes.append(len(groups))
        assert self.gate.wait(10)
        return super().accept_groups(groups)


class BrokenOutbox(MemoryOutbox):
    """Fails on every batch as its maker says."""

    def __init__(self, fail: Callable[[Sequence[Sequence[Handover]]], list[list[Receipt] | OutboxError]]) -> None:
        super().__init__()
        self._fail = fail

    def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        return self._fail(groups)

    def check(self) -> None:
        raise OutboxUnavailable("away")


def handover(id_: str) -> Handover:
    job = Job(function="tests.jobs.echo", queue="hooks", data=id_, options=JobOptions())
    return Handover(id=id_, context={}, jobs=(job,))


async def accept(batches: Batches, event: Handover) -> Receipt:
    (receipt,) = await batches.accept([event])
    return receipt


async def accept_all(batches: Batches, ids: Sequence[str], meanwhile: Callable[[], Any] = lambda: None) -> list[Any]:
    tasks = [asyncio.ensure_future(accept(batches, handover(id_))) for id_ in ids]
    await asyncio.sleep(0)
    await asyncio.to_thread(meanwhile)
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_events_that_come_while_a_batch_is_on_its_way_are_the_next_one() -> None:
    """All that wait go together, at most as many as a batch takes."""
    outbox = GatedOutbox()
    batches = Batches(outbox)
    ids = [f"e{number}" for number in range(MAX_BATCH + 11)]

    async def run() -> list[Any]:
        first = asyncio.ensure_future(accept(batches, handover("first")))
        await asyncio.to_thread(wait_until, lambda: outbox.sizes)
        rest = await accept_all(batches, ids, meanwhile=outbox.gate.set)
        return [await first, *rest]

    receipts = asyncio.run(run())
    batches.close()

    assert outbox.sizes == [1, MAX_BATCH, 11]
    assert [receipt.id for receipt in receipts] == ["first", *ids]


def test_a_request_of_very_many_events_goes_by_itself() -> None:
    """Those of others, which came with it, are on their way without it."""
    outbox = GatedOutbox()
    batches = Batches(outbox)
    many = [handover(f"m{number}") for number in range(MAX_BATCH + 5)]

    async def run() -> None:
        first = asyncio.ensure_future(accept(batches, handover("first")))
        await asyncio.to_thread(wait_until, lambda: outbox.sizes)
        rest = [asyncio.ensure_future(batches.accept(group)) for group in ([handover("a")], many, [handover("b")])]
        await asyncio.sleep(0)
        outbox.gate.set()
        await asyncio.gather(first, *rest)

    asyncio.run(run())
    batches.close()

    assert outbox.sizes == [1, 2, 1]
    assert len(outbox.handovers) == len(many) + 3


def test_each_event_gets_its_own_error() -> None:
    """What goes wrong with one event of a batch is not said of the others."""

    def fail(groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        return [OutboxUnavailable("no") if one.id == "bad" else [one.receipt] for (one,) in groups]

    batches = Batches(BrokenOutbox(fail))
    good, bad = asyncio.run(accept_all(batches, ["good", "bad"]))
    batches.close()

    assert good == Receipt("good", 1)
    assert isinstance(bad, OutboxUnavailable)


def test_a_bug_in_the_outbox_leaves_nobody_without_an_answer() -> None:
    """Every event of the batch is refused, and the next batch is tried as ever."""

    def fail(groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        if any(one.id == "bug" for (one,) in groups):
            raise ZeroDivisionError
        return [[one.receipt] for (one,) in groups]

    batches = Batches(BrokenOutbox(fail))

    async def run() -> list[Any]:
        return [await accept_all(batches, ["bug", "other"]), await accept_all(batches, ["next"])]

    (first, second) = asyncio.run(run())
    batches.close()

    assert [type(result) for result in first] == [OutboxUnavailable, OutboxUnavailable]
    assert second == [Receipt("next", 1)]


def test_a_cancelled_request_does_not_hold_up_its_batch() -> None:
    """A client that went away takes nobody with it; its event is in the outbox."""
    outbox = GatedOutbox()
    batches = Batches(outbox)

    async def run() -> Any:
        gone = asyncio.ensure_future(accept(batches, handover("gone")))
        stays = asyncio.ensure_future(accept(batches, handover("stays")))
        await asyncio.to_thread(wait_until, lambda: outbox.sizes)
        gone.cancel()
        outbox.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await stays

    receipt = asyncio.run(run())
    batches.close()

    assert receipt == Receipt("stays", 1)
    assert [one.id for one in outbox.handovers] == ["gone", "stays"]


def test_an_outbox_that_is_away_is_asked_once_by_all_that_wait() -> None:
    """Who waited meanwhile does not wait out one time-out after the other."""
    batches_sent = []

    def fail(handovers: Sequence[Handover]) -> list[Receipt | OutboxError]:
        batches_sent.append(len(handovers))
        return [OutboxUnavailable("away") for _ in handovers]

    with closing(ResilientOutbox(BrokenOutbox(fail))) as outbox:
        batches = Batches(outbox)
        results = asyncio.run(accept_all(batches, [f"e{number}" for number in range(5 * MAX_BATCH)]))
        batches.close()

    assert {type(result) for result in results} == {OutboxUnavailable, OutboxAway}
    assert batches_sent == [MAX_BATCH]


def test_only_so_many_events_wait() -> None:
    """One more than may wait is refused at once; those that wait are handed over."""
    outbox = GatedOutbox()
    batches = Batches(outbox)

    async def run() -> list[Any]:
        first = asyncio.ensure_future(accept(batches, handover("first")))
        await asyncio.to_thread(wait_until, lambda: outbox.sizes)
        ids = [f"e{number}" for number in range(MAX_WAITING + 1)]
        rest = await accept_all(batches, ids, meanwhile=outbox.gate.set)
        return [await first, *rest]

    results = asyncio.run(run())
    batches.close()

    assert [type(result) for result in results].count(Receipt) == MAX_WAITING + 1
    assert isinstance(results[-1], OutboxUnavailable)


def test_a_batch_that_is_held_up_does_not_hold_up_the_next() -> None:
    """Redis is frozen: what comes meanwhile is the outbox' to put elsewhere."""
    gate = threading.Event()
    sizes = []

    class HeldUp(MemoryOutbox):
        def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
            sizes.append(len(groups))
            if groups[0][0].id == "first":
                assert gate.wait(10)
            return super().accept_groups(groups)

    batches = Batches(HeldUp())

    async def run() -> tuple[list[Any], bool, Any]:
        first = asyncio.ensure_future(accept(batches, handover("first")))
        await asyncio.to_thread(wait_until, lambda: sizes)
        rest = await accept_all(batches, ["a", "b"])
        waits = not first.done()
        gate.set()
        return rest, waits, await first

    rest, waits, first = asyncio.run(run())
    batches.close()

    assert waits
    assert [receipt.id for receipt in (*rest, first)] == ["a", "b", "first"]


def test_events_that_may_be_spooled_do_not_wait_for_those_that_may_not() -> None:
    """While Redis is slow the former are done at once: each kind goes by itself."""
    kinds = []

    class Noting(GatedOutbox):
        def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
            kinds.append({handover.spool for group in groups for handover in group})
            return super().accept_groups(groups)

    outbox = Noting()
    batches = Batches(outbox)

    async def run() -> list[Any]:
        first = asyncio.ensure_future(accept(batches, handover("first")))
        await asyncio.to_thread(wait_until, lambda: outbox.sizes)
        mixed = [replace(handover(f"e{number}"), spool=number % 2 == 0) for number in range(20)]
        rest = [asyncio.ensure_future(accept(batches, one)) for one in mixed]
        await asyncio.sleep(0)
        outbox.gate.set()
        return [await first, *await asyncio.gather(*rest)]

    receipts = asyncio.run(run())
    batches.close()

    assert kinds == [{False}, {True}, {False}]
    assert len(receipts) == 21
