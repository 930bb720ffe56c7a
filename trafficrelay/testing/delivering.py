"""Deliveries as they would be sent, with nothing sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..delivery.destination import Deliver, chosen
from ..delivery.envelope import Origin, envelope
from ..delivery.order import Order
from ..errors import ClientError
from ..event import Headers
from ..outbox.handover import Handover, Job, job_id
from ..relay import Relay


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a worker would send.

    Attributes:
        url: where to.
        method: such as `"POST"`.
        headers: the request's, whatever the case of their names; the signature among them.
        body: its bytes.
        to: the destination's name.
    """

    url: str
    method: str
    headers: Headers = field(repr=False)
    body: bytes
    to: str

    @property
    def json(self) -> Any:
        """What the body says.

        Raises:
            ValueError: it is no JSON.
        """
        return json.loads(self.body)


def destination(relay: Relay, job: Job) -> tuple[Order, Deliver]:
    """Give what a delivery's job carries, and where it goes.

    Raises:
        ClientError: the relay has no such destination.
    """
    order = Order.from_dict(job.data)
    route = relay.find(order.route, order.method)
    found = chosen(route.destinations, order.to) if route is not None else None
    if found is None:
        raise ClientError(f"The route {order.method} {order.route} has no destination {order.to}.")
    return order, found


def delivery(relay: Relay, handover: Handover, number: int, job: Job) -> Delivery:
    """Make the request of a delivery's first try, signed at the time of its event.

    Raises:
        DeliveryError: it cannot be signed.
    """
    order, found = destination(relay, job)
    event = {"params": {}, **handover.context}
    origin = Origin(job_id(handover.id, number), datetime.fromisoformat(event["received_at"]), event["params"])
    sealed = envelope(found, order, origin, origin.received_at)
    return Delivery(sealed.url, found.method, Headers(sealed.headers), sealed.body, found.name)
