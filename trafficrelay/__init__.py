"""trafficrelay: take web traffic in, check who sent it, reshape it slightly, hand it to RQ workers.

    from trafficrelay import Relay

    relay = Relay("redis://localhost:6379/0")

`Relay` is where to begin; `Route` says what a route can do; `trafficrelay.verify` has the verifiers.
"""

from __future__ import annotations

from .errors import (
    DeclarationError,
    OutboxError,
    Refusal,
    Rejected,
    RelayError,
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
    "DeclarationError",
    "Event",
    "MemoryOutbox",
    "OutboxError",
    "Rate",
    "Refusal",
    "Rejected",
    "Relay",
    "RelayError",
    "Reply",
    "Route",
    "ServerError",
    "Spool",
    "TransformError",
    "Unverified",
    "per_event",
]
