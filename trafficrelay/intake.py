"""The way of an event, from a request that has been read to a receipt. It knows no HTTP framework."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from .body import read_data
from .delivery.order import orders
from .errors import (
    Declined,
    Failed,
    OutboxAway,
    OutboxError,
    RateExceeded,
    Refusal,
    SpoolError,
    TransformError,
    Unavailable,
    Unverified,
)
from .event import FORMAT, Event
from .failures import place, without_words
from .outbox.handover import REPLAY_MARK_TTL, DeadLetter, Handover, Job, Outbox, Receipt, job_id
from .reply import Reply
from .route import Route
from .transform import apply

log = logging.getLogger("trafficrelay")

BUGS: Final = (Exception, SystemExit)
"""What is caught around the user's code. A `sys.exit()` deep in a library must not end the host."""

REPLAY: Final = "trafficrelay.dead_letter.replay"
"""The dotted name of the job that runs a dead letter again; a name, because only workers import what is behind it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An event that is ready to be handed over.

    Attributes:
        route: its route.
        event: the event, parsed.
        handover: what goes into the outbox.
    """

    route: Route
    event: Event
    handover: Handover

    @property
    def writes(self) -> bool:
        """Whether there is anything to hand over; not if the event was dropped."""
        return bool(self.handover.jobs or self.handover.dead_letter)

    def answer(self, receipt: Receipt) -> Reply:
        """Give the route's answer for an accepted event; a repeated one is answered as the first was."""
        chosen = self.route.answer
        if isinstance(chosen, Reply):
            return chosen
        reply = _chosen(chosen, replace(self.event, id=receipt.id)) if chosen else None
        return reply or Reply(202, body={"id": receipt.id, "jobs": receipt.jobs})


class Intake:
    """Takes events in.

    Args:
        outbox: where accepted events go.
        module: the name of the module that declares the relay; a dead letter finds its way back by it.
    """

    def __init__(self, outbox: Outbox, *, module: str = "") -> None:
        self.outbox = outbox
        self._module = module

    def accept(self, route: Route, event: Event) -> Reply:
        """Verify, parse, reshape and hand over one event, and give the answer.

        Raises:
            Refusal: the event was not accepted, and nothing of it was kept.
        """
        prepared = self.prepare(route, event)
        if not prepared.writes:
            return prepared.answer(prepared.handover.receipt)
        try:
            receipt = self.outbox.accept(prepared.handover)
        except OutboxError as error:
            raise refusal(prepared.handover, error) from error
        return prepared.answer(receipt)

    def prepare(self, route: Route, event: Event) -> Prepared:
        """Verify, parse and reshape one event: all of its way but the hand-over.

        Raises:
            Refusal: the event is not accepted.
        """
        verify(route, event)
        event = parse(event)
        return Prepared(route, event, self._handover(route, event))

    def replay(self, route: Route, event: Event, *, settles: str = "") -> Receipt:
        """Run a kept event through today's transform and hand its jobs over.

        It passes by the duplicate key, under which the event itself is remembered, and by the limits. Its own id
        guards against doubles.

        Args:
            route: its route.
            event: the event.
            settles: the dead letter's job that goes with it; a worker that runs it knows that by itself.

        Raises:
            Exception: whatever the transform raises; nothing was handed over.
            OutboxError: the outbox did not take it.
        """
        event = parse(event)
        jobs = make_jobs(route, event, self._modules(route))
        handover = Handover(
            id=event.id,
            route=route.rule,
            context=event.context(route.secret_headers),
            jobs=jobs,
            mark_ttl=REPLAY_MARK_TTL,
            replay=True,
            settles=settles,
        )
        return self.outbox.accept(handover) if jobs or settles else handover.receipt

    def _handover(self, route: Route, event: Event) -> Handover:
        context = event.context(route.secret_headers)
        key: str | None = None
        rate_key = ""
        try:
            rate_key = route.limits.rate.key_of(event) if route.limits.rate else ""
            key = route.key_of(event) if route.key_of else None
            jobs = make_jobs(route, event, self._modules(route))
            letter = None
        except Refusal:
            raise
        except BUGS as error:
            jobs, letter = (), self._failure(route, event, error)
        return Handover(
            id=event.id,
            route=route.rule,
            context=context,
            jobs=jobs,
            dead_letter=letter,
            dedupe=None if key is None else _dedupe_name(route, event, key),
            dedupe_window=route.window,
            limits=route.limits,
            rate_key=rate_key,
            spool=route.spools,
        )

    def _failure(self, route: Route, event: Event, error: BaseException) -> DeadLetter:
        """Turn a failure of the user's code into a dead letter, or refuse where the route says so."""
        # Our own sentences hold no payload; the words of others may.
        words = f": {error}" if isinstance(error, TransformError) else ""
        what = f"event {event.id} of {route.rule} failed: {type(error).__name__}{words} ({place(error)})"
        if route.on_error == "refuse":
            log.error("%s; it was refused", what)
            raise Failed("The event could not be processed.") from error
        queue = _letters_queue(route, event)
        log.error(
            "%s; it becomes the dead letter %s, in the failed registry of queue %s", what, job_id(event.id, 0), queue
        )
        return DeadLetter(
            function=REPLAY,
            queue=queue,
            data={
                "v": FORMAT,
                "modules": self._modules(route),
                "event": event.to_dict(route.secret_headers),
            },
            # An exception's text can hold surrogates, which nothing that writes UTF-8 takes.
            traceback="".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace").decode(),
            ttl=route.options.failure_ttl,
        )

    def _modules(self, route: Route) -> list[str]:
        """Say where a worker may find the relay."""
        # Where the relay was made; or, where a function elsewhere made it, where its transform is.
        return list(dict.fromkeys((self._module, getattr(route.transform, "__module__", ""))))


def verify(route: Route, event: Event) -> None:
    """Ask the route's verifier.

    Raises:
        Unverified: it says anything but `True`.
    """
    if route.verify is None:
        return
    if not callable(route.verify) or route.verify(event) is not True:
        raise Unverified("The sender is not verified.")


def parse(event: Event) -> Event:
    """Give the event with its data read from its body.

    Raises:
        Malformed, UnsupportedBody: the body cannot be read.
    """
    headers = event.headers
    data = read_data(
        event.body,
        method=event.method,
        content_type=headers.get("content-type", ""),
        content_encoding=headers.get("content-encoding", ""),
        query=dict(event.query),
    )
    return replace(event, data=data)


def make_jobs(route: Route, event: Event, modules: Sequence[str]) -> tuple[Job, ...]:
    """Run the route's transform and give the event's jobs; none if it is dropped.

    Args:
        route: the route.
        event: the event, parsed.
        modules: where a delivery may find the relay.

    Raises:
        Exception: whatever the user's functions raise, and what is wrong with what they give.
    """
    items = apply(route.transform, event)
    if not items:
        return ()
    function = route.job_of if isinstance(route.job_of, str) else route.job_of(event)
    queue = route.queue_of if isinstance(route.queue_of, str) else route.queue_of(event)
    arguments = orders(route.destinations, event, items, modules) if route.destinations else items
    return tuple(Job(function=function, queue=queue, data=one, options=route.options) for one in arguments)


def refusal(handover: Handover, error: OutboxError) -> Refusal:
    """Log that the outbox did not take an event, and give the refusal that tells its sender when to try again."""
    if isinstance(error, Declined):
        # As it was set: no fault, and a flood must not flood the log. The answer is logged by who gives it.
        log.debug("event %s was turned away: %s", handover.id, error)
        if isinstance(error, RateExceeded) and handover.limits.rate:
            return handover.limits.rate.refusal(error.retry_after * 1_000_000)
        return Unavailable("No more events are taken now; send it again.", retry_after=error.retry_after)
    # Of a Redis that is away, and of a spool that cannot be written, the outbox has told once.
    log.log(
        logging.DEBUG if isinstance(error, OutboxAway | SpoolError) else logging.ERROR,
        "event %s was refused: %s",
        handover.id,
        error,
    )
    return Unavailable("The event cannot be kept now; send it again.")


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


def _letters_queue(route: Route, event: Event) -> str:
    """Choose the queue in whose failed registry a dead letter lies: the event's own, if the failure left one."""
    if isinstance(route.queue_of, str):
        return route.queue_of
    try:
        return route.queue_of(event)
    except BUGS:
        return "default"


def _dedupe_name(route: Route, event: Event, key: str) -> str:
    """Say what a duplicate key belongs to.

    To the rule's parameters: tenants behind one rule may number their orders alike. To the job and the queue: two
    programs on one Redis may have a rule in common.
    """
    job = route.job_of if isinstance(route.job_of, str) else "*"
    if route.destinations:
        job = " ".join([job, *(destination.name for destination in route.destinations)])
    queue = route.queue_of if isinstance(route.queue_of, str) else "*"
    return json.dumps([route.rule, sorted(event.params.items()), job, queue, key])
