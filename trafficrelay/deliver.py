"""The job that delivers an event to a URL: what workers run for routes with `deliver=`.

A later try is scheduled by returning an `rq.Retry`, so that it works under stock workers that have a scheduler, and no
thread ever waits. How often it was tried stands in `job.meta`; RQ's own count goes up with each put-off too.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from rq import Retry, get_current_job
from rq.job import Job
from rq.timeouts import JobTimeoutException

from .delivery.circuit import Circuit, Permit, enabling
from .delivery.destination import Deliver, chosen
from .delivery.envelope import Envelope, Origin, envelope
from .delivery.kept import kept
from .delivery.order import Order
from .delivery.outcome import Outcome, of_failure, of_response
from .delivery.progress import KEY, Progress
from .errors import (
    AddressForbidden,
    ConnectionFailed,
    DeadLetterError,
    DeliveryError,
    DeliveryFailed,
    DestinationDisabled,
)
from .event import now
from .finding import find_relay
from .relay import Relay

try:
    from .delivery.transport import Request, Response
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "urllib3":
        raise
    raise DeliveryError("Workers that deliver need urllib3: pip install 'trafficrelay[deliver]' there.") from error

log: Final = logging.getLogger("trafficrelay.deliver")

_SPREAD: Final = (10.0, 300.0)
"""Seconds at least and at most over which deliveries that were put off come back, so that they do not all come at once:
half as long as they wait."""

_BUSY: Final = 10.0
"""Seconds after which another look is taken while a probe is on its way: it is mostly answered within seconds."""

_PUT_OFF: Final[Mapping[str, str]] = {
    "held": "as it asked for with Retry-After",
    "open": "because it seems to be down",
    "busy": "because it seems to be down and another delivery probes it",
}
"""Why a delivery is put off, by what the circuit says."""


def deliver(order: dict[str, Any]) -> dict[str, Any] | Retry:
    """Deliver an event, or what has become of it.

    Args:
        order: what the intake made: see `delivery.order.Order`.

    Returns:
        The answer: `status`, `headers`, `body` (the first KB as text), `seconds`, and `tries`; or, where it has to be
        tried again, RQ's `Retry`.

    Raises:
        DeliveryFailed: the destination turned it down, or its tries are used up.
        DestinationDisabled: it was disabled before.
        AddressForbidden: its host leads to where deliveries do not go.
        DeliveryError: this worker cannot deliver it: its relay, route or destination is not found here.
    """
    job = get_current_job()
    if job is None:
        raise DeliveryError("A delivery is run by a worker; outside of one there is no job that it belongs to.")
    what = Order.from_dict(order)
    relay = _relay(what)
    return _Delivery(job, what, relay, _destination(relay, what)).run()


class _Delivery:
    """One run of one delivery."""

    def __init__(self, job: Job, order: Order, relay: Relay, destination: Deliver) -> None:
        self._job = job
        self._order = order
        self._relay = relay
        self._to = destination
        self._now = now()
        self._progress = Progress.of(job.meta, self._now.timestamp())
        self._circuit = Circuit(job.connection, destination)

    def run(self) -> dict[str, Any] | Retry:
        permit = self._circuit.ask()
        if permit.answer == "disabled":
            self._end({"said": "was not tried: it is disabled"})
            raise DestinationDisabled(
                f"{self._to.title} is disabled, because it said that it is gone (410). {self._remedy()}",
                destination=self._to.label,
            )
        if not permit.granted:
            return self._put_off(permit)
        told = False
        try:
            sealed = envelope(self._to, self._order, _origin(self._job), self._now)
            outcome, response = self._send(sealed)
            self._tell(permit, outcome)
            told = True
        finally:
            if not told:
                self._circuit.back(permit)
        answer = kept(response, sealed.secrets) if response is not None else {}
        return self._settle(outcome, answer)

    def _send(self, sealed: Envelope) -> tuple[Outcome, Response | None]:
        request = Request(
            method=self._to.method,
            url=sealed.url,
            headers=sealed.headers,
            body=sealed.body,
            connect_timeout=self._to.connect_timeout,
            read_timeout=self._to.read_timeout,
        )
        try:
            response = self._relay.transports.of(self._to.guard).send(request)
        except AddressForbidden as error:
            text, host, address = f"{self._to.title}: {error}", error.host, error.address
            self._end({"said": text})
            # Without what it came of, whose words and lines may hold the URL.
            raise AddressForbidden(text, host=host, address=address) from None
        except ConnectionFailed as error:
            return of_failure(error), None
        except JobTimeoutException:
            # The job's own time-out ends a try like the destination's would: another one may be answered.
            return of_failure(ConnectionFailed("the job's time-out came first", sent=True)), None
        return of_response(response, now()), response

    def _tell(self, permit: Permit, outcome: Outcome) -> None:
        if outcome.kind == "disabled":
            self._circuit.gone(outcome.status)
        elif outcome.down:
            self._circuit.down(permit, outcome.retry_after)
        else:
            self._circuit.up(outcome.retry_after)

    def _settle(self, outcome: Outcome, answer: Mapping[str, Any]) -> dict[str, Any] | Retry:
        tries = self._progress.tries + 1
        if outcome.kind == "delivered":
            return {**answer, "tries": tries}
        last = {"at": self._now.isoformat(), "said": outcome.said, **answer}
        self._progress = replace(self._progress, tries=tries, last=last)
        wait = self._to.waits.wait(tries) if outcome.kind == "retry" else None
        if wait is not None:
            why = f"{outcome.said} (try {tries} of {self._to.waits.tries})"
            # A second more: RQ rounds times down to seconds, and it would come while the circuit still holds it off.
            asked = outcome.retry_after + 1 if outcome.retry_after else 0
            return self._again(max(wait, asked), why, logging.WARNING)
        raise self._failure(outcome)

    def _put_off(self, permit: Permit) -> Retry:
        """Come back when the circuit may let it through; that is no try, and no thread waits meanwhile."""
        self._progress = replace(self._progress, put_offs=self._progress.put_offs + 1)
        age = self._now.timestamp() - self._progress.since
        if age >= self._to.waits.patience:
            self._end(self._progress.last)
            raise DeliveryFailed(
                f"{self._to.title} was down or held off too long: after {age / 3600:.0f} h and {self._progress.tries} "
                "tries the delivery is given up.",
                destination=self._to.label,
                status=int(self._progress.last.get("status", 0)),
                tries=self._progress.tries,
            )
        wait = min(permit.wait, _BUSY) if permit.answer == "busy" else permit.wait
        least, most = _SPREAD
        spread = min(max(least, wait / 2), most) * random.random()  # noqa: S311 - what is drawn here is no secret
        return self._again(math.ceil(wait + spread), f"put off, {_PUT_OFF[permit.answer]}", logging.INFO)

    def _again(self, seconds: int, why: str, level: int) -> Retry:
        seconds = max(seconds, 1)
        log.log(level, "delivery %s to %s: %s, again in %d s", self._job.id, self._to.title, why, seconds)
        # RQ writes the meta with the job when it schedules it.
        self._job.meta[KEY] = self._progress.to_dict()
        # RQ counts every time that the job came again, put-offs and those before a requeue too, and ends it at `max`;
        # so that is as far ahead as there are tries left, which is also what RQ then logs as remaining. At least one
        # is: the schedule may have become shorter since.
        left = max(self._to.waits.tries - self._progress.tries, 1)
        return Retry(max=(self._job.number_of_retries or 0) + left, interval=[seconds])

    def _failure(self, outcome: Outcome) -> DeliveryFailed:
        """Give the error that ends it. Who runs the job logs it, so it is not logged here."""
        tries = self._progress.tries
        self._end(self._progress.last)
        said = f"{self._to.title} {outcome.said}"
        if outcome.kind == "disabled":
            said = f"{said}: it is disabled. {self._remedy()}"
        else:
            said = f"{said} (try {tries} of {self._to.waits.tries})."
        return DeliveryFailed(said, destination=self._to.label, status=outcome.status, tries=tries)

    def _remedy(self) -> str:
        return f"{enabling(self._to)} enables it; then `trafficrelay replay MODULE:RELAY` runs this delivery again."

    def _end(self, last: Mapping[str, Any]) -> None:
        """Write down that it is over: RQ does not write the meta of a job that raises."""
        self._progress = replace(self._progress, last=last)
        self._job.meta[KEY] = self._progress.to_dict(over=True)
        self._job.save_meta()


def _relay(order: Order) -> Relay:
    try:
        return find_relay(order.modules, order.route, order.method)
    except DeadLetterError as error:
        raise DeliveryError(str(error)) from error


def _destination(relay: Relay, order: Order) -> Deliver:
    route = relay.find(order.route, order.method)
    destination = chosen(route.destinations, order.to) if route is not None else None
    if destination is None:
        raise DeliveryError(f"The route {order.method} {order.route} has no destination {order.to} any more.")
    return destination


def _origin(job: Job) -> Origin:
    """Say what the relay noted of the event in the job's meta; the job's own time where somebody removed that."""
    context = job.meta.get("trafficrelay")
    noted = context if isinstance(context, dict) else {}
    params = noted.get("params")
    return Origin(job.id, _received_at(job, noted), params if isinstance(params, dict) else {})


def _received_at(job: Job, noted: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(noted["received_at"])
    except (KeyError, TypeError, ValueError):
        return job.created_at.replace(tzinfo=UTC)
