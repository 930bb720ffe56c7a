"""How many events a second are accepted with Redis there, and with Redis away and a spool; side by side, in turns.

    python benchmarks/outage.py --rounds 3 --seconds 5 --processes 2

The load comes from a process of its own with keep-alive connections. A round is: Redis there, Redis killed, Redis back.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import redis

from trafficrelay.outbox.spool_file import SpoolFile
from trafficrelay.standalone.valkey import find_binary

HOOKS = """\
from trafficrelay import Relay

relay = Relay(spool="spool.db")
relay.route("/in", verify=None, job="jobs.run", queue="hooks")(lambda event: event.data)
"""

BODY = b'{"id": 1, "text": "%s"}' % (b"x" * 200)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_redis(directory: Path, port: int) -> subprocess.Popen[bytes]:
    settings = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--logfile", "valkey.log"]
    process = subprocess.Popen([find_binary(), "--port", str(port), *settings], cwd=directory)
    with redis.Redis(port=port) as client:
        wait_for(client.ping)
    return process


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if condition():
                return
        except (OSError, redis.RedisError, urllib.error.URLError):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError("not within 60 s")
        time.sleep(0.05)


async def load(port: int, connections: int, seconds: float) -> tuple[float, int, float]:
    """Give events accepted a second, answers that were no 2xx, and the slowest answer in seconds."""
    request = b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    request %= (len(BODY), BODY)
    end = time.monotonic() + seconds
    counts = [0, 0]
    slowest = 0.0

    async def send() -> None:
        nonlocal slowest
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.monotonic()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            await reader.readexactly(length)
            counts[not head.startswith(b"HTTP/1.1 2")] += 1
            slowest = max(slowest, time.monotonic() - began)
        writer.close()

    await asyncio.gather(*(send() for _ in range(connections)))
    return counts[0] / seconds, counts[1], slowest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "hooks.py").write_text(HOOKS)
        redis_port, port = free_port(), free_port()
        server = start_redis(directory, redis_port)
        command = [sys.executable, "-m", "trafficrelay", "run", "hooks:relay", "--port", str(port)]
        command += ["--redis", f"redis://127.0.0.1:{redis_port}/0", "--processes", str(options.processes)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        relay = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready").status == 200)
            ratios = []
            for number in range(1, options.rounds + 1):
                up = asyncio.run(load(port, options.connections, options.seconds))
                server.send_signal(signal.SIGKILL)
                server.wait()
                down = asyncio.run(load(port, options.connections, options.seconds))
                server = start_redis(directory, redis_port)
                began = time.monotonic()
                wait_for(lambda: is_drained(directory))
                drained = time.monotonic() - began
                ratios.append(down[0] / up[0])
                print(
                    f"round {number}: Redis there {up[0]:.0f}/s (slowest {up[2] * 1000:.0f} ms, {up[1]} refused), "
                    f"away {down[0]:.0f}/s (slowest {down[2] * 1000:.0f} ms, {down[1]} refused), "
                    f"ratio {ratios[-1]:.2f}, drained in {drained:.1f} s",
                    flush=True,
                )
            print(f"ratio: {min(ratios):.2f} to {max(ratios):.2f}")
        finally:
            relay.terminate()
            relay.wait()
            server.terminate()
            server.wait()


def is_drained(directory: Path) -> bool:
    return SpoolFile(directory / "spool.db", max_size=1 << 28).empty()


if __name__ == "__main__":
    main()
