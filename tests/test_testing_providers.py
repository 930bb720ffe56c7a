"""Requests of every provider in the catalogue, signed by the test client."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.provider_samples import URL, pem_of, request, sample
from tests.support import NOON, make_relay, make_route
from trafficrelay.errors import ClientError
from trafficrelay.testing import Answer, RelayClient, relay_client
from trafficrelay.testing.signing import Signed
from trafficrelay.verify import CATALOGUE, asana, braintree, mailgun, sendgrid, slack, square, twilio

providers = pytest.mark.parametrize("name", CATALOGUE)

TEXT = "text/plain"
PATH = "/in?shop=7"


def make_client(verify: Any, **options: Any) -> RelayClient:
    """Make a client of a relay with one route, /in."""
    chosen: dict[str, Any] = {"rule": "/in", "methods": ["GET", "POST"], "verify": verify} | options
    return relay_client(make_relay(make_route(**chosen))[0])


def send(client: RelayClient, name: str, signed: Signed) -> Answer:
    """Send a provider's sample. Not all of those that they have published are the JSON that they call themselves."""
    message = request(name)
    with client.at(NOON):
        return client.request(message.method, PATH, message.body, headers=dict(message.headers), signed=signed)


@providers
def test_what_each_provider_signs_is_taken(name: str) -> None:
    assert 200 <= send(make_client(sample(name), content_type=TEXT), name, True).status < 300


def test_a_notification_of_googles_without_a_body_is_an_event() -> None:
    """Google's notifications say that they are JSON and have no body; a 400 would lose them."""
    answer = send(make_client(sample("google_channel")), "google_channel", True)

    assert answer.status == 202


@providers
def test_what_is_wrongly_signed_is_refused(name: str) -> None:
    assert send(make_client(sample(name), content_type=TEXT), name, "wrong").status == 401


@providers
def test_what_is_not_signed_is_refused(name: str) -> None:
    assert send(make_client(sample(name), content_type=TEXT), name, False).status == 401


@providers
def test_what_was_tampered_with_is_refused_where_that_is_signed(name: str) -> None:
    check = sample(name)
    answer = send(make_client(check, content_type=TEXT), name, "tampered")

    assert answer.unverified or not check.scheme.signs_body


@providers
@pytest.mark.parametrize("public_url", [None, "https://hooks.example", "https://hooks.example/in"])
def test_the_url_that_is_signed_is_the_one_that_the_app_sees(name: str, public_url: str | None) -> None:
    check = sample(name)
    if not check.signs_url:
        return

    assert 200 <= send(make_client(replace(check, public_url=public_url), content_type=TEXT), name, True).status < 300


@pytest.mark.parametrize("headers", [{"Host": "relay.example"}, {"Host": "relay.example:8443"}])
def test_the_host_that_a_test_says_is_signed_with(headers: dict[str, str]) -> None:
    answer = make_client(square("key")).post_json(PATH, {}, headers=headers, signed=True)

    assert answer.queued


@pytest.mark.parametrize("path", ["/in/Zoë", "/in/a b?q=ü&r=%2f", "/in/%E2%82%AC"])
def test_a_path_of_any_letters_is_signed_as_the_app_sees_it(path: str) -> None:
    assert make_client(square("key"), rule="/in/<name>").post_json(path, {}, signed=True).queued


def test_a_hash_of_the_body_in_the_url_is_sent_with_it() -> None:
    """As Twilio does with JSON."""
    for verify in (twilio("token"), twilio("token", public_url="https://hooks.example/in")):
        for path in ("/in", PATH):
            client = make_client(verify)
            answer = client.post_json(path, {"a": 1}, signed=True)

            assert answer.queued
            assert "bodySHA256=" in answer.request.target
            assert client.post_json(path, {"a": 1}, signed="wrong").unverified
            assert client.post_json(path, {"a": 1}, signed="tampered").unverified


def test_a_signature_in_the_body_is_sent_in_it() -> None:
    client = make_client(mailgun("key"))
    answer = client.post_json("/in", {"event-data": {"id": "7"}}, signed=True)

    assert set(answer.data["signature"]) == {"timestamp", "token", "signature"}
    assert client.post_json("/in", {"event-data": {"id": "8"}}, signed="wrong").unverified


def test_a_body_becomes_the_payload_of_a_form_where_its_provider_sends_one() -> None:
    client = make_client(braintree("key", public_key="public"))
    answer = client.post("/in", b"<notification/>", content_type="text/xml", signed=True)

    assert set(answer.data) == {"bt_signature", "bt_payload"}
    assert client.post("/in", b"<notification/>", content_type="text/xml", signed="wrong").unverified


def test_a_body_that_has_no_place_for_its_signature_says_so() -> None:
    with pytest.raises(ClientError, match=r"/in cannot be signed: the body .*Leave signed= out"):
        make_client(mailgun("key")).post_json("/in", [1], signed=True)


def test_a_public_key_cannot_sign_and_says_what_can() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(ClientError, match=r"only the provider can sign.*private key of your own in PEM"):
        make_client(sendgrid(public)).post_json("/in", [], signed=True)

    assert make_client(sendgrid(pem_of(private))).post_json("/in", [], signed=True).queued


def test_signatures_of_a_saved_request_give_way_to_the_new_one() -> None:
    """Of several, each would be looked at."""
    client = make_client(sample("docusign"))
    first = client.post_json("/in", {}, signed=True)
    name = next(name for name in first.request.headers if name.lower().startswith("x-docusign"))
    headers = {"X-DocuSign-Signature-2": first.request.headers[name]}

    assert client.post_json("/in", {}, headers=headers, signed="wrong").unverified


def test_a_secret_that_a_challenge_brought_signs() -> None:
    client = make_client(asana())
    with pytest.raises(ClientError, match=r"the one that the provider's challenge brings"):
        client.post_json("/in", {}, signed=True)
    brought = client.post("/in", headers={"X-Hook-Secret": "s3cret"}, signed=True)

    assert brought.challenge
    assert client.post_json("/in", {"events": [{}]}, signed=True).queued
    assert client.post_json("/in", {"events": [{}]}, signed="wrong").unverified
    with client.outage():
        assert client.post_json("/in", {"events": [{}]}, signed=True).status in (200, 202, 204, 503)


def test_a_challenge_that_is_signed_is_answered() -> None:
    client = make_client(slack("secret"))
    challenge = {"type": "url_verification", "challenge": "abc"}

    assert client.post_json("/in", challenge, signed=True).challenge
    assert client.post_json("/in", challenge, signed="wrong").unverified


def test_a_public_url_that_depends_on_the_request_is_signed() -> None:
    check = square("key", public_url=lambda event: f"https://{event.params['shop']}.example/in")
    client = make_client(check, rule="/<shop>")

    assert client.post_json("/acme", {}, signed=True).queued


def test_the_sample_is_of_this_path() -> None:
    assert URL.endswith(PATH)
