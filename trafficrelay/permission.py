"""The CloudEvents handshake: a sender asks with OPTIONS whether it may send, before it does.

https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md, 4. It keeps senders from flooding hosts that
did not ask for events, and proves nothing to the relay: what comes is verified as ever. `WebHook-Request-Callback`, a
URL at which permission may be given later, is not looked at: anybody could have it fetched.
"""

from __future__ import annotations

import re
from typing import Final

from .route import Route

_ORIGIN: Final = re.compile(r"[A-Za-z0-9.:-]{1,255}")
_RATE: Final = re.compile(r"[1-9][0-9]{0,8}")

_MINUTE: Final = 60_000_000


def permission(route: Route | None, origin: str | None, rate: str | None) -> list[tuple[str, str]]:
    """Give the headers that let a sender send; none where it did not ask, or there is no route.

    Args:
        route: the route that takes POST at the path.
        origin: the request's `WebHook-Request-Origin`.
        rate: its `WebHook-Request-Rate`, requests a minute.
    """
    if route is None or origin is None or not _ORIGIN.fullmatch(origin):
        return []
    most = max(1, _MINUTE // route.limits.rate.interval_us) if route.limits.rate else None
    asked = int(rate) if rate is not None and _RATE.fullmatch(rate) else None
    known = [one for one in (most, asked) if one is not None]
    allowed = str(min(known)) if known else "*"
    return [("WebHook-Allowed-Origin", origin), ("WebHook-Allowed-Rate", allowed)]
