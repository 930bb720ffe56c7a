"""Each host with a relay under a prefix, under each server of docs/hosts.md, over real sockets.

`test_wsgi_servers.py` has what becomes of bodies that are cut short, and of lengths that contradict each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from .hosts.running import Command, user_environment
from .hosts.servers import ServerCommand, server_commands

SERVERS = server_commands()
WSGI_HOSTS = ["bottle-mount", "bottle-wsgi", "flask", "django", "pyramid"]
ASGI_HOSTS = ["fastapi", "starlette"]
PAIRS = [(server, host) for server in SERVERS for host in (ASGI_HOSTS if server.asynchronous else WSGI_HOSTS)]
LARGEST = 1024 * 1024

CHUNKED = "Transfer-Encoding: chunked"
JSON = "Content-Type: application/json"
BYTES = "Content-Type: application/octet-stream"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    head: str
    body: bytes

    def header(self, name: str) -> str:
        found = re.search(rf"^{name}: *(.*?)\r?$", self.head, re.IGNORECASE | re.MULTILINE)
        return found[1] if found else ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def params(self) -> Any:
        """What an echoing route says of the path."""
        return self.json["params"]

    @property
    def is_problem(self) -> bool:
        """Whether it is a problem document of the relay's, and no page of the host's."""
        return self.header("Content-Type") == "application/problem+json" and self.json["status"] == self.status


@dataclass(frozen=True, slots=True)
class Hosted:
    """A host under a server."""

    host: str
    port: int

    def request(self, method: str, path: str, body: bytes = b"", *headers: str, chunked: bool = False) -> Answer:
        """Send a request on a connection of its own."""
        if body and not chunked:
            headers = (*headers, f"Content-Length: {len(body)}")
        with socket.create_connection(("127.0.0.1", self.port), 20) as sock:
            sock.sendall(self.head(method, path, "Connection: close", *headers))
            with contextlib.suppress(ConnectionError):  # it may refuse without reading all
                sock.sendall(chunks(body) if chunked else body)
            return answers(sock)[-1]

    def head(self, method: str, path: str, *headers: str) -> bytes:
        lines = [f"{method} {quote(path, safe='/%?=&')} HTTP/1.1", f"Host: {self.host}", *headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"


def chunks(body: bytes, size: int = 60_000) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def answers(sock: socket.socket) -> list[Answer]:
    """Read what comes until the connection is closed."""
    raw = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            raw += piece
    found = []
    for one in re.split(rb"(?=^HTTP/1\.1 \d)", raw, flags=re.MULTILINE):
        head, _, body = one.partition(b"\r\n\r\n")
        if head:
            found.append(Answer(int(head.split()[1]), head.decode("latin-1"), body))
    assert found, "the server hung up without an answer"
    return found


class Servers:
    """Runs one server at a time: the one that was asked for last. The pairs are in the servers' order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[ServerCommand, Command] = {}

    def port_of(self, server: ServerCommand) -> int:
        if server not in self._running:
            self.end()
            command = server.serving("tests.hosts.apps:application", "tests.hosts.apps:asgi_application")
            self._running[server] = Command(command, self._folder, user_environment())
        return self._running[server].wait_until_up().port

    def end(self) -> None:
        while self._running:
            self._running.popitem()[1].kill()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.end()


@pytest.fixture(scope="module", params=PAIRS, ids=[f"{server.name}-{host}" for server, host in PAIRS])
def hosted(request: pytest.FixtureRequest, servers: Servers) -> Hosted:
    server, host = request.param
    return Hosted(host, servers.port_of(server))


def test_an_event_is_taken_beside_the_hosts_own_page(hosted: Hosted) -> None:
    page = hosted.request("GET", "/page")
    answer = hosted.request("POST", "/relay/hooks/acme", b"x", BYTES)

    assert page.status == 200
    assert b"the host's page" in page.body
    assert (answer.status, answer.params) == (202, {"shop": "acme"})


def test_a_path_may_hold_any_letters(hosted: Hosted) -> None:
    shop = hosted.request("POST", "/relay/hooks/møbler & søn 家", b"x", BYTES)
    percent = hosted.request("POST", "/relay/hooks/a%25b", b"x", BYTES)
    rule = hosted.request("POST", "/relay/größe", b"x", BYTES)

    assert (shop.status, shop.params) == (202, {"shop": "møbler & søn 家"})
    assert (percent.status, percent.params) == (202, {"shop": "a%b"})
    assert rule.status == 202


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_body_of_a_mebibyte_arrives_whole(hosted: Hosted, chunked: bool) -> None:
    body = os.urandom(LARGEST)
    answer = hosted.request("POST", "/relay/hooks/acme", body, BYTES, *([CHUNKED] if chunked else []), chunked=chunked)

    assert answer.status == 202
    assert answer.json["size"] == LARGEST
    assert answer.json["sha256"] == hashlib.sha256(body).hexdigest()


def test_refusals_are_problem_documents_of_the_relay(hosted: Hosted) -> None:
    refused = {
        "401": hosted.request("POST", "/relay/closed", b"{}", JSON),
        "404": hosted.request("POST", "/relay/nowhere", b"{}", JSON),
        "404 of a GET": hosted.request("GET", "/relay/nówhere/家"),
        "404 of no UTF-8": hosted.request("GET", "/relay/%ff%fe"),
        "404 of the prefix": hosted.request("GET", "/relay/"),
        "413": hosted.request("POST", "/relay/small", b"1234", BYTES),
        "413 in chunks": hosted.request("POST", "/relay/small", b"1234", BYTES, CHUNKED, chunked=True),
        "413 of a large one": hosted.request("POST", "/relay/hooks/acme", b"x" * (LARGEST + 1), BYTES),
        "422": hosted.request("POST", "/relay/rejected", b"{}", JSON),
    }

    assert {what: answer.status for what, answer in refused.items()} == {what: int(what[:3]) for what in refused}
    assert [what for what, answer in refused.items() if not answer.is_problem] == []


def test_a_405_says_what_is_allowed_under_the_prefix(hosted: Hosted) -> None:
    get, delete = hosted.request("GET", "/relay/hooks/acme"), hosted.request("DELETE", "/relay/größe")

    assert (get.status, get.is_problem) == (405, True)
    assert (delete.status, delete.is_problem) == (405, True)
    assert "POST" in get.header("Allow")
    assert "POST" in delete.header("Allow")
    assert "GET" not in get.header("Allow")


def test_a_browser_may_post_from_a_page_of_another_origin(hosted: Hosted) -> None:
    """The preflight is the relay's to answer too, and no host's."""
    asks = "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type"
    preflight = hosted.request("OPTIONS", "/relay/page-script", b"", "Origin: https://shop.example", *asks)
    answer = hosted.request("POST", "/relay/page-script", b"{}", JSON, "Origin: https://shop.example")
    other = hosted.request("OPTIONS", "/relay/page-script", b"", "Origin: https://evil.example", *asks)

    assert (preflight.status, answer.status) == (204, 202)
    for allowed in (preflight, answer):
        assert allowed.header("Access-Control-Allow-Origin") == "https://shop.example"
    assert other.header("Access-Control-Allow-Origin") == ""


def test_where_to_ask_later_is_said_with_the_prefix(hosted: Hosted) -> None:
    where = hosted.request("POST", "/relay/page-script", b"{}", JSON).header("Location")
    told = hosted.request("GET", where)

    assert where.startswith("/relay/-/events/")
    # Of several processes another one may be asked, which does not share this outbox.
    assert told.status in (200, 404)
    assert told.header("Content-Type") in ("application/json", "application/problem+json")


def test_what_a_refusal_left_unread_is_never_taken_for_a_request(hosted: Hosted) -> None:
    """A server goes on after a body that the relay did not read, or hangs up; it never runs what is in the body."""
    smuggled = hosted.head("POST", "/relay/hooks/smuggled", "Content-Length: 1") + b"x"
    body = smuggled + b"\r\n" * 20_000
    with socket.create_connection(("127.0.0.1", hosted.port), 20) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(hosted.head("POST", "/relay/nowhere", f"Content-Length: {len(body)}") + body)
            sock.sendall(hosted.head("POST", "/relay/hooks/next", "Connection: close", "Content-Length: 1") + b"x")
        found = answers(sock)

    assert found[0].status == 404
    assert [answer.params for answer in found[1:]] in ([], [{"shop": "next"}])
