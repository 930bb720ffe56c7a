"""Where Mailgun puts its signature: into the body, beside the time and the token that it signs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

from ..body_fields import is_form, look_up, read_fields, with_field
from ..message import Message, Outgoing, Parts, as_sent
from ..places import LONGEST, Found
from ..verified import malformed


@dataclass(frozen=True, slots=True)
class MailgunFields:
    """`timestamp`, `token` and `signature`: fields of a form, or of the object `signature` in JSON.

    Events of a subaccount have a `parent-signature` too, by the key of the account that it belongs to.
    """

    headers: ClassVar[tuple[str, ...]] = ()

    def find(self, message: Message) -> Found:
        """See `Place`."""
        fields = read_fields(message)
        timestamp = _text(fields, message, "timestamp")
        found = [_text(fields, message, "signature")]
        if not timestamp or not found[0] or not _text(fields, message, "token"):
            raise malformed("The body has no timestamp, token and signature of Mailgun.")
        parent = _text(fields, message, "parent-signature")
        return Found(tuple(as_sent(one) for one in ([*found, parent] if parent else found)), timestamp)

    def put(self, message: Outgoing, signature: str, timestamp: str) -> Outgoing:
        """See `Place`."""
        token = _token(message, timestamp)
        for name, value in (("timestamp", timestamp), ("token", token), ("signature", signature)):
            message = with_field(message, _path(message, name), value)
        return message


def timestamp_and_token(parts: Parts) -> bytes:
    """Give the time and the token of the body, and nothing else of it."""
    return f"{parts.timestamp}{_token(parts.message, parts.timestamp)}".encode("utf-8", "surrogatepass")


def _token(message: Message, timestamp: str) -> str:
    """Give the body's token, or one that is made for a body without."""
    made = hashlib.sha256(timestamp.encode("utf-8", "surrogatepass") + message.body).hexdigest()[:50]
    return _text(read_fields(message), message, "token") or made


def _text(fields: Any, message: Message, name: str) -> str:
    value = look_up(fields, _path(message, name))
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
        return str(value)
    return value if isinstance(value, str) and len(value) <= LONGEST else ""


def _path(message: Message, name: str) -> str:
    return name if is_form(message) else f"signature.{name}"
