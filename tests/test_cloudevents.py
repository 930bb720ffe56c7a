"""CloudEvents 1.0 over HTTP: binary, structured and batched."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webtest import TestApp

from tests.support import make_event, make_relay, make_route
from trafficrelay.body import read_data, read_events
from trafficrelay.body.cloudevents import MAX_ATTRIBUTES
from trafficrelay.errors import Malformed, TooManyItems
from trafficrelay.event import Event
from trafficrelay.transform import MAX_ITEMS
from trafficrelay.verify import bearer, github

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MIB = 1 << 20

ATTRIBUTES = {"specversion": "1.0", "id": "A-1", "source": "/shop/7", "type": "shop.sold"}
HEADERS = {f"ce-{name}": value for name, value in ATTRIBUTES.items()}


def read(body: bytes, headers: dict[str, str], *, split: bool = False, **fields: Any) -> list[Event]:
    return read_events(make_event(body=body, data=None, headers=headers, **fields), limit=MIB, split=split)


def structured(document: Any, content_type: str = STRUCTURED, **fields: Any) -> Event:
    (event,) = read(json.dumps(document).encode(), {"Content-Type": content_type}, **fields)
    return event


def batch(documents: Any) -> list[Event]:
    return read(json.dumps(documents).encode(), {"Content-Type": BATCH})


# Binary


def test_request_with_ce_headers_is_a_cloudevent_whose_data_is_its_body() -> None:
    """A request with ce- headers is a CloudEvent whose data is its body."""
    headers = {"Ce-" + name.upper(): value for name, value in ATTRIBUTES.items()}

    (event,) = read(b'{"a": 1}', {**headers, "ce-subject": "x", "ce-shopid": "7", "Content-Type": "application/json"})

    assert event.data == {"a": 1}
    assert event.cloudevent == {
        **ATTRIBUTES,
        "subject": "x",
        "shopid": "7",
        "datacontenttype": "application/json",
    }
    assert event.id == make_event().id


@pytest.mark.parametrize(
    ("body", "content_type", "data"),
    [
        (b"hi", "text/plain", "hi"),
        (b"a=1", "application/x-www-form-urlencoded", {"a": "1"}),
        (b"\xff", "application/octet-stream", b"\xff"),
        (b"\xff", "", b"\xff"),
        (b"", "", {"q": "1"}),
        (b"<a/>", "application/cloudevents+xml", b"<a/>"),
    ],
)
def test_data_of_a_binary_event_is_read_as_its_type_says(body: bytes, content_type: str, data: Any) -> None:
    """The data of a binary event is read as its type says."""
    headers = HEADERS | ({"Content-Type": content_type} if content_type else {})

    (event,) = read(body, headers, query={"q": "1"})

    assert event.data == data
    assert (event.cloudevent or {}).get("datacontenttype", "") == content_type


@pytest.mark.parametrize(
    ("value", "attribute"),
    [
        ("plain", "plain"),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac%41", "€A"),
        ("100%", "100%"),
        ("%2541", "%41"),
        ("%zz", "%zz"),
        ('"a b"', "a b"),
        (r'"a \"b\\ %41"', 'a "b\\ A'),
        ('"', '"'),
        ("a+b", "a+b"),
        ("\xe2\x82\xac", "€"),  # UTF-8 that is not encoded, as WSGI hands it over
    ],
)
def test_header_is_unquoted_and_then_decoded_once(value: str, attribute: str) -> None:
    """A header's value is unquoted and then decoded, once."""
    (event,) = read(b"", HEADERS | {"ce-subject": value})

    assert event.cloudevent is not None
    assert event.cloudevent["subject"] == attribute


@pytest.mark.parametrize("value", ["%C0%A0", "%ff", "%ED%A0%80", "\xff", "☃"])
def test_header_that_is_no_utf_8_is_malformed(value: str) -> None:
    """A header that is no UTF-8 is malformed, as the specification demands."""
    with pytest.raises(Malformed, match="ce- header"):
        read(b"", HEADERS | {"ce-subject": value})


def test_data_and_its_type_are_no_headers_of_their_own() -> None:
    """Neither the data nor its type is taken from a ce- header."""
    more = {"ce-datacontenttype": "text/html", "ce-data": "x", "ce-data_base64": "x", "ce-": "x"}

    (event,) = read(b"hi", HEADERS | more | {"Content-Type": "text/plain"})

    assert event.cloudevent == ATTRIBUTES | {"datacontenttype": "text/plain"}


def test_headers_without_a_version_are_no_cloudevent() -> None:
    """Headers without ce-specversion make no CloudEvent."""
    (event,) = read(b"1", {"ce-id": "1", "Content-Type": "application/json"})

    assert event.cloudevent is None


def test_binary_event_is_one_event_whatever_its_data_is() -> None:
    """A binary event is one event whatever its data is, also where the route splits arrays."""
    (event,) = read(b"[1, 2]", HEADERS | {"Content-Type": "application/json"}, split=True)

    assert (event.id, event.data) == (make_event().id, [1, 2])


# Structured


def test_document_holds_the_attributes_and_the_data() -> None:
    """A document holds the attributes and the data."""
    more = {"time": "2018-04-05T17:31:00Z", "datacontenttype": "text/xml", "count": 5, "sure": True, "not": False}

    event = structured({**ATTRIBUTES, **more, "nothing": None, "data": {"a": [1]}})

    assert event.data == {"a": [1]}
    assert event.cloudevent == {
        **ATTRIBUTES,
        "time": "2018-04-05T17:31:00Z",
        "datacontenttype": "text/xml",
        "count": "5",
        "sure": "true",
        "not": "false",
    }


@pytest.mark.parametrize(
    ("said", "data"),
    [
        ({"data": None}, {"q": "1"}),  # null is the same as absent
        ({"data": "<a/>"}, "<a/>"),
        ({"data": 0}, 0),
        ({"data_base64": base64.b64encode(b"\0\xff").decode()}, b"\0\xff"),
        ({"data_base64": ""}, b""),
        ({"data": 1, "data_base64": None}, 1),
        ({}, {"q": "1"}),  # as of a request without a body
    ],
)
def test_data_of_a_document_is_its_value_or_bytes(said: dict[str, Any], data: Any) -> None:
    """The data of a document is the value of `data`, or the bytes of `data_base64`."""
    assert structured(ATTRIBUTES | said, query={"q": "1"}).data == data


def test_binary_event_of_null_has_no_data() -> None:
    """A binary event whose body is null has no data, like a structured one, and is no bad request."""
    (event,) = read(b"null", {**HEADERS, "Content-Type": "application/json"}, query={"q": "1"})

    assert event.data == {"q": "1"}


@pytest.mark.parametrize("key", ["x", "subject"])
def test_attributes_that_are_too_long_are_malformed(key: str) -> None:
    """Attributes of more than 32 KB are malformed in each mode: every job would carry them."""
    room = MAX_ATTRIBUTES - sum(len(name) + len(value) for name, value in ATTRIBUTES.items()) - len(key)
    fits, long = ATTRIBUTES | {key: "é" * room}, ATTRIBUTES | {key: "é" * (room + 1)}

    assert structured(fits).cloudevent == fits
    assert [event.cloudevent for event in batch([fits, fits])] == [fits, fits]
    with pytest.raises(Malformed, match="The CloudEvent has attributes of more than 32 KB"):
        structured(long)
    with pytest.raises(Malformed, match="Item 2 has attributes of more than 32 KB"):
        batch([fits, long])
    with pytest.raises(Malformed, match="32 KB"):
        read(b"1", {f"ce-{name}": value.replace("é", "e") for name, value in long.items()})


def test_document_is_read_in_its_charset_and_inflated() -> None:
    """A document is read in its charset, and inflated."""
    body = gzip.compress(json.dumps(ATTRIBUTES | {"subject": "é"}, ensure_ascii=False).encode("latin-1"))

    (event,) = read(body, {"Content-Type": f"{STRUCTURED}; charset=latin-1", "Content-Encoding": "gzip"})

    assert event.cloudevent == ATTRIBUTES | {"subject": "é"}


def test_document_wins_over_headers() -> None:
    """A document wins over headers that say the same (3.2.3)."""
    (event,) = read(json.dumps(ATTRIBUTES).encode(), HEADERS | {"ce-id": "other", "Content-Type": STRUCTURED})

    assert event.cloudevent == ATTRIBUTES


# What is wrong


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_event_that_lacks_an_attribute_is_malformed(name: str) -> None:
    """An event that lacks an attribute which every one has, or has it empty, is malformed in every mode."""
    lacking = {key: value for key, value in ATTRIBUTES.items() if key != name}

    for document in (lacking, lacking | {name: ""}, lacking | {name: None}):
        if document.get(name) != "" or name != "specversion":
            with pytest.raises(Malformed, match=f"^The CloudEvent lacks the attribute {name}"):
                structured(document)
            with pytest.raises(Malformed, match=f"^Item 2 lacks the attribute {name}"):
                batch([ATTRIBUTES, document])
    if name != "specversion":
        with pytest.raises(Malformed, match=f"^The CloudEvent lacks the attribute {name}"):
            read(b"", {key: value for key, value in HEADERS.items() if key != f"ce-{name}"})


@pytest.mark.parametrize("version", ["0.3", "1.1", "2.0", "1", "1.0.2", " 1.0", ""])
def test_event_of_another_version_is_malformed(version: str) -> None:
    """An event of another version is malformed."""
    with pytest.raises(Malformed, match=r"1\.0 is"):
        structured(ATTRIBUTES | {"specversion": version})
    with pytest.raises(Malformed, match=r"1\.0 is"):
        read(b"", HEADERS | {"ce-specversion": version})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"data": 1, "data_base64": "AA=="}, "both data and data_base64"),
        ({"data": None, "data_base64": "AA=="}, "both data and data_base64"),
        ({"data_base64": "no base64!"}, "no base64"),
        ({"data_base64": "é"}, "no base64"),
        ({"data_base64": 1}, "no base64"),
        ({"data_base64": ["AA=="]}, "no base64"),
        ({"id": 1}, "attribute id that is no string"),
        ({"specversion": 1.0}, "attribute specversion that is no string"),
        ({"time": 1}, "attribute time that is no string"),
        ({"secretname": ["secret"]}, "attribute that is no string, number"),
        ({"secretname": {"secret": 1}}, "attribute that is no string, number"),
    ],
)
def test_document_that_says_what_it_must_not_is_malformed(more: dict[str, Any], words: str) -> None:
    """A document that says what it must not is malformed, and the error repeats nothing of it."""
    with pytest.raises(Malformed, match=f"^The CloudEvent has .*{words}") as caught:
        structured(ATTRIBUTES | more)

    assert "secret" not in caught.value.detail


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"', b"", b"{", b"\xff"])
def test_body_that_is_no_document_is_malformed(body: bytes) -> None:
    """A body that is no document is malformed."""
    with pytest.raises(Malformed):
        read(body, {"Content-Type": STRUCTURED})


@pytest.mark.parametrize("body", [b"{}", b"1", b"", b"[1]", b"[{}", b"[[]]", b"[null]"])
def test_body_that_is_no_batch_is_malformed(body: bytes) -> None:
    """A body that is no batch is malformed."""
    with pytest.raises(Malformed):
        read(body, {"Content-Type": BATCH})


# Batches


@pytest.mark.parametrize("split", [False, True])
def test_each_event_of_a_batch_is_an_event_of_its_own(split: bool) -> None:
    """Each event of a batch is an event of its own, whether the route splits arrays or not."""
    one, other = ATTRIBUTES | {"data": 1}, ATTRIBUTES | {"id": "A-2", "data_base64": "/w=="}
    body = json.dumps([one, other], indent=1).encode()

    events = read(body, {"Content-Type": BATCH}, split=split)

    assert [event.data for event in events] == [1, b"\xff"]
    assert [event.cloudevent for event in events] == [ATTRIBUTES, ATTRIBUTES | {"id": "A-2"}]
    assert [json.loads(event.body) for event in events] == [one, other]
    assert len({event.id for event in events} | {make_event().id}) == 3
    assert {event.headers["content-type"] for event in events} == {STRUCTURED}


def test_batch_may_be_empty_and_as_large_as_the_limit() -> None:
    """A batch may be empty, and as large as the limit."""
    assert batch([]) == []
    assert len(batch([ATTRIBUTES] * MAX_ITEMS)) == MAX_ITEMS
    with pytest.raises(TooManyItems):
        batch([ATTRIBUTES] * (MAX_ITEMS + 1))


# Again


@pytest.mark.parametrize("mode", ["binary", "structured", "batch"])
def test_event_that_is_read_again_gives_the_same(mode: str) -> None:
    """An event that is read again as it was stored gives the same."""
    documents = [ATTRIBUTES | {"data": {"a": "é"}}, ATTRIBUTES | {"id": "2", "data_base64": "/w=="}]
    events = {
        "binary": lambda: read(b'{"a": 1}', HEADERS | {"Content-Type": "application/json"}),
        "structured": lambda: [structured(documents[0])],
        "batch": lambda: batch(documents),
    }[mode]()

    for event in events:
        stored = Event.from_dict(json.loads(json.dumps(event.to_dict())))
        assert stored.cloudevent == event.cloudevent
        assert read_events(stored, limit=len(stored.body)) == [event]


def test_what_a_body_says_by_itself_is_the_whole_document() -> None:
    """What a body says by itself, with nobody to ask for its attributes, is the whole document."""
    body = json.dumps(ATTRIBUTES).encode()

    assert read_data(body, method="POST", content_type=STRUCTURED, content_encoding="", query={}) == ATTRIBUTES


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts)
def test_any_text_comes_through_a_header(text: str) -> None:
    """Any text comes through a header that is encoded as the specification says."""
    encoded = "".join(
        char if "!" <= char <= "~" and char not in '"%' else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in text
    )

    (event,) = read(b"", HEADERS | {"ce-subject": encoded})

    assert event.cloudevent == ATTRIBUTES | {"subject": text}


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_no_header_is_more_than_malformed(value: str) -> None:
    """No header, whatever it holds, is more than malformed."""
    for name in HEADERS | {"ce-x": ""}:
        with contextlib.suppress(Malformed):
            read(b"", HEADERS | {name: value})


def test_cloudevent_becomes_a_job_with_its_attributes() -> None:
    """A CloudEvent becomes a job, and its attributes travel with it."""
    relay, outbox = make_relay(make_route(transform=lambda event: [event.cloudevent["type"], event.data]))

    TestApp(relay.app).post("/x", b"5", HEADERS | {"Content-Type": "application/json"}, status=202)

    (job,) = outbox.jobs
    assert job.data == ["shop.sold", 5]


# By what it is known


BINARY = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/a",
    "ce-type": "sold",
    "content-type": "application/json",
}


@pytest.mark.parametrize(
    ("verify", "known"),
    [
        (None, True),
        (bearer("secret of 16 bytes"), True),
        (github("secret"), False),
        (lambda event: True, False),
    ],
    ids=["open", "a token", "a signature of the body", "a function"],
)
def test_attributes_in_headers_make_a_duplicate_only_where_what_verifies_covers_headers(
    verify: Any, known: bool
) -> None:
    """Otherwise whoever has one signed request sends it again with the id of an event that is yet to come."""
    route = make_route(verify=verify)
    (binary,) = read_events(make_event(headers=BINARY, body=b"{}"), limit=100)
    (structured,) = read_events(
        make_event(
            headers={"content-type": "application/cloudevents+json"},
            body=b'{"specversion": "1.0", "id": "1", "source": "/a", "type": "sold"}',
        ),
        limit=100,
    )

    assert route.key_of is not None
    assert (route.key_of(binary) is not None) == known
    assert route.key_of(structured) is not None


def test_source_and_id_are_told_apart() -> None:
    """A space at the end of the one is none at the beginning of the other."""
    key = make_route().key_of
    assert key is not None
    keys = {
        key(make_event(cloudevent={"source": source, "id": id_}))
        for source, id_ in [("a b", "c"), ("a", "b c"), ("a b c", "")]
    }

    assert len(keys) == 3
