"""Slow and hostile clients of the standalone server: each is refused in bounded time and memory, others are served.

Every test talks to a real run. `harmless` watches it meanwhile: how long it took, how much the serving process grew,
and whether somebody else, who sends an event every few milliseconds, gets every one of them taken in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import resource
import selectors
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import brotli
import pytest

from trafficrelay.body import read_data
from trafficrelay.errors import BodyTooLarge, Malformed, RequestTimeout, Unavailable
from trafficrelay.standalone.bodies import Bodies
from trafficrelay.standalone.connections import CONNECTIONS

from .standalone_support import PROC, ROOT, Run, post
from .waiting import wait_until

pytestmark = pytest.mark.rq

MIB = 1 << 20
TIMEOUT = 3  # of a header and of a body

# On an idle machine all is a matter of milliseconds; these are for one that has ten other things to do.
SLOWEST = 5.0  # how long somebody else may wait for an answer
SOON = 10.0  # what is refused or taken at once
IN_TIME = TIMEOUT + 10.0  # what is refused when its time is up

HOOKS = """\
from trafficrelay import Relay

relay = Relay()


@relay.route("/take", verify=None, job="jobs.echo", queue="hooks", methods=["GET", "POST"])
def take(event):
    return {"data": event.data, "query": dict(event.query)}


relay.route("/other", verify=None, job="jobs.echo", queue="hooks")(lambda event: event.data)
"""


@dataclass
class Served:
    """A run and its one serving process."""

    run: Run
    pid: int

    @property
    def port(self) -> int:
        return self.run.port

    def memory(self, name: str) -> float:
        """`VmRSS`, what the process takes now, or `VmHWM`, the most that it took; in MiB, 0 where nobody can say."""
        if not PROC.is_dir():
            return 0.0
        found = re.search(rf"^{name}:\s+(\d+) kB$", (PROC / str(self.pid) / "status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) / 1024

    def files(self) -> int:
        return sum(1 for _ in (PROC / str(self.pid) / "fd").iterdir())

    def connect(self, *, receive_buffer: int = 0) -> socket.socket:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(30)
        sock.connect(("127.0.0.1", self.port))
        return sock


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hostile"), TIMEOUT) as served:
        yield served


@contextlib.contextmanager
def serving(directory: Path, timeout: int) -> Iterator[Served]:
    (directory / "hostile.py").write_text(HOOKS)
    with Run(directory, "--no-worker", "--body-timeout", str(timeout), target="hostile:relay") as run:
        run.wait_until_up()
        (pid,) = run.find("multiprocessing.spawn")
        yield Served(run, pid)


@dataclass
class Other:
    """Somebody else, who sends events over connections of their own, one after the other, until told to stop."""

    port: int
    statuses: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.wait(0.005):
            began = time.monotonic()
            try:
                status, _ = post(self.port, "/other", b'{"other": 1}')
            except OSError:
                status = 0
            self.times.append(time.monotonic() - began)
            self.statuses.append(status)


@contextlib.contextmanager
def harmless(served: Served, *, seconds: float, mib: float) -> Iterator[None]:
    """Assert that the block takes so long and so much memory at most, and that somebody else is served meanwhile."""
    before = served.memory("VmRSS")
    if PROC.is_dir():
        (PROC / str(served.pid) / "clear_refs").write_text("5")  # VmHWM begins anew
    other = Other(served.port)
    thread = threading.Thread(target=other.run)
    began = time.monotonic()
    thread.start()
    try:
        yield
        took = time.monotonic() - began
        wait_until(lambda: other.statuses)
    finally:
        other.stop.set()
        thread.join()

    assert took < seconds
    assert served.memory("VmHWM") - before < mib
    assert set(other.statuses) == {202}
    assert max(other.times) < SLOWEST


@dataclass
class Heard:
    """What the server said on a connection until it closed it."""

    raw: bytes
    closed: bool

    @property
    def statuses(self) -> list[int]:
        return [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d{3}) ", self.raw)]


def talk(served: Served, pieces: Iterable[bytes], *, patience: float = 10.0) -> Heard:
    """Send pieces as long as the server takes them, and hear what it says until it closes or is silent for long."""
    with served.connect() as sock:
        with contextlib.suppress(OSError):  # it has answered and does not read on
            for piece in pieces:
                sock.sendall(piece)
        sock.settimeout(patience)
        return hear(sock)


def hear(sock: socket.socket) -> Heard:
    raw = b""
    try:
        while piece := sock.recv(65536):
            raw += piece
    except ConnectionResetError:
        pass
    except TimeoutError:
        return Heard(raw, closed=False)
    return Heard(raw, closed=True)


def hear_all(
    socks: list[socket.socket], seconds: float, tick: Callable[[socket.socket], None] | None = None
) -> list[bytes]:
    """Hear what the server says on many connections until it has closed them all; `tick` is called once a second."""
    said = dict.fromkeys(socks, b"")
    deadline = time.monotonic() + seconds
    next_tick = time.monotonic() + 1
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
        while selector.get_map():
            assert time.monotonic() < deadline, f"{len(selector.get_map())} connections are still open"
            for key, _ in selector.select(0.1):
                sock: Any = key.fileobj
                piece = b""
                with contextlib.suppress(ConnectionResetError):
                    piece = sock.recv(65536)
                said[sock] += piece
                if not piece:
                    selector.unregister(sock)
            if tick is not None and time.monotonic() > next_tick:
                next_tick += 1
                for key in list(selector.get_map().values()):
                    with contextlib.suppress(OSError):
                        tick(key.fileobj)  # type: ignore[arg-type]
    for sock in socks:
        sock.close()
    return list(said.values())


def statuses_of(answers: list[bytes]) -> set[bytes]:
    return {answer[9:12] for answer in answers}


def head(*lines: str, start: str = "POST /take HTTP/1.1") -> bytes:
    return "\r\n".join([start, "Host: x", "Content-Type: application/json", *lines, "", ""]).encode("latin-1")


CHUNKED = "Transfer-Encoding: chunked"
CLOSE = "Connection: close"


# Bodies


def test_bodies_that_come_a_byte_a_second_are_refused_in_time(served: Served) -> None:
    with harmless(served, seconds=IN_TIME, mib=16):
        socks = [served.connect() for _ in range(100)]
        for sock in socks:
            sock.sendall(head("Content-Length: 100") + b"{")
        answers = hear_all(socks, IN_TIME, tick=lambda sock: sock.sendall(b" "))

    assert statuses_of(answers) == {b"408"}


@pytest.mark.parametrize("line", ["Content-Length: 1000000", CHUNKED])
def test_bodies_that_never_arrive_are_refused_in_time(served: Served, line: str) -> None:
    with harmless(served, seconds=IN_TIME, mib=32):
        socks = [served.connect() for _ in range(500)]
        for sock in socks:
            sock.sendall(head(line))
        answers = hear_all(socks, IN_TIME)

    assert statuses_of(answers) == {b"408"}


@pytest.mark.parametrize("start", ["POST /nowhere HTTP/1.1", "GET /-/health HTTP/1.1", "PUT /take HTTP/1.1"])
def test_bodies_that_nobody_reads_end_in_time(served: Served, start: str) -> None:
    """They are answered at once, and hold their connection no longer than an idle one."""
    with harmless(served, seconds=IN_TIME, mib=16):
        socks = [served.connect() for _ in range(100)]
        for sock in socks:
            sock.sendall(head("Content-Length: 1000000", start=start) + b"{")
        answers = hear_all(socks, IN_TIME, tick=lambda sock: sock.sendall(b" "))

    assert statuses_of(answers) <= {b"404", b"405", b"200"}


def test_more_stalled_bodies_than_there_is_room_for_give_way(served: Served) -> None:
    """Those of which nothing has come for the longest are refused (or have had their time), not those that come new."""
    taken = set()
    with harmless(served, seconds=3 * IN_TIME, mib=64):
        socks = []
        for number in range(3_000):
            socks.append(served.connect())
            socks[-1].sendall(head("Content-Length: 100") + b"{")
            if number % 50 == 0:
                taken.add(post(served.port, "/other", b"{}")[0])
        answers = hear_all(socks, IN_TIME)

    assert taken == {202}
    assert statuses_of(answers) <= {b"503", b"408"}


def test_large_bodies_that_stall_take_no_more_than_the_room_for_all(served: Served) -> None:
    """500 MB are sent, in bodies that lack their last byte."""
    almost = head("Content-Length: 1000001") + b" " * 1_000_000
    with harmless(served, seconds=2 * IN_TIME, mib=340):
        socks = []
        for _ in range(500):
            socks.append(served.connect())
            with contextlib.suppress(OSError):  # it has given way already
                socks[-1].sendall(almost)
        answers = hear_all(socks, IN_TIME)

    assert statuses_of(answers) <= {b"503", b"408", b""}


def forever(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


@pytest.mark.parametrize(
    ("piece", "status"),
    [
        (b"10000\r\n" + b" " * 0x10000 + b"\r\n", 413),
        (b"1\r\n \r\n" * 1_000, 400),  # costs the server more than the sender
        (b"1;" + b"x" * 60_000 + b"\r\n \r\n", 400),
    ],
    ids=["large chunks", "small chunks", "chunk extensions"],
)
def test_chunked_body_without_end_is_refused(served: Served, piece: bytes, status: int) -> None:
    def pieces() -> Iterator[bytes]:
        yield head(CHUNKED)
        yield from forever(piece)

    with harmless(served, seconds=SOON, mib=24):
        heard = talk(served, pieces())

    assert heard.closed
    assert heard.statuses == [status]


@pytest.mark.parametrize("line", ["Content-Length: 8000000", CHUNKED])
def test_sender_of_a_body_that_is_too_large_sees_the_refusal(served: Served, line: str) -> None:
    """Most look at the answer only when they have sent all; a connection that is reset by then has none."""
    body = b" " * 8_000_000
    pieces = [head(line), body if line != CHUNKED else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)]
    sent = 0
    with harmless(served, seconds=2 * SOON, mib=24):
        for _ in range(5):
            with served.connect() as sock:
                for piece in pieces:
                    sock.sendall(piece)
                    sent += 1
                heard = hear(sock)

                assert heard.closed
                assert heard.statuses == [413]

    assert sent == 10


def test_trailer_without_end_is_refused(served: Served) -> None:
    def pieces() -> Iterator[bytes]:
        yield head(CHUNKED) + b"2\r\n{}\r\n0\r\n"
        yield from forever(b"X: " + b"y" * 60_000 + b"\r\n")

    with harmless(served, seconds=SOON, mib=16):
        heard = talk(served, pieces())

    assert heard.statuses == [400]


# Headers


@pytest.mark.parametrize(
    ("pieces", "statuses"),
    [
        ([b"POST /take HTTP/1.1\r\nX: ", *[b"y" * 65536] * 160], {431}),
        ([b"POST /take HTTP/1.1\r\n", *[b"X: y\r\n" * 10_000] * 100], {431}),
        ([head(*["X: y"] * 150)], {431}),
        ([b"GET /", *[b"y" * 65536] * 160], {431, 414}),
        ([b"GET /take?", *[b"a&" * 32768] * 160], {431, 414}),
        ([b"Y" * 65536] * 160, {431, 400}),
        ([b"\r\n" * 32768] * 160, {431, 400}),
    ],
    ids=[
        "one of 10 MB",
        "a million",
        "150",
        "path of 10 MB",
        "query of 10 MB",
        "method of 10 MB",
        "10 MB of blank lines",
    ],
)
def test_header_that_is_too_large_is_refused(served: Served, pieces: list[bytes], statuses: set[int]) -> None:
    with harmless(served, seconds=SOON, mib=16):
        heard = talk(served, pieces)

    assert heard.closed
    assert set(heard.statuses) <= statuses
    if len(pieces) == 1 or heard.raw:
        assert len(heard.statuses) == 1


def test_header_of_48_kb_is_refused_by_the_relay_itself(served: Served) -> None:
    """granian's own limit lies above the relay's, whose refusal says what the limit is."""
    heard = talk(served, [head("X: " + "y" * 40_000, "Content-Length: 2", CLOSE) + b"{}"])

    assert heard.statuses == [431]
    assert b"application/problem+json" in heard.raw


@pytest.mark.parametrize(
    "first", [b"", b"P", head()[:-2], head()[:-2] + b"X: "], ids=["nothing", "byte", "line", "name"]
)
def test_headers_that_come_a_byte_a_second_end_in_time(served: Served, first: bytes) -> None:
    """The connection is closed without a word: there is no request yet to answer."""
    with harmless(served, seconds=IN_TIME, mib=16):
        socks = [served.connect() for _ in range(50)]
        for sock in socks:
            sock.sendall(first)
        answers = hear_all(socks, IN_TIME, tick=lambda sock: sock.sendall(b"y") if first else None)

    assert set(answers) == {b""}


# Connections


def test_ten_thousand_idle_connections_keep_nobody_out(tmp_path: Path) -> None:
    """A third never sends a byte, a third half a header, a third nothing after a first request."""
    if not PROC.is_dir():
        pytest.skip("needs /proc to count a process' connections")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = 10_000 if hard == resource.RLIM_INFINITY else min(10_000, hard - 1_000)
    if many < 2_000:
        pytest.skip(f"needs more open files than the {hard} that are allowed here")
    raise_soft_limit(many + 500)
    sent = [b"", b"POST /take HTTP/1.1\r\nHost", b"GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n"]
    idle = 8
    with (
        serving(tmp_path, idle) as served,
        harmless(served, seconds=idle + 30, mib=20 * many / 1024),
        contextlib.ExitStack() as stack,
    ):
        for number in range(many):
            sock = stack.enter_context(served.connect())
            sock.sendall(sent[number % 3])
        most = wait_until(lambda: max(served.files() - many, 0), idle) + many
        wait_until(lambda: served.files() < 200, idle + 20)

    assert many < most < CONNECTIONS + 256


def raise_soft_limit(files: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


@pytest.mark.parametrize(("hard", "expected"), [(20_000, CONNECTIONS), (2_000, 1_744), (300, 150)])
def test_as_many_connections_are_taken_as_there_are_files_for(hard: int, expected: int) -> None:
    """Accepting what there is no descriptor for would keep a process busy; so some are always left."""
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed not in (resource.RLIM_INFINITY, max(allowed, hard)):
        pytest.skip(f"only {allowed} open files are allowed here")
    code = f"""\
import resource
from trafficrelay.standalone.connections import connections
resource.setrlimit(resource.RLIMIT_NOFILE, (200, {hard}))
print(connections(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == [str(expected), str(min(hard, CONNECTIONS + 256)), str(hard)]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux ends such connections")
def test_client_that_reads_no_answers_is_cut_off(served: Served) -> None:
    """It sends request after request, and would hold its connection for ever when the buffers are full."""
    requests = b"GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000
    with harmless(served, seconds=TIMEOUT + 25, mib=16), served.connect(receive_buffer=4096) as sock:
        sock.settimeout(20)  # of one call
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_forever(sock, requests)


def send_forever(sock: socket.socket, piece: bytes) -> None:
    while True:
        sock.sendall(piece)


def test_pipelined_requests_are_answered_each_and_in_order(served: Served) -> None:
    with harmless(served, seconds=SOON, mib=16):
        one = head("Content-Length: 2") + b"{}"
        last = head("Content-Length: 1", CLOSE) + b"x"
        heard = talk(served, [one * 100 + last])

    assert heard.closed
    assert heard.statuses == [202] * 100 + [400]
    assert len(set(re.findall(rb'"id":"(\w+)"', heard.raw))) == 100


def exactly(size: int, begin: bytes, piece: bytes, end: bytes) -> bytes:
    """A document of at most `size` bytes that is full of one thing."""
    return begin + piece * ((size - len(begin) - len(end)) // len(piece)) + end


# What is in a body

BODIES: dict[str, tuple[bytes, int]] = {
    "arrays 100,000 deep": (b"[" * 100_000 + b"]" * 100_000, 400),
    "arrays a million deep, and open": (b"[" * MIB, 400),
    "objects 100,000 deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
    "arrays 101 deep": (b"[" * 101 + b"]" * 101, 400),
    "objects and arrays 102 deep": (b'{"a":[' * 51 + b"]}" * 51, 400),
    "arrays 99 deep": (b"[" * 99 + b"]" * 99, 202),
    "an integer of a million digits": (b"1" * 1_000_000, 400),
    "a negative integer of a million digits": (b"-" + b"1" * 1_000_000, 400),
    "a fraction of a million digits": (b"0." + b"1" * 1_000_000, 202),
    "an exponent of a million digits": (b"1e" + b"1" * 1_000_000, 400),
    "many large integers": (exactly(MIB, b"[", b"1" * 4_000 + b",", b"1]"), 202),
    "NaN": (b'{"a": NaN}', 400),
    "Infinity": (b"[-Infinity]", 400),
    "too large a number": (b"[1e999]", 400),
    "the same key again": (b'{"a": 1, "a": 2}', 202),
    "the same key 100,000 times": (exactly(MIB, b"{", b'"a":0,', b'"a":2}'), 202),
    "100,000 keys": (b"{" + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}", 202),
    "a lone high surrogate": (rb'"\ud800"', 400),
    "a lone low surrogate": (rb'{"a": "\udfff"}', 400),
    "a lone surrogate as a key": (rb'{"\ud800": 1}', 400),
    "surrogates in UTF-8": (b'"\xed\xa0\x80"', 400),
    "no UTF-8": (b'{"a": "\xff\xfe"}', 400),
    "a NUL": (b'{"a": "\0"}', 400),
    "an escaped NUL": (rb'{"a": "\u0000"}', 202),
    "a megabyte of spaces": (b" " * (MIB - 2) + b"{}", 202),
    "nothing but escapes": (exactly(MIB, b'"', rb"\u0041", b'"'), 202),
    "as many arrays as fit": (exactly(MIB, b"[", b"[],", b"[]]"), 202),
    "as many objects as fit": (exactly(MIB, b"[", b"{},", b"{}]"), 202),
    "one byte too much": (b" " * (MIB - 1) + b"{}", 413),
}


@pytest.mark.parametrize("name", list(BODIES))
def test_json_is_taken_or_refused_in_bounded_time_and_memory(served: Served, name: str) -> None:
    body, status = BODIES[name]
    with harmless(served, seconds=SOON, mib=160):
        answered, _ = post(served.port, "/take", body)

    assert answered == status


FORM = "application/x-www-form-urlencoded"
TYPED: dict[str, tuple[bytes, dict[str, str], int]] = {
    "a form of a million fields": (b"a&" * 500_000, {"Content-Type": FORM}, 400),
    "a form of 100,000 names": (b"&".join(b"%d=" % number for number in range(100_000)), {"Content-Type": FORM}, 400),
    "a form of escapes": (b"a=" + b"%41" * 340_000, {"Content-Type": FORM}, 202),
    "a form of escapes that are no UTF-8": (b"a=" + b"%ff" * 340_000, {"Content-Type": FORM}, 202),
    "a form that is no UTF-8": (b"a=\xff", {"Content-Type": FORM}, 400),
    "text that is no UTF-8": (b"\xff", {"Content-Type": "text/plain"}, 400),
    "a gigabyte in gzip": (gzip.compress(b"0" * 10_000_000) * 100, {"Content-Encoding": "gzip"}, 413),
    "what says that it is gzip": (b"{}", {"Content-Encoding": "gzip"}, 400),
    "twice compressed": (b"{}", {"Content-Encoding": "gzip, br"}, 400),
    "thrice compressed": (b"{}", {"Content-Encoding": "gzip, gzip, gzip"}, 415),
    "a charset that unpacks": (b"{}", {"Content-Type": "application/json; charset=zlib"}, 415),
    "a charset with a long name": (b"{}", {"Content-Type": "application/json; charset=" + "x" * 20_000}, 415),
    "multipart without end": (b"--x\r\n" * 200_000, {"Content-Type": "multipart/form-data; boundary=x"}, 400),
}


@pytest.mark.parametrize("name", list(TYPED))
def test_body_of_another_type_is_taken_or_refused_in_bounded_time_and_memory(served: Served, name: str) -> None:
    body, headers, status = TYPED[name]
    with harmless(served, seconds=SOON, mib=48):
        answered, _ = post(served.port, "/take", body[:MIB], headers)

    assert answered == status


LINES: dict[str, tuple[bytes, int]] = {
    "10,000 parameters": (b"GET /take?" + b"a=1&" * 10_000, 431),
    "1,001 parameters": (b"GET /take?" + b"a&" * 1_000 + b"a", 400),
    "1,000 parameters": (b"GET /take?" + b"a&" * 999 + b"a", 202),
    "a query of escapes": (b"GET /take?a=" + b"%41" * 8_000, 202),
    "a query that is no UTF-8": (b"GET /take?a=%ff", 202),
    "an escaped NUL in the path": (b"GET /take%00", 404),
    "a NUL in the path": (b"GET /take\0", 400),
    "no UTF-8 in the path": (b"GET /%ff%fe", 404),
    "raw bytes in the path": (b"GET /\xff\xfe", 400),
    "dots in the path": (b"GET /../../take", 404),
    "a path of slashes": (b"GET " + b"/" * 8_000, 404),
    "a method that nobody knows": (b"BREW /take", 405),
}


@pytest.mark.parametrize("name", list(LINES))
def test_request_line_is_taken_or_refused_in_bounded_time_and_memory(served: Served, name: str) -> None:
    line, status = LINES[name]
    with harmless(served, seconds=SOON, mib=16):
        heard = talk(served, [line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"])

    assert heard.closed
    assert heard.statuses == [status]


# Where one request ends and the next begins

CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"
SMUGGLED = b"GET /-/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 2", "Content-Length: 3"),
        ("Content-Length: 2, 2",),
        ("Content-Length: 2 2",),
        ("Content-Length: -2",),
        ("Content-Length: +2",),
        ("Content-Length: 0x2",),
        ("Content-Length: 2.0",),
        ("Content-Length: ²",),
        ("Content-Length:",),
        ("Content-Length : 2",),
        ("Content-Length: 2", " Content-Length: 3"),
        ("Content-Length: 99999999999999999999999",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: identity",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: \vchunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding:", " chunked"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: xchunked"),
        ("X: a\0b", "Content-Length: 2"),
        ("X: a\rContent-Length: 2",),
    ],
    ids=" + ".join,
)
def test_request_whose_end_can_be_read_in_two_ways_is_refused_with_all_behind_it(
    served: Served, lines: tuple[str, ...]
) -> None:
    body = CHUNKS if "chunked" in "".join(lines) else b"{}"
    with harmless(served, seconds=SOON, mib=16):
        heard = talk(served, [head(*lines) + body + SMUGGLED])

    assert heard.closed
    assert len(heard.statuses) == 1
    assert heard.statuses[0] in (400, 415, 501)


@pytest.mark.parametrize("chunk", [b"-2", b"+2", b"0x2", b" 2", b"2\n", b"2 2", b"2,", b"g", b"", b"1" * 17])
def test_chunk_whose_size_is_no_number_is_refused_with_all_behind_it(served: Served, chunk: bytes) -> None:
    with harmless(served, seconds=SOON, mib=16):
        heard = talk(served, [head(CHUNKED) + chunk + b"\r\n{}\r\n0\r\n\r\n" + SMUGGLED])

    assert heard.closed
    assert heard.statuses == [400]


def test_what_follows_a_request_with_both_lengths_is_never_a_request(served: Served) -> None:
    """granian reads the chunks, as RFC 9112 allows, and closes the connection behind them, as it demands."""
    with harmless(served, seconds=SOON, mib=16):
        heard = talk(served, [head("Content-Length: 2", CHUNKED) + CHUNKS + SMUGGLED])

    assert heard.closed
    assert heard.statuses == [202]


def test_the_same_length_twice_is_one_length(served: Served) -> None:
    heard = talk(served, [head("Content-Length: 2", "Content-Length: 2") + b"{}" + SMUGGLED])

    assert heard.statuses == [202, 200]


# The parts, without a server


def test_escapes_of_a_form_take_a_few_times_the_memory_of_the_form() -> None:
    """urllib takes 75 times as much."""
    form = b"a=" + b"%41" * 340_000
    tracemalloc.start()
    try:
        data = read_data(form, method="POST", content_type=FORM, content_encoding="", query={})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert data == {"a": "A" * 340_000}
    assert peak < 8 * len(form)


@pytest.mark.parametrize("start", range(4))
def test_characters_of_a_form_are_whole_wherever_the_text_is_cut(start: int) -> None:
    """Long texts are read piece by piece; no escape and no character is torn."""
    text = "x" * start + "%E2%98%83%zz" * 5_000

    data = read_data(f"a={text}".encode(), method="POST", content_type=FORM, content_encoding="", query={})

    assert data == {"a": "x" * start + "☃%zz" * 5_000}


async def arriving(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in (*chunks, b""):
        yield chunk


async def stalling(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    await asyncio.Event().wait()


async def read(bodies: Bodies, chunks: AsyncIterator[bytes], limit: int = 1_000) -> bytes | type[Exception]:
    try:
        with bodies.body() as body:
            return await body.read(chunks, limit)
    except (BodyTooLarge, Malformed, RequestTimeout, Unavailable) as error:
        return type(error)


def test_bodies_give_way_the_oldest_first() -> None:
    """A body for which there is no room makes those give way that have been on their way for the longest."""

    async def scene() -> list[Any]:
        bodies = Bodies(timeout=30, most_bytes=250)
        slow = [asyncio.ensure_future(read(bodies, stalling(b"x" * 100))) for _ in range(2)]
        await asyncio.sleep(0)
        quick = await read(bodies, arriving(b"y" * 100))
        done, waiting = await asyncio.wait(slow, timeout=0.1)
        for task in waiting:
            task.cancel()
        return [quick, [task in done for task in slow], *(task.result() for task in done)]

    assert asyncio.run(scene()) == [b"y" * 100, [True, False], Unavailable]


def test_a_compressed_body_counts_as_what_it_may_become() -> None:
    """A kilobyte of it may be a megabyte a moment later, and many come at once."""

    async def scene() -> list[Any]:
        bodies = Bodies(timeout=30, most_bytes=250)
        found: list[Any] = []
        for _ in range(3):
            body = bodies.body(None)
            try:
                await body.read(arriving(b"z"), 100)
                body.reserve(100)
                found.append(body.size)
            except Unavailable:
                found.append("no room")
                body.__exit__(None, None, None)
        plain = bodies.body(None)
        found.append(await plain.read(arriving(b"p" * 40), 100) == b"p" * 40)
        return found

    assert asyncio.run(scene()) == [100, 100, "no room", True]


def test_compressed_bodies_are_refused_before_they_take_more_room_than_there_is(tmp_path: Path, redis_url: str) -> None:
    """Through the server: one that may become a hundred megabytes, and another that may too."""
    (tmp_path / "large.py").write_text(
        "import time\n"
        "from trafficrelay import Relay, Route\n"
        "relay = Relay()\n"
        "def slow(event):\n"
        "    time.sleep(0.2)\n"
        "    return {}\n"
        'relay.add(Route("/in", verify=None, job="jobs.echo", max_body="100MB", transform=slow))\n'
    )
    body = brotli.compress(b"{}")
    with Run(tmp_path, "--redis", redis_url, "--threads", "8", target="large:relay") as run:
        run.wait_until_up()
        with ThreadPoolExecutor(8) as pool:
            sent = [pool.submit(post, run.port, "/in", body, {"Content-Encoding": "br"}) for _ in range(8)]
            statuses = sorted({one.result()[0] for one in sent})
        after = post(run.port, "/in", body, {"Content-Encoding": "br"})[0]

    assert statuses == [202, 503]
    assert after == 202


def test_small_bodies_give_way_to_no_large_one() -> None:
    """However slow they are: it would not make room."""

    async def scene() -> list[Any]:
        bodies = Bodies(timeout=30, most_bytes=250, most_incoming=5)  # 25 bytes are half of a share
        small = asyncio.ensure_future(read(bodies, stalling(b"x" * 24)))
        await asyncio.sleep(0)
        large = asyncio.ensure_future(read(bodies, stalling(b"x" * 120)))
        await asyncio.sleep(0)
        quick = await read(bodies, arriving(b"y" * 120))
        done, waiting = await asyncio.wait([small, large], timeout=0.1)
        for task in waiting:
            task.cancel()
        return [quick, done == {large}, waiting == {small}]

    assert asyncio.run(scene()) == [b"y" * 120, True, True]


def test_bodies_are_counted_until_they_are_answered() -> None:
    """One that has arrived gives way to nobody; where all room is taken by such, a new one is refused."""

    async def scene() -> list[Any]:
        bodies = Bodies(timeout=30, most_bytes=150)
        with bodies.body() as body:
            whole = await body.read(arriving(b"x" * 100), 1_000)
            meanwhile = await read(bodies, arriving(b"y" * 100))
        return [whole, meanwhile, await read(bodies, arriving(b"z" * 100))]

    assert asyncio.run(scene()) == [b"x" * 100, Unavailable, b"z" * 100]


def test_body_that_is_given_up_leaves_its_room() -> None:
    """Whatever becomes of a body, what it took is there again for the next."""

    async def scene() -> list[Any]:
        bodies = Bodies(timeout=0.05, most_bytes=150)
        first = [
            await read(bodies, stalling(b"x" * 100)),
            await read(bodies, arriving(b"x" * 100, b"", b"x")),
            await read(bodies, arriving(b"x" * 100, b"x" * 100), limit=110),
            await read(bodies, arriving(b"x" * 200)),
        ]
        return [*first, await read(bodies, arriving(b"y" * 150))]

    assert asyncio.run(scene()) == [RequestTimeout, Malformed, BodyTooLarge, Unavailable, b"y" * 150]


def test_as_many_bodies_are_on_their_way_as_may_be() -> None:
    """The next one is read, and the oldest gives way to it."""

    async def scene() -> list[Any]:
        bodies = Bodies(timeout=30, most_incoming=2)
        slow = [asyncio.ensure_future(read(bodies, stalling())) for _ in range(2)]
        await asyncio.sleep(0)
        quick = await read(bodies, arriving(b"y"))
        done, waiting = await asyncio.wait(slow, timeout=0.1)
        for task in waiting:
            task.cancel()
        return [quick, [task in done for task in slow], *(task.result() for task in done)]

    assert asyncio.run(scene()) == [b"y", [True, False], Unavailable]


def test_lines_of_text_are_never_too_many_chunks() -> None:
    """Only chunks of a few bytes each are refused, for what they cost."""

    async def scene(size: int) -> Any:
        return await read(Bodies(timeout=30), arriving(*[b"x" * size] * 20_000), limit=MIB)

    assert asyncio.run(scene(20)) == b"x" * 400_000
    assert asyncio.run(scene(2)) is Malformed
