"""The jobs: one that does nothing, and one that makes a request which is answered after 50 ms; plain and async.

The request is the same for all: a GET on a kept connection. The connections lie on a stack and not in thread-locals,
because some contenders run each job in a thread or a greenlet of its own.
"""

from __future__ import annotations

import asyncio
import http.client
import os
from collections import deque
from functools import cache
from pathlib import Path

from .tally import Tally

KINDS = ("nothing", "fetch")

_idle: deque[http.client.HTTPConnection] = deque()
_idle_streams: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()


@cache
def tally() -> Tally:
    """Map the turn's tally on first use."""
    return Tally(Path(os.environ["BENCH_TALLY"]))


def port() -> int:
    """Say where the server of the 50 ms listens."""
    return int(os.environ["BENCH_HTTP_PORT"])


def redis_url() -> str:
    """Give the Redis of those that take a connection for each job at work: redis-py 8 ends a pool at 100."""
    return f"{os.environ['BENCH_REDIS']}?max_connections=1000"


def nothing(number: int) -> None:
    """Do nothing."""
    tally().begin(number)
    tally().end(number)


def fetch(number: int) -> None:
    """Make a request and read the answer."""
    tally().begin(number)
    try:
        connection = _idle.pop()
    except IndexError:
        connection = http.client.HTTPConnection("127.0.0.1", port(), timeout=30)
    connection.request("GET", "/")
    response = connection.getresponse()
    body = response.read()
    if response.status != 200 or body != b"ok":
        raise ValueError(f"{response.status} {body!r}")
    _idle.append(connection)
    tally().end(number)


async def nothing_async(number: int) -> None:
    """Do nothing, in a coroutine."""
    tally().begin(number)
    tally().end(number)


async def fetch_async(number: int) -> None:
    """Make a request and read the answer, in a coroutine: http.client would hold all others meanwhile."""
    tally().begin(number)
    try:
        reader, writer = _idle_streams.pop()
    except IndexError:
        reader, writer = await asyncio.open_connection("127.0.0.1", port())
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: identity\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    body = await reader.readexactly(int(fields[b"content-length"]))
    if not head.startswith(b"HTTP/1.1 200 ") or body != b"ok":
        raise ValueError(f"{head!r} {body!r}")
    _idle_streams.append((reader, writer))
    tally().end(number)
