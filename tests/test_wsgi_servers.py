"""`read_body` under real servers, each a process of its own, over real sockets."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .reading_app import LIMIT
from .waiting import wait_until

ROOT = Path(__file__).parent.parent
APP = "tests.reading_app"

# What starts each server on a free port. They say which one they took; granian does not, and is given one.
COMMANDS = {
    "wsgiref": ["-m", APP, "wsgiref"],
    "waitress": ["-m", APP, "waitress"],
    "cheroot": ["-m", APP, "cheroot"],
    "gunicorn": ["-m", "gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket", f"{APP}:application"],
    "a2wsgi": ["-m", "uvicorn", "--port", "0", "--factory", f"{APP}:asgi_application"],
    "granian": ["-m", "granian", "--interface", "wsgi", "--port", "FREE", f"{APP}:application"],
    "uwsgi": ["--http-socket", "127.0.0.1:0", "--need-app", "--die-on-term", "--module", f"{APP}:application"],
}


@dataclass
class Running:
    name: str
    port: int
    outcomes: Path

    def send(self, raw: bytes, *, half_close: bool = False) -> tuple[int, bytes]:
        """Send bytes and read the answer: its status and body, or 0 where the server hung up without one."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(raw)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while piece := sock.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass  # it answered without reading all, which is what a refusal may do
        head, _, body = answer.partition(b"\r\n\r\n")
        return (int(head.split()[1]) if head else 0), body

    def statuses(self, path: str) -> list[int]:
        """What the application answered to this path."""
        lines = self.outcomes.read_text().splitlines() if self.outcomes.exists() else []
        return [int(line.split()[1]) for line in lines if line.split()[0] == path]


def command(name: str) -> list[str]:
    if name == "uwsgi":
        found = shutil.which("uwsgi", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        if found is None:
            pytest.skip("uWSGI is not installed")
        return [found, *COMMANDS[name]]
    for module in ["uvicorn", "a2wsgi"] if name == "a2wsgi" else [name]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    return [sys.executable, *(free_port() if word == "FREE" else word for word in COMMANDS[name])]


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return str(sock.getsockname()[1])


@pytest.fixture(scope="module", params=list(COMMANDS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp(request.param)
    log, outcomes = folder / "log", folder / "outcomes"
    environment = {**os.environ, "OUTCOMES": str(outcomes), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command(request.param), cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:

        def port() -> int:
            assert process.poll() is None, f"{request.param} ended: {log.read_text()}"
            # uWSGI names port 0 first, and the one that it took after it.
            taken = [int(number) for number in re.findall(r"127\.0\.0\.1:(\d+)", log.read_text())]
            return next((number for number in taken if number), 0)

        running = Running(request.param, wait_until(port), outcomes)
        wait_until(lambda: answers(running))
        yield running
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(running: Running) -> bool:
    try:
        return running.send(b"GET /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0] == 200
    except ConnectionRefusedError:
        return False


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


CHUNKED = "Transfer-Encoding: chunked"


def chunks(body: bytes, size: int = 3000) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def test_body_with_a_length_is_read(server: Running) -> None:
    body = os.urandom(LIMIT)

    answer = server.send(post("/length", body, f"Content-Length: {len(body)}"))

    assert answer == (200, body)


def test_request_without_a_body_is_read_as_empty(server: Running) -> None:
    assert server.send(post("/none", b"")) == (200, b"")


def test_chunked_body_is_read_or_refused_where_its_end_cannot_be_known(server: Running) -> None:
    body = os.urandom(LIMIT)

    status, answer = server.send(post("/chunked", chunks(body) + b"0\r\n\r\n", CHUNKED))

    if server.name == "wsgiref":
        assert status == 411
    else:
        assert (status, answer) == (200, body)


def test_chunked_body_over_the_limit_is_refused(server: Running) -> None:
    status, _ = server.send(post("/large", chunks(os.urandom(LIMIT + 1)) + b"0\r\n\r\n", CHUNKED))

    assert status == (411 if server.name == "wsgiref" else 413)


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/short-length", post("/short-length", b"x" * 99, "Content-Length: 100")),
        ("/short-chunk", post("/short-chunk", b"64\r\n" + b"x" * 99, CHUNKED)),
        ("/short-chunks", post("/short-chunks", chunks(b"x" * 100), CHUNKED)),
    ],
)
def test_body_that_is_cut_short_is_never_accepted(server: Running, path: str, raw: bytes) -> None:
    chunked = path != "/short-length"
    if server.name == "granian" and chunked:
        pytest.xfail("granian's WSGI input ends without an error when the sender hangs up within a chunked body")

    status, _ = server.send(raw, half_close=True)

    if server.name == "waitress":  # hangs up and calls no application
        assert (status, server.statuses(path)) == (0, [])
    elif server.name == "a2wsgi":  # uvicorn hangs up on who hangs up
        assert (status, wait_until(lambda: server.statuses(path))) == (0, [400])
    else:
        assert status == (411 if server.name == "wsgiref" and chunked else 400)


def test_body_that_is_compressed_in_transfer_is_refused(server: Running) -> None:
    status, _ = server.send(post("/gzip", chunks(b"x" * 100) + b"0\r\n\r\n", "Transfer-Encoding: gzip, chunked"))

    assert status in (400, 415, 501)


def test_request_with_both_lengths_is_read_by_chunks_or_refused(server: Running) -> None:
    status, body = server.send(post("/both", b"5\r\nhello\r\n0\r\n\r\n", "Content-Length: 3", CHUNKED))

    # waitress and granian drop Content-Length before the application sees it, as RFC 9112 allows.
    assert (status, body) == (200, b"hello") if server.name in ("waitress", "granian") else status == 400
