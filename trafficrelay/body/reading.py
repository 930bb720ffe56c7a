"""From a request's body to events: which reader its type, its coding and the route call for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ..errors import Malformed, UnsupportedBody
from ..event import Event, Headers
from . import cloudevents
from .compression import inflate
from .items import NDJSON, read_lines, split_array, split_lines
from .multipart import read_multipart
from .text import charset_of, decoded, media_type, read_form, read_json

_FORM: Final = "application/x-www-form-urlencoded"
_BODILESS_METHODS: Final = frozenset({"GET", "HEAD", "DELETE"})
_JSON: Final = "application/json"

# What says something of the body as it came, and nothing of what it became.
_OF_THE_WIRE: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def read_events(
    event: Event, *, limit: int, content_type: str = "", split: bool = False, empty: bool = False
) -> list[Event]:
    """Read the body of a verified event.

    Nearly always that gives the same event, with its `data`, and with `cloudevent` if it is one. A compressed body is
    inflated. Each event's header `content-type` says what its body was read as, so that reading it again gives the
    same.

    A batch of CloudEvents gives an event for each. With `split` so does a JSON array for each item, and NDJSON for
    each line: events with ids of their own, whose bodies are the items' bytes. There may be none. Null is no event,
    neither as a body nor as an item.

    Args:
        event: the event, with its body as it came.
        limit: how many bytes the body may have when it is inflated.
        content_type: what to read it as; `""` for what its sender says. Their charset goes with it unless it has one.
        split: whether to split arrays and lines.
        empty: whether there may be no body although the request has a type for it; then its query is read.

    Raises:
        Malformed: the body is not what its type says, or null.
        BodyTooLarge: it inflates to more than the limit.
        TooManyItems: it holds more than `MAX_ITEMS` events.
        UnsupportedBody: it is in a type, a charset or a coding that is not read here, or in no type that is split.
    """
    said = event.headers.get("content-type", "")
    codings = event.headers.get("content-encoding", "")
    if codings:
        event = replace(event, headers=_headers(event), body=inflate(event.body, codings, limit) if event.body else b"")
    if _is_bodiless(event, said) or (empty and not event.body):
        return [_with_data(event, dict(event.query), said)]
    if content_type:
        event, said = _read_as(event, content_type, said)
    kind, charset = media_type(said)
    if kind == cloudevents.BATCH:
        return _batch(event, charset)
    if kind == cloudevents.STRUCTURED:
        attributes, data = _document(event, read_json(event.body, charset), "The CloudEvent")
        return [replace(event, data=data, cloudevent=attributes)]
    # A CloudEvent is one event whatever its data is: its items would all have its id, and be taken for duplicates.
    if split and cloudevents.BINARY_HEADER not in event.headers:
        items = _items(event.body, kind, charset)
        if items is not None:
            return _events(event, _JSON, [(body, data, None) for body, data in items])
        if not _is_json(kind):
            raise UnsupportedBody("This route takes JSON arrays and NDJSON.")
    return [_with_data(event, _data(event.body, kind, charset, said), said)]


def read_data(
    body: bytes,
    *,
    method: str,
    content_type: str,
    content_encoding: str,
    query: dict[str, str | list[str]],
    limit: int = 1 << 20,
) -> Any:
    """Give what a body says.

    `application/json` and `application/*+json` give what the JSON says, NDJSON a list of what its lines say, forms a
    dict (a key that was sent once has its value, one that was sent several times the list of them; a file is a dict),
    `text/*` a string, anything else the bytes. A request without a body, of GET and DELETE or without a content type,
    gives its query.

    Args:
        body: the body as it came.
        method: the request's method.
        content_type: the header, `""` if there is none.
        content_encoding: the header, `""` if there is none.
        query: the request's query.
        limit: how many bytes the body may have when it is inflated.

    Raises:
        Malformed: the body is not what its type says.
        BodyTooLarge: it inflates to more than the limit.
        UnsupportedBody: it is in a type, a charset or a coding that is not read here.
    """
    kind, charset = media_type(content_type)
    if not body and (method in _BODILESS_METHODS or not kind):
        return query
    return _data(inflate(body, content_encoding, limit) if body else body, kind, charset, content_type)


def _data(body: bytes, kind: str, charset: str, content_type: str) -> Any:
    if _is_json(kind):
        return read_json(body, charset)
    if kind == _FORM:
        return read_form(body, charset)
    if kind in NDJSON:
        return read_lines(body, charset)
    if kind.startswith("text/"):
        return decoded(body, charset)
    if kind.startswith("multipart/"):
        return read_multipart(body, content_type)
    return body


def _is_json(kind: str) -> bool:
    return kind == _JSON or (kind.startswith("application/") and kind.endswith("+json"))


def _items(body: bytes, kind: str, charset: str) -> list[tuple[bytes, Any]] | None:
    """Give the items of a body, each with what it says; `None` if it is one item."""
    if kind in NDJSON:
        return split_lines(body, charset)
    if body and _is_json(kind):
        return split_array(body, charset)
    return None


def _batch(event: Event, charset: str) -> list[Event]:
    items = split_array(event.body, charset)
    if items is None:
        raise Malformed("The body is no JSON array, as a batch of CloudEvents is.")
    documents = [_document(event, said, f"Item {number}") for number, (_, said) in enumerate(items, 1)]
    return _events(
        event,
        cloudevents.STRUCTURED,
        [(body, data, attributes) for (body, _), (attributes, data) in zip(items, documents, strict=True)],
    )


def _events(
    event: Event, content_type: str, items: Sequence[tuple[bytes, Any, Mapping[str, str] | None]]
) -> list[Event]:
    """Make an event of each item: its body, its data and its attributes."""
    headers = _headers(event, content_type)
    return [
        Event(
            id=own,
            route=event.route,
            received_at=event.received_at,
            method=event.method,
            params=event.params,
            query=event.query,
            headers=headers,
            remote_addr=event.remote_addr,
            body=body,
            data=data,
            cloudevent=attributes,
            verified_by=event.verified_by,
            url=event.url,
        )
        for own, (body, data, attributes) in zip(_ids(len(items)), items, strict=True)
    ]


def _document(event: Event, document: Any, what: str) -> tuple[dict[str, str], Any]:
    attributes, data = cloudevents.of_document(document, what)
    # As of a request without a body.
    return attributes, dict(event.query) if data is cloudevents.NO_DATA else data


def _with_data(event: Event, data: Any, content_type: str) -> Event:
    if cloudevents.BINARY_HEADER not in event.headers:
        if data is None:
            raise Malformed("The body is null, which is no event.")
        return event.with_data(data)
    if data is None:  # an event without data, as of a structured one
        data = dict(event.query)
    return event.with_data(data, cloudevents.of_headers(event.headers, content_type))


def _is_bodiless(event: Event, content_type: str) -> bool:
    return not event.body and (event.method in _BODILESS_METHODS or not media_type(content_type)[0])


def _read_as(event: Event, content_type: str, said: str) -> tuple[Event, str]:
    """Give an event that says that its body is of this type, and what it now says."""
    if ";" not in content_type:
        charset = charset_of(said.partition(";")[2])
        content_type = f"{content_type}; charset={charset}" if charset else content_type
    return replace(event, headers=_headers(event, content_type)), content_type


def _headers(event: Event, content_type: str = "") -> Headers:
    kept = {name: value for name, value in event.headers.items() if name not in _OF_THE_WIRE}
    return Headers(kept | {"content-type": content_type} if content_type else kept)


def _ids(count: int) -> list[str]:
    """Make ids as events have them, all with one call: 32 hexadecimal digits each."""
    digits = os.urandom(16 * count).hex()
    return [digits[start : start + 32] for start in range(0, 32 * count, 32)]
