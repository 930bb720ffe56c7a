"""The request of a delivery: its headers and its bytes."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from ..errors import DeliveryError
from ..event import Headers
from ..failures import place
from ..rule import WILDCARD
from ..signing import added, sign
from ..verify.message import Outgoing
from .destination import CloudEvents, Deliver
from .order import Order

_ID: Final = "webhook-id"
_SHORTEST_SECRET: Final = 6
_SHORTEST_TOKEN: Final = 16  # of the URL's parts: shorter ones are words, and would make holes into every answer

# "HTTP Protocol Binding for CloudEvents 1.0", 3.1.3.2: what is not printable ASCII, and space, " and %, is encoded.
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_PATH: Final = "/~!$&'()*+,;=:@"  # RFC 3986, 3.3


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is sent.

    Attributes:
        headers: the request's headers; names in the case that they are written in.
        body: its bytes.
        url: where it goes: the destination's URL, with what a signature adds to that.
        secrets: what of the URL and the headers must be shown nowhere, should the answer repeat it.
    """

    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a delivery says of its event.

    Attributes:
        id: the id of the delivery's job: the same in all of its tries.
        received_at: when the event came.
        params: the wildcards of its route.
    """

    id: str
    received_at: datetime
    params: Mapping[str, Any]


def envelope(destination: Deliver, order: Order, origin: Origin, now: datetime) -> Envelope:
    """Make the request of one try.

    Every request has the header `webhook-id` (the name is Standard Webhooks'), which is the same in all tries, so that
    its receiver can tell a repeated one.

    Args:
        destination: where it goes.
        order: what goes there.
        origin: of which event it is.
        now: the time, for the signature.

    Raises:
        DeliveryError: it cannot be signed.
    """
    headers, body = _content(destination.form, order, origin)
    headers = {_ID: origin.id} | headers
    _put(headers, destination.headers)
    signed = _signed(destination, Outgoing(body, destination.url, destination.method, Headers(headers)), origin, now)
    signature = added(Headers(headers), signed)
    _put(headers, signature)
    secrets = _of_headers([*destination.headers.values(), *signature.values()]) | _of_url(destination)
    return Envelope(headers, signed.body, signed.url, tuple(sorted(secrets - {origin.id}, key=len, reverse=True)))


def _content(form: str | CloudEvents, order: Order, origin: Origin) -> tuple[dict[str, str], bytes]:
    if order.raw is not None:
        return {"Content-Type": _one_line(order.content_type)}, order.raw
    if not isinstance(form, CloudEvents):
        return {"Content-Type": "application/json"}, msgspec.json.encode(order.data)
    attributes = {
        "specversion": "1.0",
        "id": origin.id,
        "source": form.source or _path(order.route, origin.params),
        "type": form.type,
        "time": origin.received_at.isoformat().replace("+00:00", "Z"),
    }
    if form.binary:
        headers = {f"ce-{name}": quote(value, safe=_PLAIN) for name, value in attributes.items()}
        return {"Content-Type": "application/json"} | headers, msgspec.json.encode(order.data)
    whole = attributes | {"datacontenttype": "application/json", "data": order.data}
    return {"Content-Type": "application/cloudevents+json"}, msgspec.json.encode(whole)


def _signed(destination: Deliver, message: Outgoing, origin: Origin, now: datetime) -> Outgoing:
    if destination.sign is None:
        return message
    try:
        return sign(destination.sign, message.adding({_ID: origin.id}), now, message_id=origin.id)
    except Exception as error:
        # Without its words and its cause, which may hold the secret.
        raise DeliveryError(
            f"The request to {destination.title} could not be signed: {type(error).__name__} ({place(error)})."
        ) from None


def _put(headers: dict[str, str], more: Mapping[str, str]) -> None:
    """Set headers in place of those that are there, whatever the case of their names."""
    names = {name.lower() for name in more}
    for name in [name for name in headers if name.lower() in names]:
        del headers[name]
    headers.update(more)


def _of_headers(values: list[str]) -> set[str]:
    """Give what is to be hidden of headers: each value, and what follows its scheme or version.

    Of Basic credentials the password too: some servers repeat the decoded pair.
    """
    found: set[str] = set()
    for value in values:
        found |= {value, *re.split(r"[ ,=]", value, maxsplit=1)[1:]}
        if value[:6].lower() == "basic ":
            with suppress(ValueError):  # it is no base64
                pair = base64.b64decode(value[6:] + "==").decode("utf-8", "replace")
                found |= {pair, pair.partition(":")[2]}
    return {one for one in found if len(one) >= _SHORTEST_SECRET}


def _of_url(destination: Deliver) -> set[str]:
    """Give what is to be hidden of a URL: its path and query, and what in them is long enough to be a token."""
    target = destination.guard.place(destination.url).target
    tokens = {part for part in re.split(r"[/?&=;]", target) if len(part) >= _SHORTEST_TOKEN}
    return tokens | {one for one in (target, unquote(target)) if len(one) >= _SHORTEST_SECRET}


def _path(rule: str, params: Mapping[str, Any]) -> str:
    filled = WILDCARD.sub(lambda match: str(params.get(match[1], match[1])), rule)
    return quote(filled, safe=_PATH)


def _one_line(value: str) -> str:
    """Give a header's value as it may be sent, without what a sender has put there to break it up."""
    return re.sub(r"[^\t\x20-\x7e\x80-\xff]", "", value).strip() or "application/octet-stream"
