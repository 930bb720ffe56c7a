"""A request on its last step: what is handed over, and how it is answered when that is done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .event import Event
from .failures import BUGS, without_words
from .outbox.handover import Handover, Receipt
from .reply import Reply
from .route import Route

log = logging.getLogger("trafficrelay")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is ready to be handed over: one event, or several that came together.

    Attributes:
        route: its route.
        event: the event, parsed; of several the request that they came in, its data a list of theirs.
        handovers: what each event becomes, in order.
        several: whether it may hold more than one.
        address: gives where it is told what became of an event; `None` where the route does not say so.
        asks: whether giving it may have to ask the outbox, and wait.
        settled: the answer of a challenge; `None` of events.
        challenge: what the challenge is called.
    """

    route: Route
    event: Event
    handovers: tuple[Handover, ...]
    several: bool = False
    address: Callable[[Receipt], str | None] | None = None
    asks: bool = False
    settled: Reply | None = None
    challenge: str = ""

    @property
    def writing(self) -> tuple[Handover, ...]:
        """What goes into the outbox, all or nothing of it; events that were dropped are not in it."""
        return tuple(handover for handover in self.handovers if handover.writes)

    def answer(self, receipts: Sequence[Receipt]) -> Reply:
        """Give the route's answer when all is accepted; what is repeated is answered as the first was.

        Args:
            receipts: those of `writing`.
        """
        if self.settled is not None:
            return self.settled
        taken = iter(receipts)
        known = [next(taken) if handover.writes else handover.receipt for handover in self.handovers]
        places = self._places(known)
        reply = self._reply(known, places)
        more: list[tuple[str, str]] = []
        if self.route.origins is not None:
            more += self.route.origins.headers(self.event.headers.get("origin"))
        if not self.several and places[0]:
            more.append(("Location", places[0]))
        return reply.adding(more) if more else reply

    def _places(self, receipts: Sequence[Receipt]) -> Sequence[str | None]:
        """Give where it is told what became of each event."""
        if self.address is None:
            return [None] * len(receipts)
        pairs = zip(self.handovers, receipts, strict=True)
        return [self.address(receipt) if handover.writes else None for handover, receipt in pairs]

    def _reply(self, receipts: Sequence[Receipt], places: Sequence[str | None]) -> Reply:
        chosen = self.route.answer
        if isinstance(chosen, Reply):
            return chosen
        if chosen is not None:
            event = self.event if self.several else replace(self.event, id=receipts[0].id)
            reply = _chosen(chosen, event)
            if reply is not None:
                return reply
        said = [_said(receipt, place) for receipt, place in zip(receipts, places, strict=True)]
        return Reply(202, body={"events": said} if self.several else said[0])


def _said(receipt: Receipt, place: str | None) -> dict[str, Any]:
    said: dict[str, Any] = {"id": receipt.id, "jobs": receipt.jobs}
    return said | {"status": place} if place else said


def _chosen(choose: Callable[[Event], Reply], event: Event) -> Reply | None:
    # The event is in the outbox: a failing answer must not make its sender send it again.
    try:
        reply: Any = choose(event)
    except BUGS as error:
        log.error(
            "the reply function of %s failed; event %s was accepted\n%s", event.route, event.id, without_words(error)
        )
        return None
    if isinstance(reply, Reply):
        return reply
    log.error("the reply function of %s gave %s instead of a Reply", event.route, type(reply).__name__)
    return None
