"""What became of an event, for who has the token that came with its answer."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from .errors import NotFound, OutboxError, TransformError, Unavailable
from .outbox.handover import JobState, Outbox, Receipt
from .reply import Reply
from .transform import MAX_ITEMS, plain

log = logging.getLogger("trafficrelay")

PATH: Final = "/-/events/"
"""Where it is asked for, below the mount; the event's id follows."""

# What decides, in this order, is what somebody who waits has to know first.
_WORST_FIRST: Final = ("failed", "running", "queued", "spooled", "unknown")

_UNKNOWN: Final = "Nothing is known of this event, or not any more."


class Statuses:
    """Gives out addresses that tell what became of an event, and answers who asks there.

    An address holds the event's id, how many jobs it became, and a token: a message authentication code of both under
    a secret that all processes of an outbox share. So nothing has to be kept for an event, and a repeated one is given
    the address of the first.

    Args:
        outbox: where events go.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._secret = b""

    @property
    def ready(self) -> bool:
        """Whether an address can be given without asking the outbox."""
        return bool(self._secret)

    def address(self, base: str, receipt: Receipt) -> str | None:
        """Give the address of an event that was accepted; `None` while Redis is away and has not told the secret.

        Args:
            base: the path that the relay is mounted at, without a slash at its end.
            receipt: what became of the event.
        """
        try:
            token = self._token(receipt.id, receipt.count)
        except OutboxError as error:
            log.debug("an event is accepted without an address of its status: %s", error)
            return None
        return f"{base}{PATH}{receipt.id}?{urlencode({'jobs': receipt.count, 'token': token})}"

    def answer(self, event_id: str, query: Mapping[str, Any]) -> Reply:
        """Answer who asks.

        Raises:
            NotFound: the token is none of this event, or nothing is known of it any more; the two look alike.
            Unavailable: Redis does not answer.
        """
        jobs, token = query.get("jobs"), query.get("token")
        if not isinstance(jobs, str) or not isinstance(token, str) or not token.isascii():
            raise NotFound(_UNKNOWN)
        if not (jobs.isascii() and jobs.isdigit() and len(jobs) <= len(str(MAX_ITEMS)) and event_id.isalnum()):
            raise NotFound(_UNKNOWN)
        try:
            if not hmac.compare_digest(self._token(event_id, int(jobs)), token):
                raise NotFound(_UNKNOWN)
            states = self._outbox.states(event_id, int(jobs))
        except OutboxError as error:
            raise Unavailable("What became of the event cannot be told now.") from error
        if all(state.state == "unknown" for state in states):
            raise NotFound(_UNKNOWN)
        return Reply(
            200,
            # Who has the token may read it, from whatever page; no cookie is asked for.
            {"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"},
            {"id": event_id, "state": overall(states), "jobs": [_said(state) for state in states]},
        )

    def _token(self, event_id: str, count: int) -> str:
        if not self._secret:
            self._secret = self._outbox.secret()
        said = f"status:{event_id}:{count}".encode()
        return hmac.new(self._secret, said, hashlib.sha256).hexdigest()[:32]


def overall(states: Sequence[JobState]) -> str:
    """Say in a word how an event is: as the job of it that is worst off, `finished` when all are."""
    found = {state.state for state in states}
    return next((word for word in _WORST_FIRST if word in found), "finished")


def _said(state: JobState) -> dict[str, Any]:
    said: dict[str, Any] = {"id": state.id, "state": state.state}
    if state.has_result:
        with contextlib.suppress(TransformError):
            said["result"] = plain(state.result)
    return said
