"""trafficrelay: take web traffic in, check who sent it, reshape it slightly, hand it to RQ workers.

    from trafficrelay import Relay

    relay = Relay("redis://localhost:6379/0")

`Relay` is where to begin; `Route` says what a route can do; `trafficrelay.verify` has the verifiers, and
`trafficrelay.transforms` the ready steps.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .backoff import Backoff
    from .current import current_event
    from .delivery.destination import CloudEvents, Deliver
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
    from .target import To
    from .transform import DROP

__version__ = "0.1.0"

__all__ = [
    "DROP",
    "EMPTY",
    "PIXEL",
    "Backoff",
    "CloudEvents",
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
    "To",
    "TransformError",
    "Unverified",
    "current_event",
    "per_event",
]

_PLACES: Final = {
    "DROP": "transform",
    "EMPTY": "reply",
    "PIXEL": "reply",
    "Backoff": "backoff",
    "CloudEvents": "delivery.destination",
    "Deliver": "delivery.destination",
    "Event": "event",
    "MemoryOutbox": "outbox.memory",
    "Rate": "rate",
    "Relay": "relay",
    "Reply": "reply",
    "Route": "route",
    "Spool": "spool",
    "To": "target",
    "current_event": "current",
    "per_event": "options",
}


# Found after `import trafficrelay` alone, too.
_PACKAGES: Final = ("errors", "testing", "transforms", "verify")


def __getattr__(name: str) -> Any:
    # A part of the package pays for itself alone: pytest imports the plugin in every run of every project of the
    # environment, a worker what a job needs, a shell the command's options (measured: 80 modules for nothing).
    if name in _PACKAGES:
        return importlib.import_module(f".{name}", __name__)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_PLACES.get(name, 'errors')}", __name__), name)
    globals()[name] = value  # found at once the next time
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
