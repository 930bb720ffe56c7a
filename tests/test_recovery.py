"""How Redis is tried while it is away: soon, then less and less often, and not by all at once."""

from __future__ import annotations

import gc
import random
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import closing
from unittest import mock

import pytest

from tests.handovers import a_handover
from tests.waiting import wait_until
from trafficrelay import MemoryOutbox
from trafficrelay.errors import OutboxAway, OutboxError, OutboxUnavailable
from trafficrelay.outbox import Handover, Receipt
from trafficrelay.outbox.breaker import Breaker
from trafficrelay.outbox.handover import each
from trafficrelay.outbox.recovery import FIRST_WAIT, MAX_WAIT, Recovery
from trafficrelay.outbox.resilient import ResilientOutbox


class Away(MemoryOutbox):
    """Is away until told otherwise, and counts how often it is tried."""

    def __init__(self) -> None:
        super().__init__()
        self.away = True
        self.tries = 0

    def accept_groups(self, groups: Sequence[Sequence[Handover]]) -> list[list[Receipt] | OutboxError]:
        if self.away:
            return [OutboxUnavailable("away") for _ in groups]
        return super().accept_groups(groups)

    def check(self) -> None:
        self.tries += 1
        if self.away:
            raise OutboxUnavailable("away")


def recovery_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trafficrelay-recovery"]


def test_redis_is_tried_less_and_less_often_and_not_by_all_relays_at_once() -> None:
    """Each wait is up to twice the last, up to a bound, and up to a half shorter by chance."""
    waits: list[float] = []

    def pause(self: Recovery, seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 40:
            inner.away = False

    inner = Away()
    with mock.patch.object(Recovery, "_pause", pause), closing(ResilientOutbox(inner)) as outbox:
        each(outbox, [a_handover()])
        wait_until(lambda: not recovery_threads())

    while_away = waits[:40]
    bounds = [min(FIRST_WAIT * 2**number, MAX_WAIT) for number in range(40)]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(while_away, bounds, strict=True))
    assert len({round(wait, 6) for wait in while_away[10:]}) > 20


def test_the_hosts_own_random_numbers_are_left_alone() -> None:
    """A host that seeds `random` gets what it seeded, whatever a thread of the relay does meanwhile."""
    inner = Away()
    before = random.getstate()
    with closing(ResilientOutbox(inner)) as outbox:
        each(outbox, [a_handover()])
        wait_until(lambda: inner.tries > 2)

    assert random.getstate() == before


def test_a_thread_tries_redis_and_requests_do_not() -> None:
    """It ends when Redis is back, because without a spool there is nothing else for it to do."""
    inner = Away()
    with closing(ResilientOutbox(inner)) as outbox:
        assert recovery_threads() == []
        each(outbox, [a_handover()])
        wait_until(lambda: inner.tries > 2)
        inner.away = False
        wait_until(lambda: isinstance(each(outbox, [a_handover()])[0], Receipt))
        wait_until(lambda: not recovery_threads())


def test_a_second_outage_is_noticed_as_the_first() -> None:
    """Also while the thread of the first is just about to end."""
    inner = Away()
    with closing(ResilientOutbox(inner)) as outbox:
        for _ in range(5):
            inner.away = True
            wait_until(lambda: isinstance(each(outbox, [a_handover()])[0], OutboxError))
            inner.away = False
            wait_until(lambda: isinstance(each(outbox, [a_handover()])[0], Receipt))

    assert len(inner.handovers) == 5


def test_closing_ends_the_thread() -> None:
    """In the middle of an outage."""
    outbox = ResilientOutbox(Away())
    each(outbox, [a_handover()])
    assert recovery_threads()
    outbox.close(5)

    assert recovery_threads() == []


def test_the_thread_of_an_outbox_that_nobody_has_any_more_ends() -> None:
    """Not everybody closes."""
    outbox = ResilientOutbox(Away())
    each(outbox, [a_handover()])
    assert recovery_threads()
    del outbox
    gc.collect()

    wait_until(lambda: not recovery_threads())


def test_refusals_do_not_pile_up_in_memory() -> None:
    """An error that is raised again and again collects the frames of all who raised it, with their events."""
    with closing(ResilientOutbox(Away())) as outbox:
        errors = []
        for _ in range(50):
            with pytest.raises(OutboxUnavailable) as caught:
                outbox.accept(a_handover())
            errors.append(caught.value)

    assert len(set(map(id, errors))) == 50
    assert max(len(traceback.extract_tb(error.__traceback__)) for error in errors) < 5


def test_the_thread_goes_on_whatever_happens_to_it() -> None:
    """Nobody else closes the breaker."""
    inner = Away()
    with (
        mock.patch.object(inner, "check", side_effect=[RuntimeError("boom"), None]),
        closing(ResilientOutbox(inner)) as outbox,
    ):
        each(outbox, [a_handover()])
        inner.away = False
        wait_until(lambda: isinstance(each(outbox, [a_handover()])[0], Receipt))


def test_asking_whether_it_is_ready_opens_the_breaker() -> None:
    """So that the next one who asks, and the next event, need not wait for a time-out."""
    inner = Away()
    with closing(ResilientOutbox(inner)) as outbox:
        with pytest.raises(OutboxUnavailable):
            outbox.check()
        inner.tries = -1_000  # none of those that follow is a request's
        with pytest.raises(OutboxAway):
            outbox.check()
        with pytest.raises(OutboxAway):
            outbox.accept(a_handover())

    assert inner.handovers == []


def test_an_answer_from_before_redis_came_back_does_not_open_the_breaker_again() -> None:
    """A slow thread tells of an outage that is over."""
    breaker = Breaker("Events are refused.")
    asked = time.monotonic()
    breaker.trip(OutboxUnavailable("away"), since=asked)
    breaker.close()
    breaker.trip(OutboxUnavailable("away"), since=asked)
    assert breaker.error is None
    breaker.trip(OutboxUnavailable("away again"), since=time.monotonic())

    assert str(breaker.error) == "away again"
