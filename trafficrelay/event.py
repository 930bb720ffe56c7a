"""The event: one request, as the verifier, the transform and the job know it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from .errors import DeadLetterError

FORMAT: Final = 1
"""The version of what `to_dict` and `context` write; raised when a reader of today could not read it any more."""

CREDENTIAL_HEADERS: Final = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-api-key",
        "x-auth-token",
        "x-hub-signature",
        "x-hub-signature-256",
        "webhook-signature",
    }
)
"""Headers that prove something by being known. They are shown to the verifier and the transform and stored nowhere."""


class Headers(Mapping[str, str]):
    """A request's headers, whatever the case of their names: `event.headers["X-GitHub-Event"]`.

    A header that was sent several times holds its values joined by a comma (RFC 9110, 5.3). Iterating gives the names
    in lower case.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str]) -> None:
        self._items = {name.lower(): value for name, value in items.items()}

    def __getitem__(self, name: str) -> str:
        return self._items[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        # The names only: values hold credentials, and reprs end up in logs and tracebacks.
        return f"<Headers {', '.join(self._items)}>"

    def without_credentials(self, more: frozenset[str] = frozenset()) -> dict[str, str]:
        """Give the headers that may be stored: all but `CREDENTIAL_HEADERS` and `more` (names in lower case)."""
        return {
            name: value for name, value in self._items.items() if name not in CREDENTIAL_HEADERS and name not in more
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Event:
    """One accepted request.

    Attributes:
        id: 32 hexadecimal digits, made by the relay; every job of the event carries it.
        route: the rule of the route that took it, as declared: `"/hooks/<shop>"`.
        received_at: when its head had been read, in UTC.
        method: the request's method, in capitals.
        params: the wildcards of the rule: `{"shop": "acme"}`, converted as their filters say.
        query: the query string. A key that was sent once has its value, one that was sent several times a list.
        headers: the request's headers.
        remote_addr: the address of the other end of the connection (a proxy's, where there is one); `""` if unknown.
        body: the request's body, byte for byte.
        data: what the body says: decoded JSON, a form (a key sent once has its value, one sent several times a list),
            text, or bytes. Of a request without a body it is the query. `None` until the sender is verified.
        cloudevent: the attributes of a CloudEvent, `id`, `source` and `type` among them; `None` of any other event.
        verified_by: which of several secrets its sender has: the key's name, or its number from 1; `""` where there is
            one.
        url: the URL that it was sent to, as far as the request says; `""` where its verifier does not ask for it. It
            is stored nowhere.
    """

    id: str
    route: str
    received_at: datetime
    method: str
    params: Mapping[str, str | int | float]
    query: Mapping[str, str | list[str]]
    headers: Headers
    remote_addr: str
    body: bytes
    data: Any = None
    cloudevent: Mapping[str, str] | None = None
    verified_by: str = ""
    url: str = ""

    def __repr__(self) -> str:
        # Neither the payload nor the query: reprs end up in logs.
        return f"<Event {self.id} {self.method} {self.route}>"

    def with_data(self, data: Any, cloudevent: Mapping[str, str] | None = None) -> Event:
        """Give the same event with what its body says; a third of the time of `dataclasses.replace` (measured)."""
        return Event(
            id=self.id,
            route=self.route,
            received_at=self.received_at,
            method=self.method,
            params=self.params,
            query=self.query,
            headers=self.headers,
            remote_addr=self.remote_addr,
            body=self.body,
            data=data,
            cloudevent=cloudevent or self.cloudevent,
            verified_by=self.verified_by,
            url=self.url,
        )

    def context(self, secret_headers: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Give what travels with the event's jobs in `job.meta`: JSON-safe, without payload and credentials.

        The query stays behind too: tokens in URLs are common.
        """
        context = {
            "v": FORMAT,
            "event": self.id,
            "route": self.route,
            "received_at": self.received_at.isoformat(),
            "method": self.method,
            "params": dict(self.params),
            "headers": self.headers.without_credentials(secret_headers),
        }
        if self.verified_by:
            context["verified_by"] = self.verified_by
        return context if self.cloudevent is None else context | {"cloudevent": dict(self.cloudevent)}

    def to_dict(self, secret_headers: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Give the event as it was received, JSON-safe: all but `data`, which is read from the body again.

        Headers in `CREDENTIAL_HEADERS` and `secret_headers` are left out; the body is in base64.
        """
        return self.context(secret_headers) | {
            "query": dict(self.query),
            "remote_addr": self.remote_addr,
            "body": base64.b64encode(self.body).decode("ascii"),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Event:
        """Read what `to_dict` wrote.

        Raises:
            DeadLetterError: it is of a version that is not known here, or something of it is missing.
        """
        version = stored.get("v")
        if version != FORMAT:
            raise DeadLetterError(f"This event has format {version!r}; this trafficrelay reads format {FORMAT}.")
        attributes = stored.get("cloudevent")  # written of CloudEvents alone
        try:
            return cls(
                id=stored["event"],
                route=stored["route"],
                received_at=datetime.fromisoformat(stored["received_at"]),
                method=stored["method"],
                params=stored["params"],
                query=stored["query"],
                headers=Headers(stored["headers"]),
                remote_addr=stored["remote_addr"],
                body=base64.b64decode(stored["body"], validate=True),
                cloudevent=None if attributes is None else {**attributes},
                verified_by=stored.get("verified_by", ""),
            )
        except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as error:
            raise DeadLetterError("This event was not stored whole and cannot be read.") from error


def now() -> datetime:
    """Give the time in UTC; the one clock of the package, so that tests can hold it."""
    return datetime.now(UTC)
