"""What the job of a delivery carries: where the destination is declared, and what is to be delivered; no secret."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..errors import DeliveryError, TransformError
from ..event import Event
from ..transform import MAX_ITEMS
from .destination import Deliver

DELIVER: Final = "trafficrelay.deliver.deliver"
"""The dotted name of the job; a name, because only workers import what is behind it."""

FORMAT: Final = 1
"""The version of what `to_dict` writes."""

_BINARY: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The argument of a delivery's job.

    Attributes:
        modules: where the relay may be declared.
        route: the rule of the event's route.
        method: the method of the event's request.
        to: the destination's name.
        data: what is delivered, JSON-safe.
        raw: the event's body in its place, byte for byte; `None` where data is delivered.
        content_type: the raw body's.
    """

    modules: tuple[str, ...]
    route: str
    method: str
    to: str
    data: Any = field(default=None, repr=False)
    raw: bytes | None = field(default=None, repr=False)
    content_type: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Give it as what JSON can say."""
        what: dict[str, Any] = {"data": self.data}
        if self.raw is not None:
            what = {"body": base64.b64encode(self.raw).decode("ascii"), "content_type": self.content_type}
        return {
            "v": FORMAT,
            "modules": list(self.modules),
            "route": self.route,
            "method": self.method,
            "to": self.to,
            **what,
        }

    @classmethod
    def from_dict(cls, stored: Any) -> Order:
        """Read what `to_dict` wrote.

        Raises:
            DeliveryError: it is of another format, or not whole.
        """
        version = stored.get("v") if isinstance(stored, Mapping) else None
        if version != FORMAT:
            raise DeliveryError(f"This delivery has format {version!r}; this trafficrelay reads format {FORMAT}.")
        try:
            raw = base64.b64decode(stored["body"], validate=True) if "body" in stored else None
            return cls(
                modules=tuple(str(name) for name in stored["modules"]),
                route=str(stored["route"]),
                method=str(stored["method"]),
                to=str(stored["to"]),
                data=stored["data"] if raw is None else None,
                raw=raw,
                content_type=str(stored.get("content_type", "")),
            )
        except (KeyError, TypeError, binascii.Error, ValueError) as error:
            raise DeliveryError("This delivery was not stored whole and cannot be read.") from error


def orders(
    found: Sequence[Deliver], event: Event, items: Iterable[Any], modules: Iterable[str]
) -> Iterator[dict[str, Any]]:
    """Give the arguments of the jobs of an event: one for each destination and item.

    A raw body is delivered once to each destination, however many items there are.

    Raises:
        TransformError: there are more than one event may become.
    """
    places = tuple(name for name in modules if name)
    listed = list(items)
    if len(listed) * len(found) > MAX_ITEMS:
        raise TransformError(
            f"{len(listed)} items for {len(found)} destinations are more than the {MAX_ITEMS} jobs that one event may "
            "become."
        )
    for destination in found:
        order = Order(modules=places, route=event.route, method=event.method, to=destination.name)
        if destination.form == "raw":
            kind = event.headers.get("content-type", _BINARY)
            yield replace(order, raw=event.body, content_type=kind).to_dict()
        else:
            for item in listed:
                yield replace(order, data=item).to_dict()
