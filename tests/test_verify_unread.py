"""What verifiers do with a body before they know whose it is: they read it in one way alone, and not many times."""

from __future__ import annotations

import hmac
from typing import Any

import pytest
import webtest

from tests.provider_samples import event_of, signed
from tests.support import NOON, make_event, make_relay, make_route
from trafficrelay.errors import Unverified
from trafficrelay.verify import circleci, docusign, hubspot, polar, square, standard_webhooks, stripe
from trafficrelay.verify.message import Outgoing

# What proves their senders stands in the body, or is made of what the body says; the rest of it is not signed.
LOOKED_INTO = ("adyen", "aws_sns", "braintree", "mailgun", "mandrill", "microsoft_graph", "twilio")


@pytest.mark.parametrize("name", LOOKED_INTO)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, deflate"])
def test_a_body_that_would_be_inflated_afterwards_is_not_looked_into(name: str, coding: str) -> None:
    """A body that would be inflated afterwards is refused: what a job gets would be another one than was verified."""
    check, message = signed(name)

    with pytest.raises(Unverified) as refused:
        check(event_of(message.adding({"Content-Encoding": coding})))

    assert refused.value.cause == "malformed"


@pytest.mark.parametrize("name", LOOKED_INTO)
@pytest.mark.parametrize("charset", ["hz", "utf-16", "iso-2022-jp", "cp037", "x"])
def test_a_body_that_would_be_read_in_another_charset_is_not_looked_into(name: str, charset: str) -> None:
    """A body in which the charset decides where a string ends is refused."""
    check, message = signed(name)
    kind = message.headers.get("content-type", "application/json").partition(";")[0]

    with pytest.raises(Unverified) as refused:
        check(event_of(message.adding({"Content-Type": f"{kind}; charset={charset}"})))

    assert refused.value.cause == "malformed"


@pytest.mark.parametrize("name", LOOKED_INTO)
@pytest.mark.parametrize(
    "headers",
    [{"Content-Encoding": "identity"}, {"charset": "UTF-8"}, {"charset": '"utf8"'}, {"charset": "ISO-8859-1"}],
)
def test_what_says_nothing_new_of_a_body_changes_nothing(name: str, headers: dict[str, str]) -> None:
    """What is no coding, and a charset in which all that counts is the same, change nothing."""
    check, message = signed(name)
    if charset := headers.get("charset"):
        kind = message.headers.get("content-type", "application/json").partition(";")[0]
        headers = {"Content-Type": f"{kind}; charset={charset}"}

    assert check(event_of(message.adding(headers))) is True


STANDARD = {"webhook-id": "msg_1", "webhook-timestamp": str(int(NOON.timestamp()))}


@pytest.mark.parametrize(
    ("check", "headers", "most"),
    [
        (standard_webhooks("whsec_" + "A" * 32), STANDARD | {"webhook-signature": " ".join(["v1,a"] * 16)}, 1),
        (polar("polar_whs_abcdefgh"), STANDARD | {"webhook-signature": " ".join(["v1,a"] * 16)}, 2),
        (docusign("key"), {f"X-DocuSign-Signature-{number}": "a" for number in range(1, 17)}, 1),
        (circleci(["key", "old"]), {"circleci-signature": ",".join(["v1=a"] * 16)}, 2),
    ],
)
def test_however_many_signatures_come_a_body_is_signed_once_for_each_key(
    monkeypatch: pytest.MonkeyPatch, check: Any, headers: dict[str, str], most: int
) -> None:
    """However many signatures come, a body is signed once for each key: it may be large, and anybody may send it."""
    digest = hmac.digest
    counted: list[str] = []

    def counting(key: bytes, content: bytes, name: str) -> bytes:
        counted.append(name)
        return digest(key, content, name)

    monkeypatch.setattr(hmac, "digest", counting)

    with pytest.raises(Unverified):
        check(make_event(headers=headers, data=None))
    assert len(counted) <= most


ATTRIBUTES = {"ce-specversion": "1.0", "ce-id": "9", "ce-source": "x", "ce-type": "y"}


@pytest.mark.parametrize("row", [stripe, standard_webhooks])
def test_headers_that_nobody_signed_do_not_make_a_signed_request_another_event(row: Any) -> None:
    """Whoever has a signed request cannot have it counted again as a CloudEvent, by headers that nobody signed."""
    check = row(secret="whsec_" + "A" * 32)
    relay, outbox = make_relay(make_route(rule="/in", verify=check))
    headers = {**check.sign(b'{"id": "evt_1"}', message_id="msg_1"), "Content-Type": "application/json"}
    app = webtest.TestApp(relay.app)
    for more in ({}, ATTRIBUTES, ATTRIBUTES | {"ce-id": "10"}):
        app.post("/in", b'{"id": "evt_1"}', headers | more, status=202)

    assert len(outbox.jobs) == 1


@pytest.mark.parametrize("row", [square, hubspot])
@pytest.mark.parametrize("public_url", ["https://hooks.example/in?shop=7", "https://hooks.example/in", None])
def test_a_signed_body_cannot_be_moved_into_the_query(row: Any, public_url: str | None) -> None:
    """A signed body that is sent as the end of the query, and no body after it, is no event."""
    check = row(secret="key", public_url=public_url)
    relay, outbox = make_relay(make_route(rule="/in", verify=check))
    body = b'{"id":1}'
    sent = check.signed(Outgoing(body, "https://hooks.example/in?shop=7"))
    app = webtest.TestApp(relay.app, extra_environ={"wsgi.url_scheme": "https", "HTTP_HOST": "hooks.example"})
    environ = {"QUERY_STRING": "shop=7" + body.decode()}

    answer = app.post("/in", b"", dict(sent.headers), extra_environ=environ, expect_errors=True)
    assert answer.status_int == 401
    assert outbox.jobs == []
