"""trafficrelay: take web traffic in, check who sent it, reshape it slightly, hand it to RQ workers.

    from trafficrelay import Relay

    relay = Relay("redis://localhost:6379/0")

`Relay` is where to begin; `Route` says what a route can do; `trafficrelay.verify` has the verifiers.
"""

from __future__ import annotations

from .backoff import Backoff
from .current import current_event
from .delivery.destination import Deliver
from .errors import (
    DeclarationError,
    OutboxError,
    Refusal,
    Rejected,
    RelayError,
    RetryLater,
    ServerError,
    TransformError,
    Unverified,
)
from .event import Event
from .options import per_event
from .outbox.memory import MemoryOutbox
from .rate import Rate
from .relay import Relay
from .reply import EMPTY, PIXEL, Reply
from .route import Route
from .spool import Spool
from .transform import DROP

__version__ = "0.1.0"

__all__ = [
    "DROP",
    "EMPTY",
    "PIXEL",
    "Backoff",
    "DeclarationError",
    "Deliver",
    "Event",
    "MemoryOutbox",
    "OutboxError",
    "Rate",
    "Refusal",
    "Rejected",
    "Relay",
    "RelayError",
    "Reply",
    "RetryLater",
    "Route",
    "ServerError",
    "Spool",
    "TransformError",
    "Unverified",
    "current_event",
    "per_event",
]
