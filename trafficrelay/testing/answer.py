"""What became of a request: the answer, and what was queued."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..event import Event, Headers
from .jobs import Jobs
from .saved import SavedRequest

__tracebackhide__ = True  # pytest shows the line of the test, and not those here


class Refused(NamedTuple):
    """Why a request was not accepted; it compares with a pair: `answer.rejected == (422, "no such shop")`.

    Attributes:
        status: the answer's status.
        detail: the sentence in its problem document.
    """

    status: int
    detail: str


@dataclass(frozen=True, slots=True, repr=False)
class Letter:
    """A dead letter: an event whose transform failed, which was kept.

    Attributes:
        error: what was raised.
        traceback: the same in words, as the letter holds it.
        event: the event, as it would be run again.
        queue: the queue in whose failed registry it lies.
    """

    error: BaseException
    traceback: str
    event: Event
    queue: str

    def __repr__(self) -> str:
        return f"<Letter {''.join(traceback.format_exception_only(self.error)).strip()}>"


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Answer:
    """What became of a request.

    Attributes:
        request: what was sent, whole: `answer.request.save("tests/requests/push.http")`.
        status: the answer's status.
        headers: its headers, whatever the case of their names.
        body: its bytes.
        queued: the jobs that are in the queues now because of it. A repeated event has queued none.
        spooled: the jobs that wait in the spool, because Redis was away.
        dropped: whether it was accepted and became nothing, as its transform said.
        rejected: status and detail of a request that was not accepted; `None` of one that was.
        duplicate: whether it was known already, and so became nothing.
        dead_letter: the event that its transform failed on; `None` where it did not.
        id: the event's id; of a repeated one the first one's. `""` where nothing became of it.
        challenge: what the provider calls the challenge that it was, which the route answered; `""` of events.
    """

    request: SavedRequest
    status: int
    headers: Headers
    body: bytes
    queued: Jobs = field(default_factory=Jobs)
    spooled: Jobs = field(default_factory=Jobs)
    dropped: bool = False
    rejected: Refused | None = None
    duplicate: bool = False
    dead_letter: Letter | None = None
    id: str = ""
    hint: str = ""
    challenge: str = ""

    @property
    def unverified(self) -> bool:
        """Whether it was refused because its sender did not prove who they are."""
        return self.status == 401

    @property
    def text(self) -> str:
        """The answer's body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """What the answer's body says.

        Raises:
            AssertionError: it is no JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise AssertionError(f"The answer is no JSON. {self.said} Its body: {self.body!r}") from error

    @property
    def data(self) -> Any:
        """The argument of the one job that was queued.

        Raises:
            AssertionError: there is none, or more than one.
        """
        if len(self.queued) == 1:
            return self.queued[0].data
        if not self.queued:
            raise AssertionError(f"No job was queued. {self.said}")
        shown = "\n".join(f"  {job!r}" for job in self.queued)
        raise AssertionError(f"{len(self.queued)} jobs were queued; look at .queued for each:\n{shown}")

    @property
    def said(self) -> str:
        """What became of it, in a sentence or two."""
        return f"{self.request.method} {self.request.target} was answered {self.status}{self._became()}"

    def _became(self) -> str:
        if self.rejected is not None:
            detail = f": {self.rejected.detail}" if self.rejected.detail else "."
            return f"{detail} {self.hint}".rstrip()
        if self.challenge:
            return f" as a challenge ({self.challenge})."
        if self.dead_letter is not None:
            return f", and its transform failed: {self.dead_letter!r}."
        if self.duplicate:
            return f": a duplicate of event {self.id}."
        if self.dropped:
            return ": its transform dropped it."
        if self.spooled:
            return f", {_jobs(len(self.spooled))} in the spool."
        return f", {_jobs(len(self.queued))} queued." if self.queued else "."

    def __repr__(self) -> str:
        return f"<Answer: {self.said}>"


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"
