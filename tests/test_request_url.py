"""The URL that a request was sent to, for those who sign it: out of the request's line, and through proxies."""

from __future__ import annotations

from typing import Any

import pytest
import webtest

from tests.support import make_event, make_relay, make_route
from trafficrelay import Event, MemoryOutbox, Relay, Reply, Route
from trafficrelay.door import Door
from trafficrelay.request_url import request_url
from trafficrelay.verify import Verified, hubspot, square, trello, twilio, xero
from trafficrelay.verify.message import Outgoing

USUAL = {"wsgi.url_scheme": "http", "HTTP_HOST": "hooks.example", "SCRIPT_NAME": "", "PATH_INFO": "/in"}


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "http://hooks.example/in"),
        ({"wsgi.url_scheme": "https"}, "https://hooks.example/in"),
        ({"QUERY_STRING": "a=1&b=%20"}, "http://hooks.example/in?a=1&b=%20"),
        ({"SCRIPT_NAME": "/relay"}, "http://hooks.example/relay/in"),
        ({"PATH_INFO": ""}, "http://hooks.example/"),
        ({"PATH_INFO": "/caf\xc3\xa9 x/a+b,c"}, "http://hooks.example/caf%C3%A9%20x/a+b,c"),
        ({"HTTP_HOST": "hooks.example:8443"}, "http://hooks.example:8443/in"),
        ({"HTTP_HOST": "[2001:db8::7]:80"}, "http://[2001:db8::7]:80/in"),
        ({"HTTP_HOST": "", "SERVER_NAME": "10.0.0.1", "SERVER_PORT": "8080"}, "http://10.0.0.1:8080/in"),
        ({"HTTP_HOST": "", "SERVER_NAME": "10.0.0.1", "SERVER_PORT": "80"}, "http://10.0.0.1/in"),
        # What the server says of the request's line is what the sender wrote.
        ({"REQUEST_URI": "/in%2Fside?x=%7e", "QUERY_STRING": "x=~"}, "http://hooks.example/in%2Fside?x=%7e"),
        ({"RAW_URI": "/a//b?"}, "http://hooks.example/a//b?"),
        ({"REQUEST_URI": "http://elsewhere/in"}, "http://hooks.example/in"),
        # No host is one that a header could break out of.
        ({"HTTP_HOST": "hooks.example/evil"}, ""),
        ({"HTTP_HOST": "a b"}, ""),
        ({"HTTP_HOST": "x@y"}, ""),
        ({"HTTP_HOST": "é"}, ""),
        ({"HTTP_HOST": "h" * 300}, ""),
        # In brackets nothing but an address of IPv6; urlsplit() raises for others.
        ({"HTTP_HOST": "[::::]"}, ""),
        ({"HTTP_HOST": "[1.2.3.4]"}, ""),
        ({"HTTP_HOST": "[::ffff:999.1.1.1]:80"}, ""),
    ],
)
def test_the_url_is_that_of_the_request(changes: dict[str, Any], url: str) -> None:
    """The URL is that of the request, as far as it says."""
    assert request_url(USUAL | changes, forwarded=False) == url


@pytest.mark.parametrize(
    ("proto", "host", "url"),
    [
        ("https", "public.example", "https://public.example/in"),
        ("HTTPS", "", "https://hooks.example/in"),
        ("", "public.example:444", "http://public.example:444/in"),
        # A list: the sender may have written all but the last one.
        ("http, https", "evil.example, public.example", "https://public.example/in"),
        ("gopher", "public.example", "http://public.example/in"),
        ("https", "public.example/evil", ""),
    ],
)
def test_a_trusted_proxy_says_what_it_was_asked_for(proto: str, host: str, url: str) -> None:
    """A trusted proxy says what it was asked for, and others do not."""
    environ = USUAL | {"HTTP_X_FORWARDED_PROTO": proto, "HTTP_X_FORWARDED_HOST": host}
    trusting = Door(trusted_proxies=["10.0.0.0/8"])

    assert trusting.url(environ | {"REMOTE_ADDR": "10.1.2.3"}) == url
    assert trusting.url(environ | {"REMOTE_ADDR": "192.0.2.7"}) == "http://hooks.example/in"
    assert Door().url(environ | {"REMOTE_ADDR": "10.1.2.3"}) == "http://hooks.example/in"


class Watching:
    """A verifier that takes everything, and remembers which URL it was asked about."""

    signs_url = True

    def __init__(self) -> None:
        self.urls: list[str] = []

    def __call__(self, event: Event) -> bool:
        raise AssertionError("check is asked in its place")

    def check(self, event: Event) -> Verified:
        self.urls.append(event.url)
        return Verified()


def test_an_event_has_its_url_where_the_verifier_asks_for_it_and_nothing_keeps_it() -> None:
    """An event has its URL where its verifier asks for it; neither a job nor a dead letter has it."""
    watching = Watching()
    relay, outbox = make_relay(
        make_route(rule="/in", verify=watching),
        make_route(rule="/other", transform=lambda event: {"url": event.url}),
        make_route(rule="/broken", verify=Watching(), transform=lambda event: 1 / 0),
    )
    app = webtest.TestApp(relay.app)
    for path in ("/in", "/other", "/broken"):
        app.post_json(f"{path}?token=secret-in-url", {})

    assert watching.urls == ["http://localhost:80/in?token=secret-in-url"]
    assert outbox.jobs[1].data == {"url": ""}
    assert "secret-in-url" not in str([one.context for one in outbox.handovers])
    assert "http://localhost" not in str(outbox.handovers)


BODY = b'{"event_id": "1", "hello": "world"}'


def square_relay(**options: Any) -> tuple[Relay, MemoryOutbox, Any]:
    """A relay behind a proxy, with a route for Square."""
    check = square("key", **options.pop("square", {}))
    outbox = MemoryOutbox()
    relay = Relay(outbox=outbox, **options)
    relay.add(Route("/square/<shop>", verify=check, job="tests.jobs.echo"))
    return relay, outbox, check


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"square": {"public_url": "https://hooks.example/relay/square/acme"}}, {}),
        ({"square": {"public_url": lambda event: f"https://hooks.example/relay/square/{event.params['shop']}"}}, {}),
        ({"trusted_proxies": ["unix"]}, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "hooks.example"}),
    ],
)
def test_a_provider_that_signs_its_url_is_verified_behind_a_proxy(
    options: dict[str, Any], headers: dict[str, str]
) -> None:
    """A provider that signs its URL is verified behind a proxy: by `public_url=`, or what a trusted proxy says."""
    relay, outbox, check = square_relay(**options)
    signature = check.sign(BODY, url="https://hooks.example/relay/square/acme")
    app = webtest.TestApp(relay.app, extra_environ={"SCRIPT_NAME": "/relay", "REMOTE_ADDR": ""})

    app.post("/relay/square/acme", BODY, {**signature, **headers, "Content-Type": "application/json"}, status=202)
    assert len(outbox.jobs) == 1


@pytest.mark.parametrize(
    "public", ["https://hooks.example/in?shop=7", "https://hooks.example/in", "https://hooks.example"]
)
def test_what_a_provider_adds_to_the_query_counts(public: str) -> None:
    """What a provider adds to the query of the URL that it was given counts: Twilio's hash of a JSON body."""
    check = twilio("token", public_url=public)
    event = make_event(url="http://inside/in?shop=7&bodySHA256=00")

    assert check.url_of(event) == "https://hooks.example/in?shop=7&bodySHA256=00"


def test_another_url_than_the_one_that_was_signed_is_refused() -> None:
    """What was signed for another URL is refused: another tenant's, say."""
    relay, outbox, check = square_relay(square={"public_url": "https://hooks.example"})
    signature = check.sign(BODY, url="https://hooks.example/square/acme")
    app = webtest.TestApp(relay.app)

    app.post("/square/acme", BODY, {**signature, "Content-Type": "application/json"}, status=202)
    app.post("/square/other", BODY, {**signature, "Content-Type": "application/json"}, status=401)
    assert len(outbox.jobs) == 1


@pytest.mark.parametrize("url", ["canary", "/canary", "ftp://canary/", "https:canary", 5, "https://h/#canary"])
def test_a_public_url_that_is_none_is_refused_when_declared(url: Any) -> None:
    """A public URL that is none is refused when it is declared, and not repeated: it may hold a token."""
    with pytest.raises(ValueError, match="public_url") as caught:
        twilio("token", public_url=url)

    assert "canary" not in str(caught.value)


def test_who_wants_no_body_with_a_refusal_gets_none() -> None:
    """Who wants no body with a refusal either gets none: Xero, which tries wrong signatures on purpose."""
    relay, _ = make_relay(
        make_route(rule="/xero", verify=xero("key")), make_route(rule="/square", verify=square("key"))
    )
    app = webtest.TestApp(relay.app)
    bare = app.post_json("/xero", {"events": []}, headers={"x-xero-signature": "bm8="}, status=401)

    assert bare.body == b""
    assert bare.headers["WWW-Authenticate"]
    assert app.post_json("/square", {}, status=401).json["status"] == 401


def test_a_providers_answer_is_the_routes_unless_it_says_another() -> None:
    """A provider's answer is the route's unless that says another."""
    assert make_route(verify=twilio("token")).answer == Reply(204)
    assert make_route(verify=twilio("token"), reply=Reply(200)).answer == Reply(200)


@pytest.mark.parametrize("host", ["[::::]", "[1.2.3.4]", "a, b", "x@y", ""])
@pytest.mark.parametrize("public_url", [None, "https://hooks.example"])
def test_a_request_whose_url_is_not_known_is_refused_by_those_who_sign_it(host: str, public_url: str | None) -> None:
    """A request whose URL is not known is refused, also where its body begins with what was signed as the URL."""
    relay, outbox, check = square_relay(square={"public_url": public_url})
    url = "https://hooks.example/square/acme"
    signature = check.sign(BODY, url=url)
    app = webtest.TestApp(relay.app, extra_environ={"SERVER_NAME": "", "HTTP_HOST": host})

    for body in (BODY, url.encode() + BODY, url.removeprefix(public_url or "").encode() + BODY):
        app.post("/square/acme", body, {**signature, "Content-Type": "text/plain"}, status=401)
    assert outbox.jobs == []


@pytest.mark.parametrize("row", [square, trello, hubspot])
def test_no_part_of_a_signed_url_can_be_moved_into_the_body(row: Any) -> None:
    """What was signed as the end of the URL is no event as the beginning of the body, whatever type it has."""
    check = row("key", public_url="https://hooks.example/in")
    relay, outbox = make_relay(make_route(rule="/in", verify=check))
    sent = check.signed(Outgoing(b'"b"', "https://hooks.example/in?shop=7"))
    moved = b'"b"https://hooks.example/in?shop=7' if row is trello else b'?shop=7"b"'
    app = webtest.TestApp(relay.app)

    answer = app.post("/in", moved, {**sent.headers, "Content-Type": "text/plain"}, expect_errors=True)
    assert 400 <= answer.status_int < 500
    assert outbox.jobs == []


def no_such_shop(event: Event) -> str:
    raise KeyError("canary")


def no_url(event: Event) -> Any:
    return None


@pytest.mark.parametrize(
    "public_url", [no_such_shop, no_url, lambda event: "https://[canary]/", lambda event: "\ud800"]
)
def test_a_function_that_knows_no_public_url_refuses(public_url: Any) -> None:
    """A function that knows no public URL refuses, as one that knows no secret does."""
    relay, outbox, _ = square_relay(square={"public_url": public_url})
    signature = square("key").sign(BODY, url="https://hooks.example/square/acme")

    answer = webtest.TestApp(relay.app).post("/square/acme", BODY, signature, status=401)
    assert "canary" not in answer.text
    assert outbox.jobs == []
