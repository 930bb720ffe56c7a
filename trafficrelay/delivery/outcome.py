"""What an answer means for a delivery."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import responses
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from ..errors import ConnectionFailed

if TYPE_CHECKING:
    from .transport import Response

MOST_RETRY_AFTER: Final = 86_400
"""Seconds to which a `Retry-After` counts; more is cut to it."""

Kind: TypeAlias = Literal["delivered", "retry", "disabled", "failed"]

_AGAIN: Final = frozenset({408, 425, 429})
"""The 4xx that are no verdict on the request: the server had waited for it too long (RFC 9110, 15.5.9: "the client MAY
repeat that request"), it came too early in the connection (RFC 8470, 5.2: may be sent again), or too much came."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try.

    Attributes:
        kind: `delivered`; `retry`, try again; `disabled`, the destination is gone; `failed`, it is over.
        down: whether the destination seems to be down: it gave no answer, or a 5xx.
        status: the answer's status, 0 without one.
        retry_after: seconds before which it wants no other try; 0 where it does not say.
        said: what happened, in words that hold nothing of what was sent or answered.
    """

    kind: Kind
    down: bool
    status: int
    retry_after: int
    said: str


def of_response(response: Response, now: datetime) -> Outcome:
    """Say what an answer means.

    Args:
        response: the answer.
        now: the time, in UTC, for a `Retry-After` that is a date.
    """
    status = response.status
    words = responses.get(status, "")
    said = f"answered {status} {words}".rstrip()
    if 200 <= status <= 299:
        return Outcome("delivered", False, status, 0, said)
    if status == 410:
        return Outcome("disabled", False, status, 0, said)
    if status in _AGAIN or 500 <= status <= 599:
        return Outcome("retry", status >= 500, status, retry_after(response.headers.get("retry-after", ""), now), said)
    if 300 <= status <= 399:
        said = f"{said}, and redirects are not followed"
    return Outcome("failed", False, status, 0, said)


def of_failure(error: ConnectionFailed) -> Outcome:
    """Say what it means that there was no answer."""
    return Outcome("retry", True, 0, 0, f"gave no answer ({str(error).rstrip('.')})")


def retry_after(value: str, now: datetime) -> int:
    """Read a `Retry-After` (RFC 9110, 10.2.3): seconds or a date. What cannot be read, or is past, is 0.

    Args:
        value: the header's value.
        now: the time, in UTC.

    Returns:
        Whole seconds, `MOST_RETRY_AFTER` at most.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Not int() of any length: a server that sends thousands of digits would make it raise.
        return min(int(text), MOST_RETRY_AFTER) if len(text) <= 10 else MOST_RETRY_AFTER
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    wait = (when - now).total_seconds()
    return int(min(max(wait + 0.999, 0), MOST_RETRY_AFTER))
