"""What the sender is answered."""

from __future__ import annotations

import json
import struct
from http.client import responses
from typing import Any

import pytest

from tests.support import accept, make_event, make_route, raising
from trafficrelay import EMPTY, PIXEL, DeclarationError, Rejected, Reply
from trafficrelay.errors import (
    BodyTooLarge,
    Failed,
    LengthRequired,
    Malformed,
    MethodNotAllowed,
    NotFound,
    Refusal,
    RequestTimeout,
    Unavailable,
    UnsupportedBody,
    Unverified,
)
from trafficrelay.intake import Intake


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        ("thanks", b"thanks", "text/plain; charset=utf-8"),
        ("é", b"\xc3\xa9", "text/plain; charset=utf-8"),
        (b"\x00", b"\x00", "application/octet-stream"),
        ({"ok": True}, b'{"ok":true}', "application/json"),
        ([], b"[]", "application/json"),
        (False, b"false", "application/json"),
    ],
)
def test_body_brings_its_content_type(body: Any, sent: bytes, kind: str) -> None:
    """A body brings its content type."""
    reply = Reply(200, body=body)

    assert (reply.body, reply.headers) == (sent, (("Content-Type", kind),))


@pytest.mark.parametrize("headers", [{"content-type": "text/csv"}, [("Content-TYPE", "text/csv")]])
def test_content_type_that_is_given_stays(headers: Any) -> None:
    """A content type that is given stays."""
    assert len(Reply(200, headers, "a,b").headers) == 1


def test_headers_may_repeat_when_given_as_pairs() -> None:
    """Headers may repeat when given as pairs."""
    pairs = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]

    assert Reply(200, pairs).headers == tuple(pairs)


def test_reply_without_a_body_has_no_content_type() -> None:
    """A reply without a body has no content type."""
    assert (Reply(200).body, Reply(200).headers) == (b"", ())


@pytest.mark.parametrize(
    "arguments",
    [
        {"status": 100},
        {"status": 199},
        {"status": 600},
        {"status": "200"},
        {"status": None},
        {"status": 200.5},
        {"status": 204, "body": "x"},
        {"status": 304, "body": {}},
        {"headers": {"X-A": "a\r\nX-B: b"}},
        {"headers": {"X-A\n": "a"}},
        {"headers": {"X-A": "a\0"}},
        {"headers": {"X A": "a"}},
        {"headers": {"X-A:": "a"}},
        {"headers": {"": "a"}},
        {"headers": {"X-A": 5}},
        {"headers": {"X-A": "€"}},
        {"headers": {"Connection": "close"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"Content-Length": "7"}, "body": "x"},
        {"headers": "text"},
        {"headers": 5},
        {"body": object()},
        {"body": "\ud800"},
    ],
)
def test_reply_that_cannot_be_sent_is_refused_when_made(arguments: dict[str, Any]) -> None:
    """A reply that cannot be sent is refused when made."""
    with pytest.raises(DeclarationError, match="reply"):
        Reply(**arguments)


def test_ready_made_replies_are_an_empty_204_and_a_gif_of_one_pixel() -> None:
    """Ready-made replies are an empty 204 and a GIF of one pixel."""
    assert (EMPTY.status, EMPTY.body, EMPTY.headers) == (204, b"", ())
    assert dict(PIXEL.headers) == {"Content-Type": "image/gif", "Cache-Control": "no-store"}
    assert PIXEL.body.startswith(b"GIF89a")
    assert struct.unpack("<HH", PIXEL.body[6:10]) == (1, 1)


@pytest.mark.parametrize(
    ("refusal", "status", "headers"),
    [
        (Malformed("why"), 400, {}),
        (Unverified("why"), 401, {"WWW-Authenticate": "Signature"}),
        (Unverified("why", challenge="Bearer"), 401, {"WWW-Authenticate": "Bearer"}),
        (NotFound("why"), 404, {}),
        (MethodNotAllowed(("GET", "POST")), 405, {"Allow": "GET, POST"}),
        (RequestTimeout("why"), 408, {}),
        (LengthRequired("why"), 411, {}),
        (BodyTooLarge(10), 413, {}),
        (UnsupportedBody("why"), 415, {}),
        (Rejected(detail="why"), 422, {}),
        (Rejected(409, "why", headers={"X-Why": "so"}), 409, {"X-Why": "so"}),
        (Failed("why"), 500, {}),
        (Unavailable("why", retry_after=7), 503, {"Retry-After": "7"}),
    ],
)
def test_refusal_becomes_a_problem_document(refusal: Refusal, status: int, headers: dict[str, str]) -> None:
    """A refusal becomes a problem document."""
    reply = Reply.problem(refusal)

    assert reply.status == status
    assert dict(reply.headers) == {"Content-Type": "application/problem+json"} | headers
    assert json.loads(reply.body) == {
        "type": "about:blank",
        "title": refusal.title,
        "status": status,
        "detail": refusal.detail,
    }
    assert refusal.detail


def test_refusal_without_a_detail_leaves_it_out() -> None:
    """A refusal without a detail leaves it out."""
    assert json.loads(Reply.problem(Rejected()).body) == {
        "type": "about:blank",
        "title": responses[422],
        "status": 422,
    }


# The route's answer


def test_answer_is_202_with_the_event_and_its_jobs() -> None:
    """The answer is 202 with the event and its jobs."""
    reply, _ = accept(transform=lambda event: (number for number in (1, 2)))

    event = make_event().id
    assert reply.status == 202
    assert json.loads(reply.body) == {"id": event, "jobs": [f"{event}-1", f"{event}-2"]}


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("empty", EMPTY),
        ("pixel", PIXEL),
        (Reply(200, body="ok"), Reply(200, body="ok")),
        (lambda event: Reply(201, {"Location": event.id}), Reply(201, {"Location": make_event().id})),
        (lambda event: Reply(200, body=event.data), Reply(200, body={"order": 1})),
    ],
)
def test_route_says_what_is_answered(reply: Any, answer: Reply) -> None:
    """A route says what is answered."""
    given, outbox = accept(make_event(headers={"Content-Type": "application/json"}), reply=reply)

    assert given == answer
    assert len(outbox.jobs) == 1


@pytest.mark.parametrize(
    "reply",
    [
        raising(RuntimeError("boom")),
        raising(Rejected(409)),
        raising(SystemExit(1)),
        lambda event: None,
        lambda event: 204,
        lambda event: "empty",
        lambda event: Reply(204, body="x"),
    ],
)
def test_failing_reply_function_is_answered_202_since_the_event_is_kept(reply: Any) -> None:
    """A failing reply function is answered 202 since the event is kept."""
    given, outbox = accept(reply=reply)

    assert given.status == 202
    assert len(outbox.jobs) == 1


def test_reply_function_of_a_repeated_event_gets_the_first_id() -> None:
    """A reply function of a repeated event gets the first id."""
    _, outbox = accept(dedupe=lambda event: "same")
    again = make_event(id="f" * 32)

    reply = Intake(outbox).accept(
        make_route(dedupe=lambda event: "same", reply=lambda event: Reply(200, body=event.id)), again
    )

    assert reply.body.decode() == make_event().id
    assert len(outbox.jobs) == 1
