"""Twilio's URLs and Mailgun's fields: what else is signed there, and what others could make of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support import NOON, make_event
from trafficrelay.errors import Unverified
from trafficrelay.event import Event, Headers
from trafficrelay.verify import mailgun, mandrill, twilio
from trafficrelay.verify.message import Outgoing
from trafficrelay.verify.own.url_with_port import SETTINGS, spellings

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
URL = "https://hooks.example/sms?shop=7"
TWILIO = twilio(secret="token")
MAILGUN = mailgun(secret="key")


def event_of(message: Outgoing, **fields: Any) -> Event:
    """The event of a request."""
    sent = {"method": message.method, "url": message.url, "headers": message.headers, "body": message.body}
    return make_event(**(sent | {"data": None, "received_at": NOON} | fields))


def signed(check: Any, body: bytes, headers: dict[str, str], url: str = URL) -> Outgoing:
    """A request, signed at noon."""
    message = check.signed(Outgoing(body, url, "POST", Headers(headers)), NOON)
    assert isinstance(message, Outgoing)
    return message


def cause(check: Any, event: Event) -> str:
    """Why an event is refused."""
    with pytest.raises(Unverified) as caught:
        check(event)

    return str(caught.value.cause)


# Twilio


@pytest.mark.parametrize(
    ("url", "both"),
    [
        ("https://a.example/x?y=1", ["https://a.example/x?y=1", "https://a.example:443/x?y=1"]),
        ("http://a.example", ["http://a.example", "http://a.example:80"]),
        ("https://a.example:8443/x", ["https://a.example:8443/x", "https://a.example/x"]),
        ("https://me:pw@a.example:443?b=c:1", ["https://me:pw@a.example:443?b=c:1", "https://me:pw@a.example?b=c:1"]),
        ("https://[2001:db8::1]/x", ["https://[2001:db8::1]/x", "https://[2001:db8::1]:443/x"]),
        ("https://[2001:db8::1]:8443/x", ["https://[2001:db8::1]:8443/x", "https://[2001:db8::1]/x"]),
        ("", [""]),
        ("/x", ["/x"]),
    ],
)
def test_a_url_is_tried_with_its_port_and_without(url: str, both: list[str]) -> None:
    """A URL is tried with its port and without."""
    assert list(spellings(url)) == both


def test_json_from_twilio_is_signed_by_its_hash_in_the_url() -> None:
    """JSON from Twilio is signed by its hash in the URL."""
    body = b'{"a": 1}'
    message = signed(TWILIO, body, JSON)

    assert message.url == f"{URL}&bodySHA256={hashlib.sha256(body).hexdigest()}"
    assert TWILIO(event_of(message)) is True
    assert cause(TWILIO, event_of(message, body=b'{"a": 2}')) == "mismatch"
    assert cause(TWILIO, event_of(message.adding(FORM))) == "mismatch"
    assert cause(TWILIO, event_of(message.adding(FORM), body=b"")) == "mismatch"


def test_a_body_that_the_url_has_no_hash_of_is_refused() -> None:
    """A body that the URL has no hash of is refused, though the URL's signature is right."""
    got = TWILIO.signed(Outgoing(b"", URL, "GET"), NOON)

    assert TWILIO(event_of(got)) is True
    assert cause(TWILIO, event_of(got, method="POST", body=b'{"a": 1}')) == "malformed"


def test_a_public_url_is_signed_with_the_hash_of_json_that_the_request_has() -> None:
    """A public URL is signed with the hash of JSON that the request has."""
    check = twilio(secret="token", public_url="https://hooks.example/sms")
    message = signed(check, b"[1]", JSON, "https://hooks.example/sms")
    _, _, query = message.url.partition("?")

    assert check(event_of(message, url=f"http://10.0.0.7:8080/sms?{query}")) is True


@pytest.mark.parametrize("algorithm", ["HMAC_SHA256", "hmac_sha1"])
def test_the_hash_that_a_header_names_is_the_one(algorithm: str) -> None:
    """The hash that a header names is the one."""
    message = signed(TWILIO, b"a=1&b=2", FORM | {SETTINGS: f"key=k1,algorithm={algorithm}"})

    assert TWILIO(event_of(message)) is True


@pytest.mark.parametrize("settings", ["algorithm=MD5", "algorithm=HMAC_SHA1,algorithm=HMAC_SHA256", "algorithm=none"])
def test_a_hash_that_is_not_known_is_refused(settings: str) -> None:
    """A hash that is not known is refused."""
    message = signed(TWILIO, b"a=1&b=2", FORM)

    assert cause(TWILIO, event_of(message.adding({SETTINGS: settings}))) == "malformed"


@pytest.mark.parametrize("body", [b"a=%FF", b"a=\xff", b"&".join([b"a=1"] * 2_000)])
def test_a_form_that_cannot_be_read_is_refused(body: bytes) -> None:
    """A form that cannot be read is refused."""
    message = signed(TWILIO, b"a=1", FORM)

    assert cause(TWILIO, event_of(message, body=body)) == "malformed"


# Mandrill


def test_mandrill_signs_no_body_that_is_no_form() -> None:
    """A signature of Mandrill's says nothing of a body that is no form."""
    check = mandrill(secret="key")
    message = signed(check, b"mandrill_events=[]", FORM)

    assert check(event_of(message)) is True
    assert cause(check, event_of(message.adding(JSON))) == "malformed"


# Mailgun


def test_an_event_of_a_subaccount_is_verified_by_its_parents_key() -> None:
    """An event of a subaccount is verified by the key of the account that it belongs to."""
    child = json.loads(signed(mailgun(secret="the subaccount's"), b"{}", JSON).body)
    fields = child["signature"]
    own = json.loads(signed(MAILGUN, json.dumps({"signature": {"token": fields["token"]}}).encode(), JSON).body)
    fields["parent-signature"] = own["signature"]["signature"]
    message = Outgoing(json.dumps(child).encode(), URL, "POST", Headers(JSON))

    assert MAILGUN(event_of(message)) is True
    assert mailgun(secret="the subaccount's")(event_of(message)) is True
    assert cause(mailgun(secret="another"), event_of(message)) == "mismatch"


@pytest.mark.parametrize("field", ["timestamp", "token", "signature"])
@pytest.mark.parametrize("headers", [FORM, JSON])
def test_a_body_without_one_of_mailguns_fields_is_refused(field: str, headers: dict[str, str]) -> None:
    """A body without one of Mailgun's fields is refused."""
    fields = {"timestamp": "1772366400", "token": "t", "signature": "00"} | {field: ""}
    body = urlencode(fields).encode() if headers is FORM else json.dumps({"signature": fields}).encode()
    message = Outgoing(body, URL, "POST", Headers(headers))

    assert cause(MAILGUN, event_of(message)) == "malformed"


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b'{"signature": "x"}', b'{"signature": [1]}', b"{", b"\xff"])
def test_a_body_that_mailgun_would_not_send_is_refused(body: bytes) -> None:
    """A body that Mailgun would not send is refused."""
    assert cause(MAILGUN, event_of(Outgoing(body, URL, "POST", Headers(JSON)))) == "malformed"


def test_the_token_of_a_body_stays_and_one_is_made_where_there_is_none() -> None:
    """The token of a body stays when it is signed, and one is made where there is none."""
    kept = signed(MAILGUN, b'{"signature": {"token": "mine"}, "event-data": {"id": "7"}}', JSON)
    made = signed(MAILGUN, b"subject=Hi", FORM)

    assert json.loads(kept.body)["signature"]["token"] == "mine"
    assert MAILGUN(event_of(kept)) is True
    assert b"token=" in made.body
    assert MAILGUN(event_of(made)) is True
