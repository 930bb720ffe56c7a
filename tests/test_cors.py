"""Pages of other origins: what a browser is told before and after it posts."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import bottle
import pytest
from webtest import TestApp

from tests.standalone_support import Run
from trafficrelay import MemoryOutbox, Rejected, Relay, Reply, Route
from trafficrelay.errors import DeclarationError

SHOP = "https://shop.example"
PAGES = [SHOP, "http://localhost:3000"]


def app_of(**options: Any) -> tuple[TestApp, MemoryOutbox]:
    outbox = MemoryOutbox()
    relay = Relay(outbox=outbox)
    relay.add(Route("/beacon", **({"verify": None, "job": "shop.jobs.seen", "cors": PAGES} | options)))
    return TestApp(relay.app), outbox


def asked(app: TestApp, origin: str, method: str = "POST", path: str = "/beacon", **more: str) -> Any:
    headers = {"Origin": origin, "Access-Control-Request-Method": method, **more}
    return app.options(path, headers=headers, status="*")


@pytest.mark.parametrize("origin", PAGES)
def test_a_page_that_is_named_may_post_and_read_the_answer(origin: str) -> None:
    """The answer names its origin, and says that it is for no other."""
    app, outbox = app_of()
    answer = app.post_json("/beacon", {"a": 1}, headers={"Origin": origin}, status=202)

    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Vary"] == "Origin"
    assert len(outbox.jobs) == 1


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://shop.example.evil.example", SHOP + "/"])
def test_a_page_that_is_not_named_may_not_read_the_answer(origin: str) -> None:
    """Whatever it is: its browser keeps it from the page."""
    app, _ = app_of()
    answer = app.post_json("/beacon", {}, headers={"Origin": origin}, status=202)

    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Vary"] == "Origin"


def test_a_page_may_read_why_it_was_refused() -> None:
    """Refusals of the transform, and those of the relay."""

    def refuse(event: Any) -> Any:
        raise Rejected(422, "no such product")

    app, _ = app_of(transform=refuse, max_body=100)
    headers = {"Origin": SHOP, "Content-Type": "application/json"}
    rejected = app.post("/beacon", b"{}", headers, status=422)
    broken = app.post("/beacon", b"{", headers, status=400)
    large = app.post("/beacon", b"1" * 101, headers, status=413)

    assert {one.headers.get("Access-Control-Allow-Origin") for one in (rejected, broken, large)} == {SHOP}


def test_a_browser_that_asks_first_is_told_what_may_be_sent() -> None:
    """The methods of the path, the headers it asked for, and for how long that is so."""
    app, outbox = app_of(methods=["POST", "PUT"])
    answer = asked(app, SHOP, **{"Access-Control-Request-Headers": "content-type,x-shop"})

    assert answer.status_int == 204
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert answer.headers["Access-Control-Allow-Methods"] == "POST, PUT"
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type,x-shop"
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert outbox.handovers == []


@pytest.mark.parametrize(("origin", "method"), [("https://evil.example", "POST"), (SHOP, "DELETE")])
def test_a_browser_that_asks_for_what_may_not_be_is_told_nothing(origin: str, method: str) -> None:
    """A page that is not named, or a method that the route does not take."""
    answer = asked(app_of()[0], origin, method)

    assert "Access-Control-Allow-Methods" not in answer.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_headers_that_are_none_are_not_sent_back() -> None:
    """Nor a header of a megabyte."""
    answer = asked(app_of()[0], SHOP, **{"Access-Control-Request-Headers": "x y, <script>"})

    assert "Access-Control-Allow-Headers" not in answer.headers


def test_a_route_for_every_page_says_so() -> None:
    """A star, which may be kept for everybody."""
    app, _ = app_of(cors="*")
    answer = app.post_json("/beacon", {}, headers={"Origin": "https://any.example"}, status=202)

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in answer.headers


def test_a_reply_that_varies_by_something_else_varies_by_the_origin_too() -> None:
    """Otherwise a cache would give one page the answer to another."""
    app, _ = app_of(reply=Reply(200, {"Vary": "Accept-Language"}))
    answer = app.post_json("/beacon", {}, headers={"Origin": SHOP})

    assert answer.headers.getall("Vary") == ["Accept-Language", "Origin"]


def test_a_route_that_does_not_say_cors_says_nothing() -> None:
    """Closed by default."""
    app, _ = app_of(cors=None)
    posted = app.post_json("/beacon", {}, headers={"Origin": SHOP}, status=202)

    assert "Access-Control-Allow-Origin" not in posted.headers
    assert "Access-Control-Allow-Origin" not in asked(app, SHOP).headers


def test_it_works_where_the_relay_is_mounted() -> None:
    """Under a prefix of a Bottle host."""
    relay = Relay(outbox=MemoryOutbox())
    relay.add(Route("/beacon", verify=None, job="shop.jobs.seen", cors=[SHOP]))
    host = bottle.Bottle()
    host.mount("/relay/", relay.app)
    app = TestApp(host)

    assert asked(app, SHOP, path="/relay/beacon").headers["Access-Control-Allow-Methods"] == "POST"
    posted = app.post_json("/relay/beacon", {}, headers={"Origin": SHOP})
    assert posted.headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.parametrize(
    "origins",
    [
        *("https://shop.example", 5, [], [None], ["*"], ["shop.example"], ["https://shop.example/"]),
        *(["https://Shop.example"], ["https://*.example"], ["ftp://shop.example"]),
        *(["https://shop.example:443"], ["http://shop.example:80"]),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused_when_it_is_declared(origins: Any) -> None:
    """It would never match, and nobody would know why."""
    with pytest.raises(DeclarationError, match="cors"):
        app_of(cors=origins)


def test_json_that_a_beacon_sends_as_text_is_read_as_what_the_route_says() -> None:
    """`navigator.sendBeacon(url, JSON.stringify(…))` says text/plain, which needs no asking first."""
    app, outbox = app_of(content_type="application/json")
    app.post("/beacon", b'{"page": "/shop"}', {"Content-Type": "text/plain;charset=UTF-8", "Origin": SHOP}, status=202)

    assert outbox.jobs[0].data == {"page": "/shop"}


@pytest.mark.rq
def test_the_standalone_server_says_the_same(redis_url: str, tmp_path: Path) -> None:
    """Of what is accepted, of what the app refuses, and of what is refused before the app is called."""
    (tmp_path / "pages.py").write_text(
        "from trafficrelay import Relay, Route\n"
        "relay = Relay()\n"
        f'relay.add(Route("/beacon", verify=None, job="shop.jobs.seen", cors=["{SHOP}"], max_body=100))\n'
    )
    with Run(tmp_path, "--redis", redis_url, target="pages:relay") as run:
        run.wait_until_up()
        answers = [send(run.port, body) for body in (b"{}", b"{", b"1" * 101)]
        preflight = send(run.port, None, method="OPTIONS", **{"Access-Control-Request-Method": "POST"})

    assert answers == [(202, SHOP), (400, SHOP), (413, SHOP)]
    assert preflight == (204, SHOP)


def send(port: int, body: bytes | None, method: str = "POST", **headers: str) -> tuple[int, str | None]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/beacon",
        body,
        {"Origin": SHOP, "Content-Type": "application/json", **headers},
        method=method,
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers["Access-Control-Allow-Origin"]
    except urllib.error.HTTPError as error:
        with error:
            return error.status, error.headers["Access-Control-Allow-Origin"]
