"""What is kept of an answer: enough to see what happened, bounded, and without secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ..event import CREDENTIAL_HEADERS

if TYPE_CHECKING:
    from .transport import Response

BODY: Final = 1024
"""Bytes of the body that are kept."""

_HEADERS: Final = 20
_VALUE: Final = 200
_NAME: Final = 60
_HIDDEN: Final = CREDENTIAL_HEADERS | {"set-cookie", "set-cookie2", "location", "content-location", "refresh", "link"}
"""Headers of an answer that set credentials, or that may repeat the URL, whose path and query may be one."""

_STARS: Final = "***"
_TELLING: Final = 4  # characters of a secret that tell something of it


def kept(response: Response, secrets: Sequence[str]) -> dict[str, Any]:
    """Give an answer as it is kept: JSON-safe, some 5 KB at most.

    Args:
        response: the answer.
        secrets: what was sent and must not be shown; some servers repeat what they were sent.
    """
    headers = {
        name[:_NAME]: _without(value, secrets)[:_VALUE]
        for name, value in list(response.headers.items())[:_HEADERS]
        if name not in _HIDDEN
    }
    body = _without(response.body[:BODY].decode("utf-8", "replace"), secrets)
    if len(response.body) >= BODY:
        body = _without_beginning(body, secrets)
    return {"status": response.status, "headers": headers, "body": body, "seconds": round(response.seconds, 3)}


def _without(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _STARS)
    return text


def _without_beginning(text: str, secrets: Sequence[str]) -> str:
    """Hide the beginning of a secret that was cut off where the text ends."""
    for secret in secrets:
        for length in range(len(secret) - 1, _TELLING - 1, -1):
            if text.endswith(secret[:length]):
                return text[:-length] + _STARS
    return text
