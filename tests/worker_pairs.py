"""Runs the same jobs on two workers, in this process or as `rq worker`, each in a database of its own."""

from __future__ import annotations

import gc
import io
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis
from click.testing import CliRunner
from rq.cli import main as rq
from rq.utils import now

from trafficrelay.worker import RelayWorker
from trafficrelay.worker.settings import Settings

from . import worker_kinds as kinds
from .standalone_support import ROOT, environment
from .waiting import wait_until

RELAY: Final = "trafficrelay.worker.RelayWorker"


class Counting:
    """A server that counts what it is asked for."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        counting = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                counting.seen[self.path] += 1
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def apart() -> Iterator[io.StringIO]:
    """Keep what a worker does to its process from the tests: it takes the signals, prints, and RQ 2 leaves event loops.

    Gives what it prints.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    with redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield printed
        finally:
            gc.collect()
            for number, handler in before.items():
                signal.signal(number, handler)


def work(
    cls: Any,
    connection: redis.Redis,
    *,
    concurrency: int = 10,
    worker: dict[str, Any] | None = None,
    maintain: bool = False,
    **options: Any,
) -> Any:
    """Have a worker do all that there is, and give it.

    Args:
        cls: its class.
        connection: where.
        concurrency: of a RelayWorker.
        worker: how it is made.
        maintain: whether RQ's maintenance runs. It drops what has expired by then: when it comes is not compared.
        options: how it works.
    """
    made = {"queues": kinds.QUEUES, "name": "worker"} | (worker or {})
    one = cls(made.pop("queues"), connection=connection, **made)
    if isinstance(one, RelayWorker):
        one.settings = Settings(concurrency=concurrency)
    if not maintain:
        one.last_cleaned_at = now()
    with apart():
        one.work(**({"burst": True, "with_scheduler": True, "logging_level": "CRITICAL"} | options))
    return one


def copied(source: redis.Redis, to: int) -> redis.Redis:
    """Copy all that is in Redis into another of its databases."""
    target = redis.Redis(
        connection_pool=redis.ConnectionPool(**(source.connection_pool.connection_kwargs | {"db": to}))
    )
    target.flushdb()
    keys = list(source.scan_iter(count=1000))
    for at in range(0, len(keys), 1000):
        with source.pipeline(transaction=False) as pipeline:
            for key in keys[at : at + 1000]:
                pipeline.copy(key, key, destination_db=to)
            pipeline.execute()
    return target


def info(url: str, *options: str) -> str:
    """Ask `rq info`, without the line that says what time it is, in an order that stays the same."""
    done = CliRunner().invoke(rq, ["info", "--url", url, *options], catch_exceptions=False)
    return "\n".join(sorted(line for line in done.output.splitlines() if not line.startswith("Updated")))


def at_db(url: str, db: int) -> str:
    return f"{url.rstrip('/')}/{db}"


class Process:
    """One `rq worker`, or another of RQ's commands that run for a while; killed at the end."""

    def __init__(
        self, directory: Path, url: str, cls: str, *options: str, command: str = "worker", **more: str
    ) -> None:
        self.log = directory / f"log-{cls.rpartition('.')[2]}"
        line = [sys.executable, "-m", "rq.cli", command, "--url", url, *(("-w", cls) if cls else ()), *options]
        # Both streams as they come, in one file.
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                line, cwd=ROOT, env=environment(PYTHONUNBUFFERED="1", **more), stdout=log, stderr=log
            )

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def wait(self, seconds: float = 60) -> str:
        """Wait until it ends by itself, as it should, and give what it printed."""
        code = self.process.wait(seconds)

        assert code == 0, self.printed
        return self.printed

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.printed, 20)

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
