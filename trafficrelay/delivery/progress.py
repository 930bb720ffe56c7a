"""How far a delivery is, as it stands in its job's meta."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

KEY: Final = "trafficrelay_delivery"
"""Where it stands in `job.meta`."""

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """The tries of one delivery. RQ writes `job.meta` when it schedules the next one.

    Attributes:
        since: when it was run first, in seconds since 1970.
        tries: how often it was tried.
        put_offs: how often it was put off untried.
        last: what came of the last try.
    """

    since: float
    tries: int = 0
    put_offs: int = 0
    last: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, meta: Mapping[str, Any], now: float) -> Progress:
        """Read a job's meta. A delivery that was over and is run again, by `rq requeue` or `replay`, begins anew."""
        stored = meta.get(KEY)
        if not isinstance(stored, Mapping) or stored.get("v") != _FORMAT or stored.get("over"):
            return cls(now)
        try:
            return cls(
                float(stored["since"]), int(stored["tries"]), int(stored["put_offs"]), dict(stored.get("last") or {})
            )
        except (KeyError, TypeError, ValueError):
            return cls(now)

    def to_dict(self, *, over: bool = False) -> dict[str, Any]:
        """Give it JSON-safe, as `of` reads it.

        Args:
            over: whether it has failed for good.
        """
        return {
            "v": _FORMAT,
            "since": self.since,
            "tries": self.tries,
            "put_offs": self.put_offs,
            "last": dict(self.last),
            "over": over,
        }
