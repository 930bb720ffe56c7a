"""What a request has to pass before any work is done for it: mounted, and in the standalone server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from trafficrelay import DeclarationError, Event, MemoryOutbox, Relay
from trafficrelay.door import MAX_HEADER

from .standalone_support import Run, post, stalled_post
from .support import make_route, raising


def an_app(*, verify: Any = None, transform: Any = None, **options: Any) -> tuple[TestApp, MemoryOutbox]:
    outbox = MemoryOutbox()
    relay = Relay(outbox=outbox, **options)
    relay.add(make_route(rule="/in", verify=verify, **({"transform": transform} if transform else {})))
    return TestApp(relay.app), outbox


def test_a_header_that_is_too_large_is_refused_before_anything_is_looked_at() -> None:
    """The verifier does not see it."""
    app, outbox = an_app(verify=raising(AssertionError("verified")))
    answer = app.post_json("/in", {}, headers={"X-Large": "x" * MAX_HEADER}, status=431)

    assert "header" in answer.json["detail"]
    assert outbox.handovers == []


@pytest.mark.parametrize("where", ["path", "query", "headers"])
def test_all_that_comes_before_the_body_counts(where: str) -> None:
    """One large field or many small ones, the path or the query."""
    outbox = MemoryOutbox()
    relay = Relay(outbox=outbox, max_header=2000)
    relay.add(make_route(rule="/<rest:path>"))
    path = "/" + "x" * 2000 if where == "path" else "/in?" + "x" * 2000 if where == "query" else "/in"
    headers = {f"X-{number}": "x" * 20 for number in range(100)} if where == "headers" else {}

    TestApp(relay.app).post_json(path, {}, headers=headers, status=431)
    TestApp(relay.app).post_json("/in", {}, status=202)


def test_an_address_over_its_rate_is_turned_away_before_anything_is_looked_at() -> None:
    """429, and others go on."""
    seen: list[Event] = []
    app, outbox = an_app(verify=lambda event: not seen.append(event), address_rate="2/h")
    for _ in range(2):
        app.post_json("/in", {}, status=202)
    answer = app.post_json("/in", {}, status=429)

    assert int(answer.headers["Retry-After"]) > 0
    assert "RateLimit" in answer.headers
    assert len(seen) == len(outbox.handovers) == 2


def with_peer(app: TestApp, peer: str) -> TestApp:
    app.extra_environ["REMOTE_ADDR"] = peer
    return app


def test_each_address_has_a_rate_of_its_own() -> None:
    """One that floods does not keep others out."""
    app, outbox = an_app(address_rate="1/h")
    with_peer(app, "192.0.2.1").post_json("/in", {}, status=202)
    with_peer(app, "192.0.2.1").post_json("/in", {}, status=429)
    with_peer(app, "192.0.2.2").post_json("/in", {}, status=202)

    assert len(outbox.handovers) == 2


@pytest.mark.parametrize(
    ("trusted", "seen"),
    [((), "10.0.0.1"), (["10.0.0.0/8"], "203.0.113.9"), (["192.0.2.0/24"], "10.0.0.1")],
    ids=["nobody", "the proxy", "somebody else"],
)
def test_an_address_behind_a_proxy_counts_where_the_proxy_is_trusted(trusted: Any, seen: str) -> None:
    """Anybody may write the header."""
    addresses = []
    app, _ = an_app(transform=lambda event: addresses.append(event.remote_addr) or {}, trusted_proxies=trusted)
    headers = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
    with_peer(app, "10.0.0.1").post_json("/in", {}, headers=headers, status=202)

    assert addresses == [seen]


def test_no_more_requests_are_worked_on_than_may_be() -> None:
    """Who comes too many is refused at once, and taken when somebody has left."""
    gate, inside = threading.Event(), threading.Semaphore(0)

    def wait(event: Event) -> dict[str, Any]:
        inside.release()
        assert gate.wait(10)
        return {}

    app, outbox = an_app(transform=wait, max_requests=2)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(app.post_json, "/in", {}) for _ in range(2)]
        assert inside.acquire(timeout=10)
        assert inside.acquire(timeout=10)
        refused = app.post_json("/in", {}, status=503)
        gate.set()
        statuses = [answer.result(10).status_int for answer in waiting]
    after = app.post_json("/in", {}, status=202)

    assert int(refused.headers["Retry-After"]) > 0
    assert statuses == [202, 202]
    assert after.status_int == 202
    assert len(outbox.handovers) == 3


def test_health_is_not_limited() -> None:
    """Whoever watches wants to know it of a relay that is full."""
    app, _ = an_app(address_rate="1/h")
    for _ in range(3):
        app.get("/-/health", status=200)
        app.get("/-/ready", status=200)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_header": 10}, "max_header"),
        ({"max_header": "1MB"}, "max_header"),
        ({"max_requests": 0}, "max_requests"),
        ({"address_rate": "often"}, "address_rate"),
        ({"trusted_proxies": ["everybody"]}, "trusted_proxies"),
    ],
)
def test_a_wrong_option_is_refused_when_it_is_declared(options: Any, named: str) -> None:
    """By its name."""
    with pytest.raises(DeclarationError, match=named) as caught:
        Relay("redis://localhost", **options)
    assert caught.value.option == named


# In the standalone server, which reads the body before it calls the app

STANDALONE = """\
from trafficrelay import Relay

relay = Relay(max_requests=3, max_header=4000, address_rate="20/h", trusted_proxies=["127.0.0.0/8"])


@relay.route("/in", verify=None, job="jobs.echo", queue="hooks")
def take(event):
    return event.remote_addr
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    directory: Path = tmp_path_factory.mktemp("door")
    (directory / "hooks.py").write_text(STANDALONE)
    with Run(directory, "--no-worker", "--body-timeout", "20") as run:
        yield run.wait_until_up()


def from_address(run: Run, address: str, **headers: str) -> int:
    return post(run.port, "/in", b"{}", {"X-Forwarded-For": address, **headers})[0]


def test_the_standalone_server_refuses_a_large_header(run: Run) -> None:
    """With the answer that the relay gives anywhere."""
    assert from_address(run, "192.0.2.1", **{"X-Large": "x" * 4000}) == 431
    assert from_address(run, "192.0.2.1") == 202


def test_the_standalone_server_counts_requests_by_their_senders_address(run: Run) -> None:
    """Behind a trusted proxy it is the sender's own."""
    statuses = [from_address(run, "192.0.2.2") for _ in range(21)]

    assert statuses == [202] * 20 + [429]
    assert from_address(run, "192.0.2.3") == 202


def test_bodies_that_do_not_come_leave_room_for_those_that_do(run: Run) -> None:
    """As many as may be worked on at once stall, and others are taken all the same."""
    stalled = [stalled_post(run.port) for _ in range(6)]
    statuses = [from_address(run, "192.0.2.4") for _ in range(5)]
    for connection in stalled:
        connection.close()

    assert statuses == [202] * 5
