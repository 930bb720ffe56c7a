"""The way of an event, from a request that has been read to a receipt. It knows no HTTP framework."""

from __future__ import annotations

import json
import logging
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from .body import read_events
from .delivery.order import orders
from .errors import (
    Declined,
    Failed,
    OutboxAway,
    OutboxError,
    RateExceeded,
    Refusal,
    SpoolError,
    TooManyItems,
    TransformError,
    Unavailable,
    Unverified,
)
from .event import FORMAT, Event
from .failures import place, without_words
from .outbox.handover import REPLAY_MARK_TTL, DeadLetter, Handover, Job, Outbox, Receipt, job_id
from .reply import Reply
from .route import Route
from .status import Statuses
from .target import Target
from .transform import MAX_ITEMS, apply

log = logging.getLogger("trafficrelay")

BUGS: Final = (Exception, SystemExit)
"""What is caught around the user's code. A `sys.exit()` deep in a library must not end the host."""

REPLAY: Final = "trafficrelay.dead_letter.replay"
"""The dotted name of the job that runs a dead letter again; a name, because only workers import what is behind it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is ready to be handed over: one event, or several that came together.

    Attributes:
        route: its route.
        event: the event, parsed; of several the request that they came in, its data a list of theirs.
        handovers: what each event becomes, in order.
        several: whether it may hold more than one.
        address: gives where it is told what became of an event; `None` where the route does not say so.
    """

    route: Route
    event: Event
    handovers: tuple[Handover, ...]
    several: bool = False
    address: Callable[[Receipt], str | None] | None = None

    @property
    def writing(self) -> tuple[Handover, ...]:
        """What goes into the outbox, all or nothing of it; events that were dropped are not in it."""
        return tuple(handover for handover in self.handovers if handover.writes)

    def answer(self, receipts: Sequence[Receipt]) -> Reply:
        """Give the route's answer when all is accepted; what is repeated is answered as the first was.

        Args:
            receipts: those of `writing`.
        """
        taken = iter(receipts)
        known = [next(taken) if handover.writes else handover.receipt for handover in self.handovers]
        reply = self._reply(known)
        more: list[tuple[str, str]] = []
        if self.route.origins is not None:
            more += self.route.origins.headers(self.event.headers.get("origin"))
        if self.address is not None and not self.several and known[0].count + bool(self.handovers[0].dead_letter):
            where = self.address(known[0])
            more += [("Location", where)] if where else []
        return reply.adding(more) if more else reply

    def _reply(self, receipts: list[Receipt]) -> Reply:
        chosen = self.route.answer
        if isinstance(chosen, Reply):
            return chosen
        one = None if self.several else receipts[0]
        reply = _chosen(chosen, replace(self.event, id=one.id) if one else self.event) if chosen else None
        if reply is not None:
            return reply
        return Reply(202, body=_said(one) if one else {"events": [self._said(receipt) for receipt in receipts]})

    def _said(self, receipt: Receipt) -> dict[str, Any]:
        where = self.address(receipt) if self.address is not None and receipt.count else None
        return _said(receipt) | ({"status": where} if where else {})


class Intake:
    """Takes events in.

    Args:
        outbox: where accepted events go.
        module: the name of the module that declares the relay; a dead letter finds its way back by it.
    """

    def __init__(self, outbox: Outbox, *, module: str = "") -> None:
        self.outbox = outbox
        self.statuses = Statuses(outbox)
        self._module = module

    def accept(self, route: Route, event: Event, *, base: str = "") -> Reply:
        """Verify, parse, reshape and hand over what a request brings, and give the answer.

        Args:
            route: its route.
            event: the event, with its body and without data.
            base: the path that the relay is mounted at.

        Raises:
            Refusal: it was not accepted, and nothing of it was kept.
        """
        prepared = self.prepare(route, event, base=base)
        writing = prepared.writing
        if not writing:
            return prepared.answer(())
        (taken,) = self.outbox.accept_groups([writing])
        if isinstance(taken, OutboxError):
            raise refusal(writing[0], taken) from taken
        return prepared.answer(taken)

    def prepare(self, route: Route, event: Event, *, base: str = "") -> Prepared:
        """Verify, parse and reshape what a request brings: all of its way but the hand-over.

        Args:
            route: its route.
            event: the event, with its body and without data.
            base: the path that the relay is mounted at.

        Raises:
            Refusal: it is not accepted.
        """
        verify(route, event)
        events = read_events(event, limit=route.limit, content_type=route.content_type, split=route.split)
        address = partial(self.statuses.address, base) if route.status else None
        if not route.split and len(events) == 1 and events[0].id == event.id:
            return Prepared(route, events[0], (self._handover(route, events[0]),), address=address)
        handovers = []
        for number, one in enumerate(events, 1):
            try:
                handovers.append(self._handover(route, one))
            except Refusal as refusal:
                refusal.detail = f"Item {number}: {refusal.detail or refusal.title}"
                raise
        _check_rate(handovers)
        whole = replace(event, data=[one.data for one in events])
        return Prepared(route, whole, tuple(handovers), several=True, address=address)

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
        # It was inflated and split before it was kept, and its header says what it was read as.
        (event,) = read_events(event, limit=len(event.body))
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


def make_jobs(route: Route, event: Event, modules: Sequence[str]) -> tuple[Job, ...]:
    """Run the route's transform and give the event's jobs; none if it is dropped.

    Args:
        route: the route.
        event: the event, parsed.
        modules: where a delivery may find the relay.

    Raises:
        Exception: whatever the user's functions raise, and what is wrong with what they give.
    """
    items = apply(route.reshape, event)
    jobs: list[Job] = []
    for target in route.targets if items else ():
        jobs += _jobs_of(target, event, items, modules)
    if len(jobs) > MAX_ITEMS:
        raise TransformError(f"The event would become {len(jobs)} jobs; {MAX_ITEMS} are the most.")
    return tuple(jobs)


def _jobs_of(target: Target, event: Event, items: Sequence[Any], modules: Sequence[str]) -> Iterator[Job]:
    if target.takes is not None:
        items = [item for item in items if target.takes(item)]
    if not items:
        return
    function = target.job_of if isinstance(target.job_of, str) else target.job_of(event)
    queue = target.queue_of if isinstance(target.queue_of, str) else target.queue_of(event)
    for data in orders(target.destinations, event, items, modules) if target.destinations else items:
        yield Job(function=function, queue=queue, data=data, options=target.options)


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


def _check_rate(handovers: Sequence[Handover]) -> None:
    """Refuse what its rate would never take at once; being told to try again its sender would for ever.

    Raises:
        TooManyItems: there are more events than that.
    """
    counts = Counter(handover.rate_key for handover in handovers)
    rate = handovers[0].limits.rate if handovers else None
    if rate is not None and max(counts.values()) > rate.burst:
        raise TooManyItems(rate.burst)


def _said(receipt: Receipt) -> dict[str, Any]:
    return {"id": receipt.id, "jobs": receipt.jobs}


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
    names: list[str] = []
    for target in route.targets:
        job = target.job_of if isinstance(target.job_of, str) else "*"
        queue = target.queue_of if isinstance(target.queue_of, str) else "*"
        names += [" ".join([job, *(destination.name for destination in target.destinations)]), queue]
    return json.dumps([route.rule, sorted(event.params.items()), *names, key])
