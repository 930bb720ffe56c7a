"""How deliveries travel, tried against real servers on loopback."""

from __future__ import annotations

import contextlib
import gzip
import logging
import re
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from trafficrelay.delivery import transport as transport_module
from trafficrelay.delivery.guard import Guard
from trafficrelay.delivery.transport import Request, Response, Transport
from trafficrelay.errors import ConnectionFailed, DeclarationError

from .waiting import wait_until

CERTIFICATE = Path(__file__).parent / "data" / "receiver.pem"
"""A key, and a certificate by itself for hooks.example, 127.0.0.1 and ::1, which is good for a hundred years."""

LOOPBACK = Guard(frozenset({"127.0.0.0/8", "::1", "hooks.example", "other.example"}))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECRETS = ("s3cret-path", "s3cret-query", "s3cret-header", "s3cret-body", "s3cret-answer")

Serve = Callable[["Receiver", socket.socket], None]


class Receiver:
    """A server: what it does with each connection is given."""

    def __init__(self, serve: Serve, *, tls: bool = False, address: str = "127.0.0.1", port: int = 0) -> None:
        self._serve = serve
        self._tls = _server_context(self) if tls else None
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listening = socket.create_server((address, port), family=family, backlog=200)
        self.port = self._listening.getsockname()[1]
        self.accepted = 0
        self.ended = 0
        self.requests: list[bytes] = []
        self.asked_for: list[str] = []
        self.leaving = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *error: object) -> None:
        self.leaving.set()
        for each in [self._listening, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.append(connection)
            thread = threading.Thread(target=self._run, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls:
                with self._tls.wrap_socket(connection, server_side=True) as secure:
                    self._open.append(secure)  # the plain one is nobody's any more
                    self._serve(self, secure)
            else:
                self._serve(self, connection)
        connection.close()
        self.ended += 1

    def read(self, connection: socket.socket) -> bytes:
        """Read a request and note it; `b""` where the other end is closed."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", data)
        whole = data.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
        while len(data) < whole:
            data += connection.recv(65536)
        self.requests.append(data)
        return data


def _server_context(receiver: Receiver) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    context.sni_callback = lambda _, name, __: receiver.asked_for.append(name)
    return context


def answers(*given: bytes) -> Serve:
    """Answer the first request with the first, and so on; the last one for ever. `b""` closes without an answer."""

    def serve(receiver: Receiver, connection: socket.socket) -> None:
        while receiver.read(connection):
            answer = given[min(len(receiver.requests), len(given)) - 1]
            if not answer:
                return
            connection.sendall(answer)

    return serve


def says_nothing(receiver: Receiver, connection: socket.socket) -> None:
    receiver.leaving.wait()


def drips(start: bytes, *, drop: bytes = b"x") -> Serve:
    def serve(receiver: Receiver, connection: socket.socket) -> None:
        receiver.read(connection)
        connection.sendall(start)
        while not receiver.leaving.wait(0.02):
            connection.sendall(drop)

    return serve


def floods(start: bytes, wave: bytes) -> Serve:
    def serve(receiver: Receiver, connection: socket.socket) -> None:
        receiver.read(connection)
        connection.sendall(start)
        while not receiver.leaving.is_set():
            connection.sendall(wave)

    return serve


@pytest.fixture
def transport() -> Iterator[Transport]:
    with contextlib.closing(Transport(LOOPBACK, ca_file=str(CERTIFICATE))) as made:
        yield made


@pytest.fixture
def leads(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What each name leads to."""
    book: dict[str, list[str]] = {}
    plain = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        names = book.get(host, [host])
        return [each for name in names for each in plain(name, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return book


def request(
    url: str,
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"{}",
    connect_timeout: float = 10,
    read_timeout: float = 10,
) -> Request:
    return Request(method, url, headers or {}, body, connect_timeout, read_timeout)


def post(transport: Transport, receiver: Receiver, path: str = "/", **options: Any) -> Response:
    return transport.send(request(f"http://127.0.0.1:{receiver.port}{path}", **options))


def fails(transport: Transport, url: str, **options: Any) -> ConnectionFailed:
    """Send what is to fail, secrets and all, and see that none is told."""
    secret: dict[str, Any] = {"headers": {"Authorization": "Bearer s3cret-header"}, "body": b"s3cret-body", **options}
    sent = request(f"{url}/s3cret-path?token=s3cret-query", **secret)
    with pytest.raises(ConnectionFailed) as failed:
        transport.send(sent)
    told = "".join(traceback.format_exception(failed.value))
    assert not [each for each in SECRETS if each in told]
    assert "127.0.0.1" in str(failed.value) or ".example" in str(failed.value)
    return failed.value


def test_a_request_goes_out_as_it_was_given(transport: Transport) -> None:
    with Receiver(answers(OK)) as receiver:
        post(transport, receiver, "/in?b=%20&a", headers={"X-Shop": "7"}, body=b'{"a": 1}')

    (sent,) = receiver.requests
    lines = sent.split(b"\r\n")
    assert lines[0] == b"POST /in?b=%20&a HTTP/1.1"
    assert lines[-1] == b'{"a": 1}'
    assert sorted(lines[1:-2]) == [
        b"Accept-Encoding: identity",
        b"Content-Length: 8",
        b"Host: 127.0.0.1:%d" % receiver.port,
        b"User-Agent: trafficrelay",
        b"X-Shop: 7",
    ]


def test_an_answer_is_its_status_its_headers_and_the_beginning_of_its_body(transport: Transport) -> None:
    body = bytes(range(256)) * 20
    answer = b"HTTP/1.1 503 Later\r\nRetry-After: 7\r\nX-A: 1\r\nx-a:\r\n  2\r\nContent-Length: 5120\r\n\r\n" + body
    with Receiver(answers(answer)) as receiver:
        response = post(transport, receiver)

    assert response.status == 503
    assert response.headers == {"retry-after": "7", "x-a": "1, 2", "content-length": "5120"}
    assert response.body == body[:1024]
    assert 0 < response.seconds < 10


def test_an_ipv6_address_is_connected_to_and_named_in_brackets(transport: Transport) -> None:
    with Receiver(answers(OK), address="::1") as receiver:
        assert transport.send(request(f"http://[::1]:{receiver.port}/")).status == 200

    assert b"\r\nHost: [::1]:%d\r\n" % receiver.port in receiver.requests[0]


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + bytes(1024),
        b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + bytes(50_000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + bytes(1024) + b"\r\n0\r\nX: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n" + bytes(0x5000) + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_connection_is_kept_for_the_next_request(transport: Transport, answer: bytes) -> None:
    with Receiver(answers(answer)) as receiver:
        statuses = {post(transport, receiver).status for _ in range(3)}

        assert len(statuses) == 1
        assert len(receiver.requests) == 3
        assert receiver.accepted == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n\r\n",
    ],
)
def test_a_connection_whose_answer_does_not_end_cleanly_is_not_kept(transport: Transport, answer: bytes) -> None:
    with Receiver(answers(answer)) as receiver:
        for count in (1, 2):
            response = post(transport, receiver, read_timeout=0.5)

            assert (response.status, response.body[:2]) == (
                200,
                answer.partition(b"\r\n\r\n")[2][:2].replace(b"2\r", b"ok"),
            )
            assert receiver.accepted == count


def test_what_a_server_sends_beyond_its_answer_is_no_answer_to_the_next_request(transport: Transport) -> None:
    forged = b"HTTP/1.1 299 Forged\r\nContent-Length: 0\r\n\r\n"
    with Receiver(answers(OK + forged, OK)) as receiver:
        assert [post(transport, receiver).status for _ in range(3)] == [200, 200, 200]


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(transport: Transport) -> None:
    def serve(receiver: Receiver, connection: socket.socket) -> None:
        receiver.read(connection)
        connection.sendall(OK)

    with Receiver(serve) as receiver:
        for count in (1, 2, 3):
            assert post(transport, receiver).status == 200
            wait_until(lambda: receiver.ended == count)  # noqa: B023 - asked at once

        assert receiver.accepted == 3


def test_a_request_that_a_kept_connection_swallowed_is_not_sent_again(transport: Transport) -> None:
    with Receiver(answers(OK, b"", OK)) as receiver:
        post(transport, receiver)
        error = fails(transport, f"http://127.0.0.1:{receiver.port}")

        assert error.sent is True
        assert "closed the connection before it answered" in str(error)
        assert len(receiver.requests) == 2
        assert receiver.accepted == 1
        assert post(transport, receiver).status == 200


def test_a_connection_that_is_idle_for_too_long_is_closed(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "IDLE_SECONDS", 0.0)
    with Receiver(answers(OK)) as receiver:
        for count in (1, 2):
            post(transport, receiver)

            assert receiver.accepted == count
        wait_until(lambda: receiver.ended >= 1)


def test_a_connection_that_is_old_is_closed_so_that_its_host_is_resolved_again(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "OLDEST_SECONDS", 0.0)
    with Receiver(answers(OK)) as receiver:
        post(transport, receiver)

        wait_until(lambda: receiver.ended == 1)


def test_no_more_connections_are_kept_than_was_said() -> None:
    with (
        contextlib.closing(Transport(LOOPBACK, max_connections=1)) as transport,
        Receiver(answers(OK)) as first,
        Receiver(answers(OK)) as second,
    ):
        post(transport, first)
        post(transport, second)
        wait_until(lambda: first.ended == 1)
        post(transport, second)

        assert second.accepted == 1


def test_a_transport_that_is_closed_keeps_no_connection(transport: Transport) -> None:
    with Receiver(answers(OK)) as receiver:
        post(transport, receiver)
        transport.close()
        wait_until(lambda: receiver.ended == 1)
        post(transport, receiver)
        wait_until(lambda: receiver.ended == 2)

        assert receiver.accepted == 2


def test_a_hundred_threads_share_the_connections_and_each_gets_its_own_answer(transport: Transport) -> None:
    def echo(receiver: Receiver, connection: socket.socket) -> None:
        while data := receiver.read(connection):
            body = data.partition(b"\r\n\r\n")[2]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with Receiver(echo) as receiver, ThreadPoolExecutor(100) as threads:
        bodies = [b"event %d" % number for number in range(1000)]
        found = list(threads.map(lambda body: post(transport, receiver, body=body).body, bodies))

        assert found == bodies
        assert receiver.accepted <= 100
        assert len(receiver.requests) == 1000


def test_a_server_that_refuses_was_sent_nothing(transport: Transport) -> None:
    with Receiver(says_nothing) as receiver:
        pass
    error = fails(transport, f"http://127.0.0.1:{receiver.port}")

    assert error.sent is False
    assert "Connection refused" in str(error)


@contextlib.contextmanager
def deaf(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that answers no attempt to connect: it listens, and its queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


def test_connecting_ends_with_its_time_out(transport: Transport) -> None:
    with deaf() as port:
        started = time.monotonic()
        error = fails(transport, f"http://127.0.0.1:{port}", connect_timeout=0.3)

    assert error.sent is False
    assert "took longer than 0.3 s" in str(error)
    assert time.monotonic() - started < 5


def test_a_tls_handshake_that_does_not_end_counts_as_connecting(transport: Transport) -> None:
    with Receiver(says_nothing) as receiver:
        error = fails(transport, f"https://127.0.0.1:{receiver.port}", connect_timeout=0.3)

    assert error.sent is False
    assert "took longer than 0.3 s" in str(error)


def test_the_next_address_is_tried_where_one_refuses(transport: Transport, leads: dict[str, list[str]]) -> None:
    leads["hooks.example"] = ["::1", "127.0.0.2", "127.0.0.1"]
    with Receiver(answers(OK)) as receiver:
        assert transport.send(request(f"http://hooks.example:{receiver.port}/")).status == 200


def test_an_address_that_is_silent_leaves_time_for_the_next(transport: Transport, leads: dict[str, list[str]]) -> None:
    leads["hooks.example"] = ["127.0.0.2", "127.0.0.1"]
    with Receiver(answers(OK)) as receiver, deaf("127.0.0.2", receiver.port):
        response = transport.send(request(f"http://hooks.example:{receiver.port}/", connect_timeout=2))

    assert response.status == 200
    assert response.seconds > 0.9


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "serve",
    [
        says_nothing,  # nor does it read what it is sent
        drips(b""),
        drips(b"HTTP/1.1 200 OK\r\nX-A: "),
        drips(b"HTTP/1.1 200 OK\r\n", drop=b"X: 1\r\n"),
        drips(b"", drop=b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_an_answer_whose_header_is_not_whole_in_time_is_none(transport: Transport, serve: Serve, tls: bool) -> None:
    started = time.monotonic()
    with Receiver(serve, tls=tls) as receiver:
        url = f"http{'s' if tls else ''}://127.0.0.1:{receiver.port}"
        body = bytes(50_000_000) if serve is says_nothing else b"s3cret-body"
        error = fails(transport, url, body=body, read_timeout=0.4)

    assert error.sent is True
    assert "took longer than 0.4 s" in str(error)
    assert time.monotonic() - started < 8


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\n\r\n",
    ],
)
def test_an_answer_whose_body_drips_counts_with_what_came_of_it(transport: Transport, start: bytes, tls: bool) -> None:
    started = time.monotonic()
    with Receiver(drips(start), tls=tls) as receiver:
        response = transport.send(request(f"http{'s' if tls else ''}://127.0.0.1:{receiver.port}/", read_timeout=0.5))
        wait_until(lambda: receiver.ended == 1)

    assert response.status == 202
    assert 1 < len(response.body) < 1024
    assert set(response.body) == {ord("x")}
    assert time.monotonic() - started < 8


def test_an_answer_whose_body_breaks_off_counts(transport: Transport) -> None:
    def serve(receiver: Receiver, connection: socket.socket) -> None:
        receiver.read(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    with Receiver(serve) as receiver:
        assert post(transport, receiver).body == b"half"
        assert post(transport, receiver).body == b"half"
        assert receiver.accepted == 2


@pytest.mark.parametrize(
    ("start", "wave"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", b"x" * 65536),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"8000\r\n" + b"x" * 0x8000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"e" * 60_000 + b"\r\nx\r\n"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + b"x" * 1024 + b"\r\n0\r\n",
            b"X-T: 1\r\n" * 999,
        ),
    ],
)
def test_of_a_body_without_end_only_the_beginning_is_read(transport: Transport, start: bytes, wave: bytes) -> None:
    with Receiver(floods(start, wave)) as receiver:
        response = post(transport, receiver)
        wait_until(lambda: receiver.ended == 1)

    assert response.status == 200
    assert response.seconds < 5  # half of its time-out: it is the size that ended it
    assert 0 < len(response.body) <= 1024
    assert set(response.body) == {ord("x")}


@pytest.mark.parametrize(
    ("start", "wave"),
    [
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"s3cret-answer" * 5000),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"s3cret-answer" * 2000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X: s3cret-answer\r\n" * 100),
        (b"", b"s3cret-answer" * 5000),
        (b"", b"HTTP/1.1 100 Continue\r\nX: s3cret-answer\r\n\r\n"),
    ],
)
def test_a_header_without_end_is_not_read_to_its_end(transport: Transport, start: bytes, wave: bytes) -> None:
    with Receiver(floods(start, wave)) as receiver:
        error = fails(transport, f"http://127.0.0.1:{receiver.port}")
        wait_until(lambda: receiver.ended == 1)

    assert error.sent is True


@pytest.mark.parametrize(
    "answer",
    [
        b"s3cret-answer\r\n\r\n",
        b"SSH-2.0-s3cret-answer\r\n",
        b"HTTP/1.1 s3cret-answer\r\n\r\n",
        b"HTTP/1.1 20 OK\r\nX: s3cret-answer\r\n\r\n",
        b"HTTP/1.1 1000 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: s3cret-answer\r\n\r\n" + OK,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_no_answer_of_http_is_a_failure_that_does_not_quote_it(transport: Transport, answer: bytes) -> None:
    with Receiver(answers(answer)) as receiver:
        error = fails(transport, f"http://127.0.0.1:{receiver.port}")
        wait_until(lambda: receiver.ended == 1)

    assert error.sent is True


def test_a_header_that_is_whole_but_too_long_is_refused(transport: Transport) -> None:
    lines = (b"X-A: " + b"s3cret-answer" * 100 + b"\r\n") * 60
    with Receiver(answers(b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 0\r\n\r\n")) as receiver:
        error = fails(transport, f"http://127.0.0.1:{receiver.port}")

    assert error.sent is True
    assert "a header that is too long" in str(error)


def test_a_redirect_is_an_answer_and_is_not_followed(transport: Transport) -> None:
    with Receiver(answers(OK)) as canary:
        for status in (301, 302, 303, 307, 308):
            answer = f"HTTP/1.1 {status} Go\r\nLocation: http://127.0.0.1:{canary.port}/\r\nContent-Length: 0\r\n\r\n"
            with Receiver(answers(answer.encode())) as receiver:
                assert post(transport, receiver).status == status

        assert canary.accepted == 0


def test_an_answer_that_comes_before_the_request_was_read_is_taken(transport: Transport) -> None:
    def serve(receiver: Receiver, connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    with Receiver(serve) as receiver:
        assert post(transport, receiver, body=bytes(50_000_000)).status == 413
        assert post(transport, receiver, body=bytes(50_000_000)).status == 413
        assert receiver.accepted == 2


def test_a_body_is_not_decompressed(transport: Transport) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    with Receiver(answers(answer)) as receiver:
        assert post(transport, receiver).body == bomb[:1024]
        assert post(transport, receiver).body == bomb[:1024]
        assert receiver.accepted == 1


def test_cookies_are_neither_kept_nor_told(transport: Transport) -> None:
    with Receiver(answers(OK.replace(b"\r\n", b"\r\nSet-Cookie: a=s3cret-answer\r\n", 1))) as receiver:
        assert "set-cookie" not in post(transport, receiver).headers
        post(transport, receiver)

        assert b"ookie" not in receiver.requests[1]


def test_proxies_in_the_environment_are_not_asked(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Receiver(answers(OK)) as proxy, Receiver(answers(OK)) as receiver, Receiver(answers(OK), tls=True) as secure:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        post(transport, receiver)
        transport.send(request(f"https://127.0.0.1:{secure.port}/"))

        assert proxy.accepted == 0
        assert b"Authorization" not in receiver.requests[0]
        assert receiver.requests[0].startswith(b"POST / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("headers", "method"),
    [
        ({"X-A": "s3cret-header\r\nX-B: 2"}, "POST"),
        ({"X-A": "s3cret-header\n folded"}, "POST"),
        ({"X-A": "s3cret-header\x00"}, "POST"),
        ({"X-A": "s3cret-header ☃"}, "POST"),
        ({"X A": "s3cret-header"}, "POST"),
        ({"X-A\r\nX-B": "s3cret-header"}, "POST"),
        ({"": "s3cret-header"}, "POST"),
        ({"Host": "other.example"}, "POST"),
        ({"content-length": "0"}, "POST"),
        ({"Transfer-Encoding": "chunked"}, "POST"),
        ({"Connection": "close"}, "POST"),
        ({}, "POST / HTTP/1.1\r\nX: "),
        ({}, "CONNECT"),
        ({}, ""),
    ],
)
def test_what_would_change_the_request_itself_is_refused(
    transport: Transport, headers: dict[str, str], method: str
) -> None:
    with Receiver(answers(OK)) as receiver:
        sent = request(f"http://127.0.0.1:{receiver.port}/", headers=headers, method=method)
        with pytest.raises(DeclarationError) as refused:
            transport.send(sent)

    assert "s3cret-header" not in "".join(traceback.format_exception(refused.value))
    assert receiver.accepted == 0


def test_nothing_of_a_request_or_an_answer_is_logged_or_shown(
    transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = b"HTTP/1.1 200 OK\r\ns3cret-answer\r\nX: s3cret-answer\r\nContent-Length: 13\r\n\r\ns3cret-answer"
    with Receiver(answers(answer)) as receiver:
        sent = request(
            f"http://127.0.0.1:{receiver.port}/s3cret-path?s3cret-query",
            headers={"X": "s3cret-header"},
            body=b"s3cret-body",
            read_timeout=0.5,  # http.client takes a line without a colon for the header's end, and waits for a body
        )
        response = transport.send(sent)

    assert response.status == 200
    told = caplog.text + repr(sent) + repr(response)
    assert not [each for each in SECRETS if each in told]


def test_tls_asks_for_the_host_and_keeps_its_connection(transport: Transport, leads: dict[str, list[str]]) -> None:
    leads["hooks.example"] = ["127.0.0.1"]
    with Receiver(answers(OK), tls=True) as receiver:
        for _ in range(3):
            assert transport.send(request(f"https://Hooks.Example:{receiver.port}/")).body == b"ok"

        assert receiver.asked_for == ["hooks.example"]
        assert receiver.accepted == 1
        assert all(b"\r\nHost: hooks.example:%d\r\n" % receiver.port in sent for sent in receiver.requests)


def test_a_dot_at_the_end_of_a_host_is_for_the_resolver_alone(
    transport: Transport, leads: dict[str, list[str]]
) -> None:
    leads["hooks.example."] = ["127.0.0.1"]
    with Receiver(answers(OK), tls=True) as receiver:
        transport.send(request(f"https://hooks.example.:{receiver.port}/"))

    assert receiver.asked_for == ["hooks.example"]
    assert b"\r\nHost: hooks.example:%d\r\n" % receiver.port in receiver.requests[0]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_certificate_may_be_for_an_address(transport: Transport, address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with Receiver(answers(OK), tls=True, address=address) as receiver:
        assert transport.send(request(f"https://{host}:{receiver.port}/")).status == 200


def test_a_certificate_that_nobody_vouches_for_is_refused(leads: dict[str, list[str]]) -> None:
    leads["hooks.example"] = ["127.0.0.1"]
    with contextlib.closing(Transport(LOOPBACK)) as transport, Receiver(answers(OK), tls=True) as receiver:
        error = fails(transport, f"https://hooks.example:{receiver.port}")

    assert error.sent is False
    assert "certificate that does not hold: self-signed certificate" in str(error)
    assert receiver.requests == []


def test_a_certificate_of_another_host_is_refused(transport: Transport, leads: dict[str, list[str]]) -> None:
    leads["other.example"] = ["127.0.0.1"]
    with Receiver(answers(OK), tls=True) as receiver:
        error = fails(transport, f"https://other.example:{receiver.port}")

    assert error.sent is False
    assert "not valid for 'other.example'" in str(error)
    assert receiver.requests == []


def test_a_server_that_does_not_speak_tls_is_sent_nothing(transport: Transport) -> None:
    with Receiver(answers(OK)) as receiver:
        error = fails(transport, f"https://127.0.0.1:{receiver.port}", connect_timeout=1)

    assert error.sent is False
    assert receiver.requests == []


def test_certificates_that_cannot_be_read_are_an_error_when_the_transport_is_made(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for path in ("no-such.pem", "empty.pem"):
        with pytest.raises(DeclarationError) as refused:
            Transport(LOOPBACK, ca_file=str(tmp_path / path))
        assert refused.value.option == "ca_file"


def test_a_get_has_no_body_and_a_head_no_answer_to_read(transport: Transport) -> None:
    with Receiver(answers(OK, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", OK)) as receiver:
        for method in ("GET", "HEAD", "PUT"):
            assert post(transport, receiver, method=method, body=b"").status == 200

        assert [b"ontent-" in sent for sent in receiver.requests] == [False, False, True]
        assert receiver.accepted == 1
