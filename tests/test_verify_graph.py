"""Microsoft Graph's notifications: a token in each of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import make_event
from trafficrelay.errors import DeclarationError, Unverified
from trafficrelay.event import Event, Headers
from trafficrelay.verify import microsoft_graph
from trafficrelay.verify.message import Outgoing
from trafficrelay.verify.own import graph
from trafficrelay.verify.tokens import among


def notifications(*items: Any) -> Event:
    """A request with these notifications."""
    return sent({"value": list(items)})


def sent(body: Any) -> Event:
    """A request with this body."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return make_event(method="POST", headers={"content-type": "application/json"}, body=raw, data=None)


def test_notifications_of_several_subscriptions_are_taken_where_all_are_known() -> None:
    """Notifications of several subscriptions are taken where all are known."""
    check = microsoft_graph(secret=["one", "two"])

    assert check(notifications({"clientState": "two"}, {"clientState": "one"})) is True


def test_one_notification_that_is_not_known_refuses_the_request() -> None:
    """One notification that is not known refuses the request."""
    check = microsoft_graph(secret="one")

    with pytest.raises(Unverified) as refused:
        check(notifications({"clientState": "one"}, {"clientState": "two"}))

    assert refused.value.cause == "mismatch"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        [],
        {},
        {"value": None},
        {"value": {"clientState": "one"}},
        {"value": []},
        {"value": [{"clientState": "one"}] * 1_001},
        {"value": ["one"]},
        {"value": [{}]},
        {"value": [{"clientState": None}]},
        {"value": [{"clientState": ""}]},
        {"value": [{"clientState": 1}]},
        {"value": [{"clientState": ["one"]}]},
        {"value": [{"clientState": "one"}, {}]},
    ],
)
def test_what_holds_no_notifications_is_refused(body: Any) -> None:
    """What holds no notifications is refused."""
    with pytest.raises(Unverified) as refused:
        microsoft_graph(secret="one")(sent(body))

    assert refused.value.cause == "malformed"


def test_a_client_state_of_any_letters_is_known() -> None:
    """A clientState of any letters is known."""
    check = microsoft_graph(secret="grün")

    assert check(notifications({"clientState": "grün"})) is True


def test_half_a_character_is_not_known() -> None:
    """Half a character is not known."""
    with pytest.raises(Unverified):
        microsoft_graph(secret="one")(sent(b'{"value": [{"clientState": "\\ud800"}]}'))


def test_a_secret_that_cannot_stand_in_json_is_no_secret() -> None:
    """A secret that cannot stand in JSON is no secret."""
    with pytest.raises(DeclarationError, match="UTF-8"):
        microsoft_graph(secret=b"\xff")


@pytest.mark.parametrize("body", [b"{}", b'{"value": [{"id": 1}, {"id": 2}]}', b'{"value": [1]}'])
def test_what_is_signed_is_verified(body: bytes) -> None:
    """What is signed is verified."""
    check = microsoft_graph(secret="one")
    signed = check.signed(Outgoing(body, headers=Headers({"content-type": "application/json"})))

    assert check(sent(signed.body)) is True


def test_a_body_that_has_no_place_for_it_is_not_signed() -> None:
    """A body that has no place for it is not signed."""
    with pytest.raises(Unverified):
        microsoft_graph(secret="one").signed(Outgoing(b"[]", headers=Headers({"content-type": "application/json"})))


def test_what_follows_a_notification_that_is_not_known_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a notification that is not known costs nothing: with many secrets it would cost a lot."""
    looked: list[bytes] = []

    def counting(keys: Any, given: bytes) -> Any:
        looked.append(given)
        return among(keys, given)

    monkeypatch.setattr(graph, "among", counting)

    with pytest.raises(Unverified):
        microsoft_graph(secret=["one", "two"])(notifications(*({"clientState": str(n)} for n in range(1_000))))
    assert looked == [b"0"]
