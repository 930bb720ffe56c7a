"""The server in a thread, against a tiny application."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from trafficrelay import waitress_loop
from trafficrelay.errors import ServerError
from trafficrelay.server import Server

from .waiting import wait_until

MAX_BODY = 1000
ROOT = Path(__file__).parent.parent


class App:
    """Answers with the body; `/wait` waits until it is let go, `/fail` raises, `/environ` shows what it was given."""

    def __init__(self) -> None:
        self.waiting = 0
        self.let_go = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if environ["PATH_INFO"] == "/wait":
            self.waiting += 1
            self.let_go.wait(30)
        if environ["PATH_INFO"] == "/fail":
            raise RuntimeError("a secret")
        if environ["PATH_INFO"] == "/environ":
            body = json.dumps({key: value for key, value in environ.items() if isinstance(value, str)}).encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    wait_until(lambda: threads() == [])


@pytest.fixture
def app() -> Iterator[App]:
    app = App()
    yield app
    app.let_go.set()


@pytest.fixture
def server(app: App) -> Iterator[Server]:
    with Server(app, max_body=MAX_BODY) as server:
        yield server


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """Opens connections that are closed after the test."""
    with contextlib.ExitStack() as stack:

        def connect(server: Server, sent: bytes = b"") -> socket.socket:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
            sock.sendall(sent)
            return sock

        yield connect


def read_all(sock: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            answer += piece
    return answer


def ask(
    server: Server, path: str = "/", body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def threads() -> list[threading.Thread]:
    """The servers' threads; those that wait for a Redis of other tests are not among them."""
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("trafficrelay-")]
    return [thread for thread in ours if thread.name != "trafficrelay-recovery"]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


STALLED_POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"

on_linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")


# Start and stop


def test_it_serves_from_start_to_stop(app: App) -> None:
    server = Server(app, max_body=MAX_BODY)

    with pytest.raises(ServerError, match=r"not running"):
        _ = server.url
    server.stop()  # of one that was never started
    assert server.start() is server
    assert server.start() is server
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert ask(server, body=b"hello")[2] == b"hello"
    server.stop()
    server.stop()
    with pytest.raises(ServerError, match=r"not running"):
        _ = server.port


def test_several_serve_in_one_process() -> None:
    with Server(App(), max_body=MAX_BODY) as one, Server(App(), max_body=MAX_BODY) as two:
        answers = ask(one, body=b"one")[2], ask(two, body=b"two")[2]

    assert answers == (b"one", b"two")


def test_it_starts_again_on_the_same_fixed_port(app: App) -> None:
    with Server(app, max_body=MAX_BODY) as first:
        port = first.port
    server = Server(app, port=port, max_body=MAX_BODY)

    for _ in range(3):
        with server:
            assert server.port == port
            assert ask(server, body=b"again")[2] == b"again"


@on_linux
def test_stop_leaves_no_thread_and_no_open_file(app: App, connect: Callable[..., socket.socket]) -> None:
    with Server(app, max_body=MAX_BODY):
        pass  # what is opened once for the whole process is open now
    before = open_files()

    server = Server(app, max_body=MAX_BODY, threads=3).start()
    ask(server, body=b"x")
    # One that is idle, and one whose body is in a temporary file by now.
    clients = [connect(server), connect(server, b"POST / HTTP/1.1\r\nContent-Length: 66000\r\n\r\n" + b"x" * 65_900)]
    wait_until(lambda: open_files() == before + 2 + 6 + 1)
    server.stop()

    assert threads() == []
    assert open_files() == before + len(clients)
    assert [read_all(client) for client in clients] == [b"", b""]


def test_threads_are_named_and_do_not_keep_the_program() -> None:
    with Server(App(), max_body=MAX_BODY, threads=2):
        names = sorted(thread.name for thread in threads())
        daemons = all(thread.daemon for thread in threads())

    port = names[0].split("-")[1]
    assert names == [f"trafficrelay-{port}", f"trafficrelay-{port}-worker-0", f"trafficrelay-{port}-worker-1"]
    assert daemons


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_exception_in_the_with_block_stops_it_and_goes_on(app: App, error: type[BaseException]) -> None:
    with pytest.raises(error), Server(app, max_body=MAX_BODY) as server:
        raise error

    with pytest.raises(ServerError):
        _ = server.url
    assert threads() == []


def test_port_in_use_is_a_sentence_with_host_and_port(server: Server, app: App) -> None:
    second = Server(app, port=server.port, max_body=MAX_BODY)

    with pytest.raises(ServerError, match=rf"127\.0\.0\.1, port {server.port}: Address already in use") as caught:
        second.start()

    assert isinstance(caught.value.__cause__, OSError)
    second.stop()
    assert ask(server, body=b"still here")[2] == b"still here"


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("no.such.host.invalid", 0), ("127.0.0.1", 70_000)])
def test_address_that_cannot_be_had_is_a_sentence(app: App, host: str, port: int) -> None:
    with pytest.raises(ServerError, match=f"{host}, port {port}"):
        Server(app, host=host, port=port, max_body=MAX_BODY).start()

    assert threads() == []


@pytest.mark.parametrize(
    ("host", "url"), [("::1", "http://[::1]:"), ("0.0.0.0", "http://127.0.0.1:"), ("localhost", "http://localhost:")]
)
def test_url_is_one_that_can_be_opened(app: App, host: str, url: str) -> None:
    try:
        server = Server(app, host=host, max_body=MAX_BODY).start()
    except ServerError:
        pytest.skip(f"this machine has no {host}")

    with server:
        assert server.url == f"{url}{server.port}"


def test_missing_waitress_is_an_error_that_says_what_to_install(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "trafficrelay.waitress_loop")
    monkeypatch.setitem(sys.modules, "waitress", None)

    with pytest.raises(ServerError, match=r"pip install 'trafficrelay\[serve\]'"):
        Server(app, max_body=MAX_BODY)


def test_no_signal_handler_is_taken(app: App) -> None:
    numbers = signal.valid_signals()
    before = {number: signal.getsignal(number) for number in numbers}

    with Server(app, max_body=MAX_BODY):
        during = {number: signal.getsignal(number) for number in numbers}

    assert during == before


def test_stop_from_several_threads_at_once_is_one_stop(app: App) -> None:
    server = Server(app, max_body=MAX_BODY).start()
    stoppers = [threading.Thread(target=server.stop) for _ in range(4)]

    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join(20)

    assert not any(stopper.is_alive() for stopper in stoppers)
    assert threads() == []


# What stop() does with connections


def test_stop_answers_what_is_in_flight(app: App, connect: Callable[..., socket.socket]) -> None:
    """More requests than threads, so that some still wait in the queue."""
    server = Server(app, max_body=MAX_BODY, threads=2).start()
    clients = [connect(server, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(5)]
    wait_until(lambda: app.waiting == 2)

    stopper = threading.Thread(target=server.stop)
    stopper.start()
    wait_until(lambda: refuses(server_port=clients[0].getpeername()[1]))
    app.let_go.set()
    stopper.join(20)

    assert [read_all(client).split(b"\r\n")[0] for client in clients] == [b"HTTP/1.1 200 OK"] * 5
    assert threads() == []


def test_stop_answers_a_request_that_only_the_kernel_has_accepted(
    app: App, connect: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the loop was busy; closing the listening socket resets such connections."""
    monkeypatch.setattr(waitress_loop._Listener, "readable", lambda _: False)
    server = Server(app, max_body=MAX_BODY).start()
    clients = [connect(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(3)]

    server.stop()

    assert [read_all(client).split(b"\r\n")[0] for client in clients] == [b"HTTP/1.1 200 OK"] * 3


def refuses(*, server_port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server_port), 5).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    return False


def test_stop_waits_for_a_body_that_keeps_coming(app: App, connect: Callable[..., socket.socket]) -> None:
    server = Server(app, max_body=MAX_BODY).start()
    client = connect(server, STALLED_POST)
    ask(server)  # the server has seen the connection by now

    stopper = threading.Thread(target=server.stop)
    stopper.start()
    client.sendall(b"hello")
    stopper.join(20)

    assert read_all(client).endswith(b"\r\n\r\nhello")


def test_stop_closes_idle_and_stalled_connections(app: App, connect: Callable[..., socket.socket]) -> None:
    server = Server(app, max_body=MAX_BODY, stop_timeout=60).start()
    clients = [connect(server), connect(server, b"GET / HT"), connect(server, STALLED_POST)]
    ask(server)

    before = time.monotonic()
    server.stop()

    assert time.monotonic() - before < 20
    assert [read_all(client) for client in clients] == [b"", b"", b""]


def test_stop_is_bounded_and_logs_what_was_left(
    app: App, connect: Callable[..., socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(app, max_body=MAX_BODY, threads=1, stop_timeout=0.2).start()
    clients = [connect(server, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(2)]
    wait_until(lambda: app.waiting == 1)
    port = server.port

    before = time.monotonic()
    server.stop()

    assert time.monotonic() - before < 10
    assert [record.name for record in caplog.records] == ["trafficrelay.server"]
    assert f"port {port}" in caplog.text
    assert "2 requests unanswered" in caplog.text
    assert f"thread trafficrelay-{port}-worker-0 still running" in caplog.text
    assert [read_all(client) for client in clients] == [b"", b""]
    app.let_go.set()
    wait_until(lambda: threads() == [])  # the one that was left ends with its request


# Crowds


def test_stalled_posts_do_not_delay_another(app: App, connect: Callable[..., socket.socket]) -> None:
    with Server(app, max_body=MAX_BODY, threads=2) as server:
        for _ in range(20):
            connect(server, STALLED_POST)

        before = time.monotonic()
        answer = ask(server, body=b"the twenty-first")[2]
        took = time.monotonic() - before

    assert answer == b"the twenty-first"
    assert took < 5


def test_idle_connections_do_not_keep_others_out(server: Server, connect: Callable[..., socket.socket]) -> None:
    """waitress' own limit of 100 does."""
    for _ in range(150):
        connect(server)

    assert ask(server, body=b"x")[2] == b"x"


@on_linux
def test_descriptors_above_1023_are_served(app: App) -> None:
    """select() fails on them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("this machine gives a process too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with Server(app, max_body=MAX_BODY) as server:
            answer = ask(server, body=b"x")[2]
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert answer == b"x"


def test_burst_writes_nothing_to_the_log(
    app: App, connect: Callable[..., socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    with Server(app, max_body=MAX_BODY, threads=1) as server:
        clients = [connect(server, b"GET /wait HTTP/1.0\r\n\r\n") for _ in range(10)]
        wait_until(lambda: app.waiting == 1)
        app.let_go.set()
        answers = [read_all(client)[:15] for client in clients]

    assert answers == [b"HTTP/1.0 200 OK"] * 10
    assert caplog.records == []


# What it refuses by itself


def problem(raw: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    ("raw", "status", "title"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413, "Content Too Large"),
        (b"POST / HTTP/1.1\r\nContent-Length: secret\r\n\r\n", 400, "Bad Request"),
        (b"secret\r\n\r\n", 400, "Bad Request"),
        (b"GET / HTTP/1.1\r\nX: " + b"secret" * 11_000, 431, "Request Header Fields Too Large"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "Not Implemented"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "Bad Request"),
        (b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n", 500, "Internal Server Error"),
    ],
)
def test_refusal_of_the_server_is_a_problem_document(
    server: Server, connect: Callable[..., socket.socket], raw: bytes, status: int, title: str
) -> None:
    answer = read_all(connect(server, raw))

    found, document = problem(answer)
    assert (found, document["status"], document["title"]) == (status, status, title)
    assert b"secret" not in answer
    assert b"waitress" not in answer


def test_sender_of_a_large_body_sees_the_refusal(server: Server) -> None:
    """A connection that is closed with bytes unread is reset, and the answer lost."""
    status, headers, _ = ask(server, body=b"x" * 5_000_000)

    assert (status, headers["Content-Type"]) == (413, "application/problem+json")


def test_sender_that_never_ends_a_refused_body_is_cut_off(
    app: App, connect: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waitress_loop, "LINGER_SECONDS", 0.2)
    monkeypatch.setattr(waitress_loop, "_CLEANUP_SECONDS", 0)
    with Server(app, max_body=MAX_BODY) as server:
        client = connect(server, b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 413 ")

        wait_until(lambda: is_reset(client))


def is_reset(client: socket.socket) -> bool:
    try:
        client.sendall(b"x")
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


def test_chunked_body_over_all_bounds_is_refused_while_it_comes(
    server: Server, connect: Callable[..., socket.socket]
) -> None:
    client = connect(server, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n" + b"x" * 70_000)

    status, document = problem(read_all(client))

    assert status == 413
    assert str(MAX_BODY) in document["detail"]


def test_request_that_takes_too_long_is_answered_408(
    app: App, connect: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although a byte comes now and then, which restarts waitress' own time-out."""
    monkeypatch.setattr(waitress_loop, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(waitress_loop, "_CLEANUP_SECONDS", 0)
    with Server(app, max_body=MAX_BODY) as server:
        client = connect(server, STALLED_POST.replace(b"5", b"500"))
        client.settimeout(0.05)
        deadline, answer = time.monotonic() + 10, b""
        while not answer and time.monotonic() < deadline:
            client.send(b"x")
            with contextlib.suppress(TimeoutError):
                answer = client.recv(65536)
        client.settimeout(10)
        answer += read_all(client)

    assert problem(answer)[0] == 408


def test_idle_connection_is_closed_after_a_while(
    app: App, connect: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waitress_loop, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(waitress_loop, "_CLEANUP_SECONDS", 0)
    with Server(app, max_body=MAX_BODY) as server:
        closed = read_all(connect(server))

    assert closed == b""


# What it passes on


def test_application_is_given_a_valid_environment() -> None:
    with Server(validator(App()), max_body=MAX_BODY) as server:
        status, headers, _ = ask(server)

    assert status == 200
    assert "Server" not in headers


def test_sender_cannot_pass_for_somebody_else_or_smuggle_a_header_with_an_underscore(server: Server) -> None:
    """The relay decides whose X-Forwarded-For counts; X_Signature and X-Signature would be one to WSGI."""
    sent = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1", "X_Signature": "forged", "X-Kept": "yes"}

    environ = json.loads(ask(server, "/environ", headers=sent)[2])

    assert environ["HTTP_X_KEPT"] == "yes"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"
    assert "HTTP_X_SIGNATURE" not in environ


def test_chunked_body_in_small_chunks_is_taken_up_to_the_limit(
    server: Server, connect: Callable[..., socket.socket]
) -> None:
    """On the wire it is six times as long as the limit."""
    head = b"POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

    answer = read_all(connect(server, head + b"1\r\nx\r\n" * MAX_BODY + b"0\r\n\r\n"))

    assert answer.endswith(b"\r\n\r\n" + b"x" * MAX_BODY)


# Programs: in processes of their own, without pytest's warnings-as-errors


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


APPLICATION = """
import http.client, os, socket, sys, threading
from trafficrelay.server import Server

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

def ask(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    return connection.getresponse().read().decode()
"""


def test_program_that_forgets_to_stop_ends() -> None:
    assert run(APPLICATION + "print(ask(Server(app, max_body=1).start().port))") == "ok"


def test_importing_the_module_loads_no_waitress() -> None:
    assert run("import sys, trafficrelay.server; print('waitress' in sys.modules)") == "False"


FORK = """
server = Server(app, max_body=1, stop_timeout=30).start()
port = server.port
idle = socket.create_connection(("127.0.0.1", port), 10)
ask(port)
to_child, from_parent = os.pipe()
to_parent, from_child = os.pipe()
pid = os.fork()
if pid == 0:
    try:
        try:
            server.url
        except Exception as error:
            said = type(error).__name__
        server.stop()
        served = ask(port)  # by the parent
        server.start()
        said += " " + served + " " + ask(server.port) + " " + str(server.port != port)
        server.stop()
        said += " " + str(threading.active_count())
        os.write(from_child, said.encode())
        os.read(to_child, 1)  # live on until the parent has stopped
    finally:
        os._exit(0)
print(os.read(to_parent, 1000).decode())
print(ask(port))
server.stop()
print(idle.recv(1) == b"")  # closed for good although the child lives
try:
    socket.create_connection(("127.0.0.1", port), 10)
except ConnectionRefusedError:
    print("refused")
os.write(from_parent, b"x")
os.waitpid(pid, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_child_of_a_fork_is_not_served_and_does_not_disturb_its_parent() -> None:
    said = run(APPLICATION + FORK).splitlines()

    assert said == ["ServerError ok ok True 1", "ok", "True", "refused"]
