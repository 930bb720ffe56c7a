"""Reading what was handed over, for a test to look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..delivery.order import DELIVER
from ..event import Event, Headers
from ..outbox.handover import Handover, Job
from ..relay import Relay
from ..reply import PROBLEM
from ..verify.confirms import CONFIRM
from .answer import Answer, Letter, Refused
from .delivering import destination
from .jobs import Queued
from .outbox import Seen
from .saved import SavedRequest


class Reader:
    """Turns what an outbox was given into what tests compare.

    Args:
        relay: the relay, whose destinations deliveries name.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def jobs(self, handovers: Iterable[Handover]) -> list[Queued]:
        """Give the jobs of events."""
        return [
            self._job(handover, number, job) for handover in handovers for number, job in enumerate(handover.jobs, 1)
        ]

    def deliveries(self, handovers: Iterable[Handover]) -> Iterator[tuple[Handover, int, Job]]:
        """Give those that are deliveries, with their events and their numbers."""
        for handover in handovers:
            for number, job in enumerate(handover.jobs, 1):
                if self.is_delivery(job):
                    yield handover, number, job

    def is_delivery(self, job: Job) -> bool:
        """Whether a job is a delivery."""
        return job.function == DELIVER

    def is_ours(self, job: Job) -> bool:
        """Whether a job is one of the relay's own, which would send something."""
        return job.function in (DELIVER, CONFIRM)

    def letter(self, handover: Handover, errors: Mapping[str, BaseException]) -> Letter | None:
        """Give an event's dead letter, if it became one.

        Args:
            handover: the event's.
            errors: what was raised, by the ids of events.
        """
        letter = handover.dead_letter
        if letter is None:
            return None
        event = Event.from_dict(letter.data["event"])
        return Letter(errors[handover.id], letter.traceback, event, letter.queue)

    def answer(
        self,
        request: SavedRequest,
        status: int,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        seen: Seen,
        hint: str,
    ) -> Answer:
        """Give what became of a request.

        Args:
            request: what was sent.
            status: the answer's status.
            headers: its headers.
            body: its body.
            seen: what was handed over.
            hint: what its author may have forgotten, should it be refused.
        """
        found = _joined(headers)
        rejected = Refused(status, _detail(found, body)) if status >= 400 else None
        letters = [letter for one in seen.taken + seen.spooled if (letter := self.letter(one, seen.errors))]
        known = [*(one.id for one in seen.taken + seen.spooled), *(receipt.id for receipt in seen.repeated)]
        made = Answer(
            request=request,
            status=status,
            headers=found,
            body=body,
            dropped=seen.accepted and not known and not seen.challenge,
            rejected=rejected,
            duplicate=bool(seen.repeated) and not seen.taken and not seen.spooled,
            dead_letter=letters[0] if letters else None,
            id=known[0] if known else "",
            challenge=seen.challenge if rejected is None else "",
            hint=hint if status in (401, 404, 405) else "",
        )
        made.queued.extend(self.jobs(seen.taken))
        made.spooled.extend(self.jobs(seen.spooled))
        made.queued.why = made.spooled.why = (made.said,)
        return made

    def _job(self, handover: Handover, number: int, job: Job) -> Queued:
        if not self.is_delivery(job):
            return Queued(handover, number, job, None, "", job.data)
        order, found = destination(self._relay, job)
        return Queued(handover, number, job, found.url, found.name, order.data if order.raw is None else order.raw)


def _joined(headers: Sequence[tuple[str, str]]) -> Headers:
    found: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return Headers(found)


def _detail(headers: Headers, body: bytes) -> str:
    if headers.get("content-type", "").partition(";")[0] != PROBLEM:
        return ""
    return str(json.loads(body).get("detail", ""))
