"""The way of an event, from a request that has been read to a receipt. It knows no HTTP framework."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from .body import read_events
from .bounds import MAX_JOBS, check_jobs, check_rate
from .brought import Brought
from .challenges import is_challenge, met
from .delivery.order import orders
from .errors import (
    DeadLetterError,
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
from .failures import BUGS, place
from .outbox.counters import Counter
from .outbox.handover import REPLAY_MARK_TTL, DeadLetter, Handover, Job, Outbox, Receipt, job_id
from .prepared import Prepared
from .reply import Reply
from .route import Route
from .status import Statuses
from .target import Target
from .transform import MAX_ITEMS, apply
from .verify.handshakes import check_no_echo
from .verify.verified import Verified

log = logging.getLogger("trafficrelay")

REPLAY: Final = "trafficrelay.dead_letter.replay"
"""The dotted name of the job that runs a dead letter again; a name, because only workers import what is behind it."""


class Intake:
    """Takes events in.

    Args:
        outbox: where accepted events go.
        module: the name of the module that declares the relay; a dead letter finds its way back by it.
    """

    def __init__(self, outbox: Outbox, *, module: str = "") -> None:
        self.outbox = outbox
        self.statuses = Statuses(outbox)
        self._brought = Brought(outbox)
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
        return self.hand_over(self.prepare(route, event, base=base))

    def challenged(self, route: Route, event: Event) -> Reply | None:
        """Answer a challenge that comes on a method which its route does not take; `None` of what is none.

        Raises:
            Refusal: it is not accepted.
        """
        prepared = self._met(route, event, signed=False)
        if prepared is None and is_challenge(route, event):
            prepared = self._met(route, self._verified(route, event), signed=True)
        return None if prepared is None else self.hand_over(prepared)

    def hand_over(self, prepared: Prepared) -> Reply:
        """Hand over what was prepared, and give the answer.

        Raises:
            Refusal: it was not accepted, and nothing of it was kept.
        """
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
        if route.handshakes and (met := self._met(route, event, signed=False)):
            return met
        event = self._verified(route, event)
        if route.handshakes and (met := self._met(route, event, signed=True)):
            return met
        events = read_events(
            event, limit=route.limit, content_type=route.reads_as, split=route.split, empty=route.takes_empty
        )
        address = partial(self.statuses.address, base) if route.status else None
        asks = route.status and not self.statuses.ready
        if not route.split and len(events) == 1 and events[0].id == event.id:
            handover = self._handover(route, events[0])
            if len(handover.jobs) > 1:
                check_jobs([handover])
            return Prepared(route, events[0], (handover,), address=address, asks=asks)
        handovers: list[Handover] = []
        jobs = 0
        for number, one in enumerate(events, 1):
            try:
                handovers.append(self._handover(route, one, number if route.numbers_items else 0))
            except Refusal as refusal:
                raise refusal.of_item(number) from refusal
            jobs += len(handovers[-1].jobs)
            if jobs > MAX_JOBS:
                break
        check_jobs(handovers)
        check_rate(handovers)
        whole = replace(event, data=[one.data for one in events])
        return Prepared(route, whole, tuple(handovers), several=True, address=address, asks=asks)

    def _met(self, route: Route, event: Event, *, signed: bool) -> Prepared | None:
        """Meet the challenge that a request is; `None` of one that is none."""
        try:
            return met(route, event, self._brought, signed=signed)
        except (Unverified, Unavailable) as refusal:
            self._count("refused", refusal.cause, route)
            raise

    def _verified(self, route: Route, event: Event) -> Event:
        """Verify, and count what was refused and why, and by which of several secrets what was not."""
        try:
            event = verify(route, event, partial(self._brought.check, route) if route.brings else None)
            check_no_echo(route.handshakes, event)
        except (Unverified, Unavailable) as refusal:
            self._count("refused", refusal.cause, route)
            raise
        if event.verified_by:
            self._count("verified", event.verified_by, route)
        return event

    def _count(self, what: str, why: str, route: Route) -> None:
        try:
            self.outbox.add_counts({Counter(what, why, route.rule): 1})
        except (OutboxError, AttributeError) as error:
            # An outbox of a user's own may not count.
            log.debug("nothing was counted: %s", error)

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
        # It was inflated and split before it was kept. What a route says of its bodies may have been what was wrong.
        content_type = "" if route.split else route.reads_as
        events = read_events(event, limit=len(event.body), content_type=content_type, empty=route.takes_empty)
        if len(events) != 1:
            raise DeadLetterError(
                f"The event {event.id} holds {len(events)} events today; send them to the route again."
            )
        (event,) = events
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

    def _handover(self, route: Route, event: Event, number: int = 0) -> Handover:
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
            dedupe=None if key is None else _dedupe_name(route, event, f"{key} {number}" if number else key),
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
            ttl=route.letter_ttl,
        )

    def _modules(self, route: Route) -> list[str]:
        """Say where a worker may find the relay."""
        # Where the relay was made; or, where a function elsewhere made it, where its transform is.
        return list(dict.fromkeys((self._module, getattr(route.transform, "__module__", ""))))


def verify(route: Route, event: Event, check: Callable[[Event], Any] | None = None) -> Event:
    """Ask the route's verifier; give the event with which secret its sender has.

    Args:
        route: the route.
        event: the event.
        check: what is asked in place of the verifier.

    Raises:
        Unverified: it says anything but `True`, or gives no `Verified`.
    """
    check = check or route.check
    if check is not None:
        verified = check(event)
        if not isinstance(verified, Verified):
            raise Unverified("The sender is not verified.")
        return replace(event, verified_by=verified.key) if verified.key else event
    if route.verify is None:
        return event
    if not callable(route.verify) or route.verify(event) is not True:
        raise Unverified("The sender is not verified.")
    return event


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


def _letters_queue(route: Route, event: Event) -> str:
    """Choose the queue in whose failed registry a dead letter lies: that of its first job, if the failure left one."""
    queue = route.targets[0].queue_of
    if isinstance(queue, str):
        return queue
    try:
        return queue(event)
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
