"""The event: what it shows, what travels with its jobs and what is kept of it."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support import NOON, make_event
from trafficrelay.errors import DeadLetterError, RelayError
from trafficrelay.event import CREDENTIAL_HEADERS, FORMAT, Event, Headers, now

CREDENTIALS = dict.fromkeys(CREDENTIAL_HEADERS, "hush-hush")


def test_header_is_found_whatever_the_case_of_its_name() -> None:
    """A header is found whatever the case of its name."""
    headers = Headers({"X-GitHub-Event": "push"})

    assert headers["x-github-event"] == headers["X-GITHUB-EVENT"] == "push"
    assert "X-Github-Event" in headers
    assert headers.get("x-other") is None
    assert (list(headers), len(headers)) == (["x-github-event"], 1)


def test_missing_header_is_a_key_error() -> None:
    """A missing header is a key error."""
    with pytest.raises(KeyError):
        Headers({})["x-missing"]


def test_headers_without_credentials_leave_out_the_known_and_the_named() -> None:
    """Headers without credentials leave out the known and the named."""
    headers = Headers({**CREDENTIALS, "X-Signature": "hush-hush", "X-Kept": "1"})

    assert headers.without_credentials(frozenset({"x-signature"})) == {"x-kept": "1"}


def test_event_cannot_be_changed() -> None:
    """An event cannot be changed."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_event().id = "other"  # type: ignore[misc]


def test_repr_names_the_event_and_nothing_of_what_it_says() -> None:
    """A repr names the event and nothing of what it says."""
    assert repr(make_event()) == "<Event 0123456789abcdef0123456789abcdef POST /hooks/<shop>>"


def test_context_is_json_with_a_format_and_neither_payload_nor_query_nor_credentials() -> None:
    """The context is JSON with a format and neither payload nor query nor credentials."""
    event = make_event(headers=CREDENTIALS | {"X-Kept": "1"}, query={"token": "hush-hush"}, body=b"hush-hush")

    context = event.context()

    assert json.loads(json.dumps(context)) == context
    assert context == {
        "v": FORMAT,
        "event": event.id,
        "route": "/hooks/<shop>",
        "received_at": "2026-03-01T12:00:00+00:00",
        "method": "POST",
        "params": {"shop": "acme"},
        "headers": {"x-kept": "1"},
    }


@pytest.mark.parametrize("body", [b"", b'{"a": 1}', bytes(range(256))])
def test_event_comes_back_from_json_as_it_was_received(body: bytes) -> None:
    """An event comes back from JSON as it was received."""
    event = make_event(
        body=body, data=None, headers={"X-Kept": "é"}, query={"a": ["1", "2"], "b": ""}, params={"id": 7, "x": 1.5}
    )

    assert Event.from_dict(json.loads(json.dumps(event.to_dict()))) == event


def test_attributes_of_a_cloudevent_travel_with_its_jobs_and_are_stored() -> None:
    """The attributes of a CloudEvent travel with its jobs and are stored; of any other event there is no word."""
    event = make_event(data=None, cloudevent={"id": "1", "source": "/shop", "specversion": "1.0", "type": "sold"})

    assert event.context()["cloudevent"] == event.cloudevent
    assert Event.from_dict(json.loads(json.dumps(event.to_dict()))) == event
    assert "cloudevent" not in make_event().context()
    assert Event.from_dict(make_event().to_dict()).cloudevent is None


def test_stored_event_holds_no_credentials_and_no_second_copy_of_its_data() -> None:
    """A stored event holds no credentials and no second copy of its data."""
    stored = make_event(headers=CREDENTIALS | {"X-Signature": "hush-hush"}).to_dict(frozenset({"x-signature"}))

    assert "hush-hush" not in json.dumps(stored)
    assert stored["headers"] == {}
    assert "data" not in stored


@pytest.mark.parametrize("version", [None, 0, FORMAT + 1, "1"])
def test_stored_event_of_another_format_is_refused(version: Any) -> None:
    """A stored event of another format is refused."""
    with pytest.raises(DeadLetterError, match=f"format {version!r}.*reads format {FORMAT}"):
        Event.from_dict(make_event().to_dict() | {"v": version})


@pytest.mark.parametrize(
    "field", ["event", "route", "received_at", "method", "params", "query", "headers", "remote_addr", "body"]
)
def test_stored_event_that_lacks_something_is_refused(field: str) -> None:
    """A stored event that lacks something is refused."""
    stored = make_event().to_dict()
    del stored[field]

    with pytest.raises(DeadLetterError, match="not stored whole") as caught:
        Event.from_dict(stored)

    assert isinstance(caught.value, RelayError)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("received_at", "yesterday"),
        ("received_at", None),
        ("body", "no base64!"),
        ("body", "é"),
        ("body", None),
        ("headers", None),
        ("headers", ["a"]),
        ("cloudevent", "id"),
        ("cloudevent", ["id"]),
        ("cloudevent", 1),
    ],
)
def test_stored_event_with_something_else_in_a_field_is_refused(field: str, value: Any) -> None:
    """A stored event with something else in a field is refused."""
    with pytest.raises(DeadLetterError, match="not stored whole"):
        Event.from_dict(make_event().to_dict() | {field: value})


def test_clock_is_in_utc() -> None:
    """The clock is in UTC."""
    moment: datetime = now()

    assert moment.utcoffset() == timedelta(0) == NOON.utcoffset()
