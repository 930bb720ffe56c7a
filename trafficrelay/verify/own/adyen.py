"""Adyen's standard webhooks: a signature in the body, of eight fields of each notification in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from ...event import Event
from ..algorithms import Hmac
from ..body_fields import look_up, read_fields
from ..encodings import CODECS, from_hex
from ..message import Outgoing
from ..secrets import Held
from ..verified import malformed, mismatch

_SIGNED: Final = (
    "pspReference",
    "originalReference",
    "merchantAccountCode",
    "merchantReference",
    "amount.value",
    "amount.currency",
    "eventCode",
    "success",
)
_FREE: Final = "merchantReference"
_MOST: Final = 100
_HMAC: Final = Hmac(secret=from_hex)
_CODEC: Final = CODECS["base64"]


@dataclass(frozen=True, slots=True)
class AdyenItems:
    """HMAC-SHA256 of eight fields of each notification, which stands beside them in `additionalData.hmacSignature`.

    Adyen's own libraries check the first notification alone; what somebody adds after it would be taken with it.
    """

    title: ClassVar[str] = "HMAC-SHA256 of eight fields of each notification, base64"
    secret_headers: ClassVar[frozenset[str]] = frozenset()
    reveals_secret: ClassVar[bool] = False
    signs_body: ClassVar[bool] = False
    signs_url: ClassVar[bool] = False
    tolerance: ClassVar[int | None] = None

    def key(self, secret: bytes) -> bytes:
        """See `Scheme`."""
        return _HMAC.key(secret)

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`; one key has to match all notifications."""
        signed = [(_content(item), _signature(item)) for item in _items(read_fields(event))]
        matched: Held | None = None
        for held in keys:
            matches = [_HMAC.matches(held.key, content, given, _CODEC) for content, given in signed]
            matched = held if all(matches) and matched is None else matched
        if matched is None:
            raise mismatch(bool(keys))
        return matched

    def sign(self, message: Outgoing, key: bytes, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`.

        Raises:
            Unverified: the body holds no notifications.
        """
        data = read_fields(message)
        for item in _items(data):
            additional = item.setdefault("additionalData", {})
            if not isinstance(additional, dict):
                raise malformed("A notification's additionalData is no object.")
            additional["hmacSignature"] = _HMAC.sign(key, _content(item), _CODEC).decode("ascii")
        return replace(message, body=msgspec.json.encode(data))


def _items(data: Any) -> Iterator[dict[str, Any]]:
    items = data.get("notificationItems") if isinstance(data, dict) else None
    if not isinstance(items, list) or not items or len(items) > _MOST:
        raise malformed("The body has no notificationItems.")
    for item in items:
        inside = item.get("NotificationRequestItem") if isinstance(item, dict) else None
        if not isinstance(inside, dict):
            raise malformed("One of the notificationItems is no NotificationRequestItem.")
        yield inside


def _content(item: dict[str, Any]) -> bytes:
    return b":".join(_written(path, look_up(item, path)) for path in _SIGNED)


def _written(path: str, value: Any) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise malformed(f"A notification's {path} is neither a text nor a number.")
    if isinstance(value, int) and not -(10**18) < value < 10**18:
        # int() of more digits takes long to write, and is no amount.
        raise malformed(f"A notification's {path} is too large.")
    text = str(value)
    if ":" in text and path != _FREE:
        # Adyen escapes nothing: with colons in several fields, what belongs to one could be moved to the next.
        raise malformed(f"A notification's {path} has a colon in it.")
    return text.encode("utf-8", "surrogatepass")


def _signature(item: dict[str, Any]) -> bytes:
    value = look_up(item, "additionalData.hmacSignature")
    if not isinstance(value, str) or not value:
        raise malformed("A notification has no additionalData.hmacSignature.")
    return value.encode("utf-8", "surrogatepass")
