"""The intake of a test client: the relay's own, which also tells what the user's code raised."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace

from ..errors import Refusal
from ..event import Event
from ..failures import BUGS
from ..intake import Intake
from ..outbox.handover import DeadLetter
from ..prepared import Prepared
from ..reply import Reply
from ..route import Route
from .clock import Clock
from .outbox import StandInOutbox


class WatchedIntake(Intake):
    """Takes events in as `Intake` does, at the clock's time, and keeps the errors that it keeps to itself.

    A subclass, because an intake turns what is raised into words for the log before anybody else sees it.

    Args:
        outbox: where events go, and where errors are noted.
        module: the relay's module.
        clock: says what time it is.
    """

    def __init__(self, outbox: StandInOutbox, *, module: str, clock: Clock) -> None:
        super().__init__(outbox, module=module)
        self._notes = outbox
        self._clock = clock

    def accept(self, route: Route, event: Event, *, base: str = "") -> Reply:
        """Take in what a request brings."""
        try:
            reply = super().accept(route, replace(event, received_at=self._clock.now()), base=base)
        except Refusal:
            raise
        except BUGS as error:  # of a verifier, say
            self._notes.seen.errors[event.id] = error
            raise
        self._notes.seen.accepted = True
        return reply

    def challenged(self, route: Route, event: Event) -> Reply | None:
        """Answer a challenge on a method that its route does not take."""
        return super().challenged(route, replace(event, received_at=self._clock.now()))

    def _met(self, route: Route, event: Event, *, signed: bool) -> Prepared | None:
        prepared = super()._met(route, event, signed=signed)
        if prepared is not None:
            self._notes.seen.challenge = prepared.challenge
        return prepared

    def _failure(self, route: Route, event: Event, error: BaseException) -> DeadLetter:
        self._notes.seen.errors[event.id] = error
        return super()._failure(route, event, error)


def watched(routes: Iterable[Route], outbox: StandInOutbox) -> tuple[Route, ...]:
    """Give the routes with reply functions that tell what they raise; the relay's own stay as they are."""
    return tuple(_watched(route, outbox) for route in routes)


def _watched(route: Route, outbox: StandInOutbox) -> Route:
    if route.answer is None or isinstance(route.answer, Reply):
        return route
    copied = copy.copy(route)
    # Not dataclasses.replace, which would read all options again. It is frozen, and just made.
    object.__setattr__(copied, "answer", _telling(route.answer, outbox))
    return copied


def _telling(choose: Callable[[Event], Reply], outbox: StandInOutbox) -> Callable[[Event], Reply]:
    def reply(event: Event) -> Reply:
        try:
            return choose(event)
        except BUGS as error:
            outbox.seen.errors[event.id] = error
            raise

    return reply
