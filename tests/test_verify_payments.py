"""Adyen's and Braintree's own ways to sign: what others could make of them is refused."""

from __future__ import annotations

import copy
import json
from typing import Any
from urllib.parse import parse_qs, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import make_event
from trafficrelay.errors import DeclarationError, Unverified
from trafficrelay.event import Event, Headers
from trafficrelay.verify import adyen, braintree
from trafficrelay.verify.message import Outgoing
from trafficrelay.verify.own.braintree import BraintreeChallenge

KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
ITEM = {
    "amount": {"currency": "EUR", "value": 1130},
    "eventCode": "AUTHORISATION",
    "merchantAccountCode": "Shop",
    "merchantReference": "order:7",
    "pspReference": "7914073381342284",
    "reason": "1234:1111:03/2030",
    "success": "true",
}
ADYEN = adyen(secret=KEY)
BRAINTREE = braintree(secret="private", public_key="public")
FORM = {"content-type": "application/x-www-form-urlencoded"}


def notified(*items: dict[str, Any]) -> dict[str, Any]:
    """What Adyen sends of some notifications."""
    return {"live": "false", "notificationItems": [{"NotificationRequestItem": item} for item in items]}


def from_adyen(data: Any) -> Event:
    """The event of a request whose body is JSON."""
    return make_event(data=None, headers={"content-type": "application/json"}, body=msgspec.json.encode(data))


def signed(*items: dict[str, Any]) -> Any:
    """What Adyen sends, signed."""
    body = ADYEN.signed(Outgoing(msgspec.json.encode(notified(*items)))).body
    return json.loads(body)


def from_braintree(fields: dict[str, Any]) -> Event:
    """The event of a form."""
    return make_event(data=None, headers=FORM, body=urlencode(fields, doseq=True).encode())


def sent(payload: bytes = b"<notification/>") -> dict[str, str]:
    """The fields of a form that Braintree sent."""
    body = BRAINTREE.signed(Outgoing(payload)).body
    return {name: values[0] for name, values in parse_qs(body.decode()).items()}


def test_all_of_several_notifications_are_verified() -> None:
    """All of several notifications are verified."""
    assert ADYEN(from_adyen(signed(ITEM, ITEM | {"pspReference": "B"}))) is True


def test_a_notification_that_is_added_after_a_signed_one_is_refused() -> None:
    """A notification that is added after a signed one is refused."""
    data = signed(ITEM)
    data["notificationItems"].append(copy.deepcopy(data["notificationItems"][0]))
    data["notificationItems"][1]["NotificationRequestItem"]["amount"]["value"] = 1

    with pytest.raises(Unverified) as caught:
        ADYEN(from_adyen(data))

    assert caught.value.cause == "mismatch"


@pytest.mark.parametrize("field", ["pspReference", "merchantAccountCode", "merchantReference", "eventCode", "success"])
def test_a_changed_field_of_those_that_are_signed_is_refused(field: str) -> None:
    """A changed field of those that are signed is refused."""
    data = signed(ITEM)
    data["notificationItems"][0]["NotificationRequestItem"][field] += "x"

    with pytest.raises(Unverified, match="does not match"):
        ADYEN(from_adyen(data))


def test_no_part_of_a_field_can_be_moved_to_the_next() -> None:
    """No part of a field can be moved to the next: nothing escapes the colons between them."""
    data = signed(ITEM)
    data["notificationItems"][0]["NotificationRequestItem"] |= {
        "merchantAccountCode": "Shop:order",
        "merchantReference": "7",
    }

    with pytest.raises(Unverified, match="colon"):
        ADYEN(from_adyen(data))


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        7,
        {},
        {"notificationItems": None},
        {"notificationItems": []},
        {"notificationItems": [7]},
        {"notificationItems": [{}]},
        {"notificationItems": [{"NotificationRequestItem": []}]},
        notified({}),
        notified({"additionalData": []}),
        notified({"additionalData": {"hmacSignature": 7}}),
        notified({"additionalData": {"hmacSignature": "é"}}),
        notified({"additionalData": {"hmacSignature": "x"}, "amount": "EUR"}),
        notified({"additionalData": {"hmacSignature": "x"}, "success": True}),
        notified({"additionalData": {"hmacSignature": "x"}, "pspReference": 10**30}),
        notified({"additionalData": {"hmacSignature": "x"}, "pspReference": 1.5}),
        notified(*[ITEM] * 101),
    ],
)
def test_what_is_no_signed_notification_is_refused(data: Any) -> None:
    """What is no signed notification is refused, and is no error."""
    body = json.dumps(data).encode()

    with pytest.raises(Unverified):
        ADYEN(make_event(data=None, headers={"content-type": "application/json"}, body=body))


def test_what_braintree_signs_is_verified_whatever_it_is() -> None:
    """What Braintree signs is verified, with the line feed at its end or without."""
    fields = sent(b"<notification/>" * 9)

    assert BRAINTREE(from_braintree(fields)) is True
    assert BRAINTREE(from_braintree(fields | {"bt_payload": fields["bt_payload"].rstrip("\n")})) is True


def test_the_answer_to_a_challenge_is_no_signature_of_a_payload() -> None:
    """The answer to a challenge is no signature of a payload: anybody may ask for one."""
    challenge = "20f9f8ed05f77439fe955c977e4c8a53"
    answered = BraintreeChallenge().answer(make_event(query={"bt_challenge": challenge}), BRAINTREE)
    assert answered is not None

    with pytest.raises(Unverified, match="no notification"):
        BRAINTREE(from_braintree({"bt_signature": answered.reply.body.decode(), "bt_payload": challenge}))


@pytest.mark.parametrize("challenge", ["", "xyz", "a" * 19, "a" * 33, "A" * 20, "é" * 20, ["a" * 20, "b" * 20]])
def test_what_is_no_challenge_is_not_signed(challenge: Any) -> None:
    """What is no challenge is not signed."""
    with pytest.raises(Unverified):
        BraintreeChallenge().answer(make_event(query={"bt_challenge": challenge}), BRAINTREE)


def test_a_request_without_a_challenge_is_none() -> None:
    """A request without a challenge is none."""
    assert BraintreeChallenge().answer(make_event(query={"other": "1"}), BRAINTREE) is None


@pytest.mark.parametrize("name", ["bt_payload", "bt_signature"])
def test_of_two_payloads_or_signatures_neither_counts(name: str) -> None:
    """Of two payloads or signatures neither counts: a transform might take the other one."""
    fields: dict[str, Any] = dict(sent())
    fields[name] = [fields[name], "eA=="]

    with pytest.raises(Unverified, match="not one bt_payload"):
        BRAINTREE(from_braintree(fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"bt_payload": "eA=="},
        {"bt_signature": "public|" + "0" * 40},
        {"bt_payload": "eA==", "bt_signature": ""},
        {"bt_payload": "eA==", "bt_signature": "public"},
        {"bt_payload": "eA==", "bt_signature": "other|" + "0" * 40},
        {"bt_payload": "eA==", "bt_signature": "public|é"},
        {"bt_payload": "eA==", "bt_signature": "&".join(["public|00"] * 17)},
        {"bt_payload": "<x>", "bt_signature": "public|" + "0" * 40},
        {"bt_payload": "é", "bt_signature": "public|" + "0" * 40},
    ],
)
def test_what_is_no_signed_form_is_refused(fields: dict[str, str]) -> None:
    """What is no signed form is refused, and is no error."""
    with pytest.raises(Unverified):
        BRAINTREE(from_braintree(fields))


@given(body=st.binary(max_size=200), kind=st.sampled_from(["application/json", FORM["content-type"], ""]))
def test_no_body_is_an_error(body: bytes, kind: str) -> None:
    """No body is an error: each is a clean refusal."""
    event = make_event(data=None, headers={"content-type": kind}, body=body)
    for check in (ADYEN, BRAINTREE):
        with pytest.raises(Unverified):
            check(event)


@given(body=st.binary(max_size=200))
def test_what_is_signed_as_braintree_does_verifies(body: bytes) -> None:
    """What is signed as Braintree does verifies, whatever the payload is."""
    outgoing = BRAINTREE.signed(Outgoing(body, headers=Headers({"Content-Type": "text/xml"})))

    assert BRAINTREE(make_event(data=None, headers=dict(outgoing.headers), body=outgoing.body)) is True


@pytest.mark.parametrize("public_key", ["", "a|b", "a&b", None])
def test_a_public_key_that_is_none_is_an_error_when_declared(public_key: Any) -> None:
    """A public key that is none is an error when the route is declared."""
    with pytest.raises(DeclarationError, match="public_key"):
        braintree(secret="private", public_key=public_key)


def test_a_key_that_is_not_hexadecimal_is_an_error_when_declared() -> None:
    """A key of Adyen that is not hexadecimal is an error when the route is declared."""
    with pytest.raises(DeclarationError, match="hexadecimal"):
        adyen(secret="not hexadecimal")
