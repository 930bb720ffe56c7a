"""The challenges that come to a route, and what they become: an answer, and mostly nothing else."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final

from .backoff import Retries
from .brought import Brought
from .errors import Refusal
from .event import Event
from .failures import BUGS
from .outbox.handover import Handover, Job
from .prepared import Prepared
from .route import Route
from .target import JobOptions
from .verify.handshakes import Answered, meet

if TYPE_CHECKING:
    from .verify.checking import Check

log: Final = logging.getLogger("trafficrelay")

CONFIRMING: Final = JobOptions(
    retries=Retries(5, (10, 60, 300, 900, 3600)), timeout=60, failure_ttl=3 * 86_400, result_ttl=3600
)
"""How a subscription is confirmed: SNS' tokens are good for days, and nobody else tries again once it was answered."""

_SAME: Final = 3600
"""Seconds within which the same URL is confirmed once: SNS sends again what was answered too late."""


def met(route: Route, event: Event, brought: Brought, *, signed: bool) -> Prepared | None:
    """Meet the challenge that a request is; `None` of one that is none.

    Args:
        route: its route.
        event: the request.
        brought: keeps a secret that it brings.
        signed: whether it has been verified.

    Raises:
        Unverified, Malformed: it is one, and not good.
        Unavailable: what it brings cannot be kept now.
    """
    check: Check = route.verify  # type: ignore[assignment]  # what has handshakes is one
    answered = meet(route.handshakes, event, check, signed=signed)
    if answered is None:
        return None
    if answered.keep is not None:
        brought.keep(route, event, answered.keep)
    log.info("%s %s: %s was answered", event.method, route.rule, answered.title)
    handovers = _confirming(route, event, answered)
    return Prepared(route, event, handovers, settled=answered.reply, challenge=answered.title)


def is_challenge(route: Route, event: Event) -> bool:
    """Tell whether a request that is not verified yet is a challenge that has to be; a bad one is, too."""
    check: Check = route.verify  # type: ignore[assignment]  # what has handshakes is one
    try:
        return meet(route.handshakes, event, check, signed=True) is not None
    except Refusal:
        return True


def _confirming(route: Route, event: Event, answered: Answered) -> tuple[Handover, ...]:
    """Give the job of ours that goes with a challenge."""
    if answered.job is None:
        return ()
    function, argument = answered.job
    job = Job(function=function, queue=_queue(route, event), data=argument, options=CONFIRMING)
    return (
        Handover(
            id=event.id,
            route=route.rule,
            context=event.context(route.secret_headers),
            jobs=(job,),
            dedupe=json.dumps([route.rule, function, argument]),
            dedupe_window=_SAME,
        ),
    )


def _queue(route: Route, event: Event) -> str:
    queue = route.targets[0].queue_of
    if isinstance(queue, str):
        return queue
    try:
        return queue(event)
    except BUGS:  # it may look for what a challenge has not
        return "default"
