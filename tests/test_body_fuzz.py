"""Whatever is sent: it is read, or refused with a 4xx and a sentence that repeats nothing of it."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any, Final

import brotli
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from webtest import TestApp

from tests.support import make_event, make_relay, make_route
from trafficrelay.body import read_events
from trafficrelay.errors import Refusal
from trafficrelay.event import Event

LIMIT: Final = 64 * 1024
FORM: Final = "application/x-www-form-urlencoded"
EVENT: Final = b'{"specversion": "1.0", "id": "1", "source": "/", "type": "t", "x": true, "data": [1]}'

TYPES: Final = [
    "",
    "application/json",
    "application/vnd.x+json; charset=utf-16",
    "application/x-ndjson",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    FORM,
    f"{FORM}; charset=gb18030",
    "multipart/form-data; boundary=b",
    "multipart/form-data; boundary=b; charset=utf-16",
    "multipart/mixed; boundary=b",
    "text/plain; charset=latin-1",
    "text/plain; charset=iso2022_jp",
    "application/octet-stream",
]
CODINGS: Final = [
    "",
    "",
    "",
    "gzip",
    "deflate",
    "br",
    "zstd",
    "gzip, br",
    "x-gzip, identity",
    "gzip, gzip, gzip",
    "lzma",
]

MULTIPART: Final = (
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\nlatin-1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.png"\r\nContent-Type: image/png; charset=x\r\n\r\n'
    b"\x89PNG\r\n\x00\r\n--b--\r\n"
)

VALID: Final = [
    b'[1, {"a": [true, null, "\xc3\xa9", -1.5e3]}, "x"]',
    b'{"a": 1}\n[2]\n\n"x"\r\n',
    EVENT,
    b"[" + EVENT + b", " + EVENT.replace(b'"data": [1]', b'"data_base64": "AA=="') + b"]",
    b"a=1&b=%C3%A9&a=2+3",
    MULTIPART,
    gzip.compress(b'{"a": 1}'),
    zlib.compress(b"[1, 2]"),
    brotli.compress(b'{"a": 1}\n2'),
    brotli.compress(gzip.compress(EVENT)),
    bytes.fromhex("28b52ffd2008410000" + "7b2261223a20317d"),  # zstd, of a block that is not compressed
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Something valid, of which some bytes are changed, left out, put in, or there twice."""
    body = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.integers(0, 12)))
        match draw(st.integers(0, 3)):
            case 0:
                body[at:end] = draw(st.binary(max_size=6))
            case 1:
                del body[at:end]
            case 2:
                body[at:at] = body[at:end] * draw(st.integers(1, 50))
            case _ if at < len(body):
                body[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(body)


CANARY = "canary7q"


def refusal(body: bytes, headers: dict[str, str], *, read_as: str = "", split: bool = False) -> Refusal | None:
    """Read a body. Give its refusal; whatever else is raised is what the tests look for."""
    event = make_event(body=body, data=None, headers=headers)
    try:
        events = read_events(event, limit=LIMIT, content_type=read_as, split=split)
    except Refusal as error:
        return error
    for one in events:
        check(one)
    return None


def check(event: Event) -> None:
    """Check that an event can be stored, and says the same when it is read again."""
    assert len(event.body) <= LIMIT
    stored = Event.from_dict(json.loads(json.dumps(event.to_dict())))
    (again,) = read_events(stored, limit=len(stored.body))
    assert (again.body, repr(again.data), again.cloudevent) == (event.body, repr(event.data), event.cloudevent)


@settings(max_examples=600, deadline=None)
@given(
    st.binary(max_size=300) | mutated(),
    st.sampled_from(TYPES),
    st.sampled_from(CODINGS),
    st.sampled_from(["", "", "application/json", "application/x-ndjson"]),
    st.booleans(),
    st.booleans(),
)
@example(b"\xff", "application/cloudevents-batch+json", "", "", True, True)
def test_any_body_is_read_or_refused(
    body: bytes, content_type: str, coding: str, read_as: str, split: bool, binary: bool
) -> None:
    """Any body is read or refused with a 4xx, and what is read gives the same when it is read again."""
    headers = {"Content-Type": content_type, "Content-Encoding": coding, "X-Other": "1"}
    if binary:
        headers |= {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "t"}

    refused = refusal(body, {name: value for name, value in headers.items() if value}, read_as=read_as, split=split)

    assert refused is None or (refused.status in (400, 413, 415) and refused.detail)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(max_codepoint=255), max_size=60), st.sampled_from(VALID))
@example("iso2022_jp_1", b'"\xc3\xa9"')
def test_any_header_is_understood_or_refused(text: str, body: bytes) -> None:
    """Any header is understood or refused with a 4xx, and the answer repeats nothing of it."""
    for said in (text, text + CANARY):
        for headers in (
            {"Content-Type": said},
            {"Content-Type": f"text/plain; charset={said}"},
            {"Content-Type": f"multipart/form-data; boundary={said}"},
            {"Content-Type": "application/json", "Content-Encoding": said},
        ):
            refused = refusal(body, headers)

            assert refused is None or refused.status in (400, 413, 415)
            assert refused is None or CANARY not in refused.detail


@pytest.fixture(scope="module")
def app() -> TestApp:
    relay, _ = make_relay(
        make_route(rule="/whole", transform=lambda event: {"data": event.data}),
        make_route(rule="/split", transform=lambda event: {"data": event.data}, split=True),
    )
    return TestApp(relay.app)


@settings(max_examples=200, deadline=None)
@given(
    body=mutated(),
    content_type=st.sampled_from(TYPES),
    coding=st.sampled_from(CODINGS),
    rule=st.sampled_from(["/whole", "/split"]),
)
def test_any_request_is_answered_and_never_with_a_5xx(
    app: TestApp, body: bytes, content_type: str, coding: str, rule: str
) -> None:
    """Any request is answered, and never with a 5xx."""
    headers = {"Content-Type": content_type, "Content-Encoding": coding}

    answer = app.post(rule, body, headers, expect_errors=True)

    assert answer.status_code in (202, 400, 413, 415)


@pytest.mark.parametrize("marker", ["secret-4111", "SECRET€"])
def test_no_error_repeats_what_was_sent(marker: str) -> None:
    """No error repeats what was sent, wherever in it the fault lies."""
    text = marker.encode()
    sent: list[tuple[bytes, dict[str, Any]]] = [
        (b'{"' + text + b'": ' + text + b"}", {"Content-Type": "application/json"}),
        (b'["' + text + b'", ' + text + b"]", {"Content-Type": "application/json"}),
        (b"1\n" + text, {"Content-Type": "application/x-ndjson"}),
        (b"\xff" + text, {"Content-Type": f"text/plain; {marker}"}),
        (text, {"Content-Type": f"text/plain; charset={marker}"}),
        (text, {"Content-Type": f"multipart/{marker}; boundary=b"}),
        (b"--b\r\n" + text, {"Content-Type": "multipart/form-data; boundary=b"}),
        (text, {"Content-Encoding": "gzip"}),
        (text, {"Content-Encoding": marker}),
        (b'{"specversion": "1.0", "' + text + b'": []}', {"Content-Type": "application/cloudevents+json"}),
        (b"", {"ce-specversion": marker, "Content-Type": "application/json"}),
        (b"1", {"ce-specversion": "1.0", "ce-id": f"{marker}%ff", "Content-Type": "application/json"}),
    ]

    for body, headers in sent:
        refused = refusal(body, headers, split=body.startswith((b"[", b"1\n")))
        assert refused is not None
        assert marker.lower() not in (refused.detail + str(refused.headers)).lower()
