"""Microsoft Graph's notifications: a list, with the secret in each of its items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from ...errors import Unverified
from ...event import Event
from ..body_fields import read_fields
from ..message import Outgoing
from ..secrets import Held
from ..tokens import Sent, among
from ..verified import malformed

_MOST: Final = 1_000
"""How many notifications a request may have: each is compared with each secret."""


@dataclass(frozen=True, slots=True)
class ClientState(Sent):
    """The secret is the `clientState` of each item of `value`.

    One request may hold notifications of several subscriptions, so their secrets may differ; each has to be known.
    """

    title: ClassVar[str] = "token in the body, `value[].clientState`"
    secret_headers: ClassVar[frozenset[str]] = frozenset()

    def key(self, secret: bytes) -> bytes:
        """See `Scheme`."""
        try:
            secret.decode()
        except UnicodeDecodeError:
            raise ValueError("the secret is no UTF-8, so it cannot stand in JSON") from None
        return secret

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`."""
        body = read_fields(event)
        items = body.get("value") if isinstance(body, dict) else None
        if not isinstance(items, list) or not 0 < len(items) <= _MOST:
            raise malformed("The body has no list of notifications, value.")
        states = [_state_of(item) for item in items]
        first = self._known(keys, states[0])
        for state in states[1:]:
            # No further than to the first that is not known: what stands before it only who knows a secret can write.
            self._known(keys, state)
        return first

    @staticmethod
    def _known(keys: tuple[Held, ...], state: bytes) -> Held:
        found = among(keys, state)
        if found is None:
            raise Unverified("A notification's clientState is not known here.", cause="mismatch" if keys else "unknown")
        return found

    def sign(self, message: Outgoing, key: bytes, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`."""
        body = read_fields(message)
        if not isinstance(body, dict):
            raise malformed("The body is no object, so it has no place for notifications.")
        items = body.get("value")
        if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
            items = [{}]
        body["value"] = [{**item, "clientState": key.decode()} for item in items]
        return replace(message, body=msgspec.json.encode(body))


def _state_of(item: Any) -> bytes:
    state = item.get("clientState") if isinstance(item, dict) else None
    if not isinstance(state, str) or not state:
        raise malformed("A notification has no clientState.")
    return state.encode("utf-8", "surrogatepass")
