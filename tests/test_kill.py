"""kill -9 of the standalone relay in the middle of a sending: what was answered 202 is there, once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue

from .standalone_support import Run, embedded_client, kill, post
from .test_main_job import OWN, REAL, SECRET, Delivery, read
from .waiting import wait_until

pytestmark = pytest.mark.rq

HOOKS = f"""\
from trafficrelay import Relay
from trafficrelay.verify import github

relay = Relay()


@relay.route("/github", verify=github({SECRET!r}), job="jobs.echo", queue="hooks", dedupe="header:X-GitHub-Delivery")
def push(event):
    return {{"delivery": event.headers["X-GitHub-Delivery"], "payload": event.data}}
"""

SENDERS = 8


def deliveries(file: Path) -> list[Delivery]:
    """At least 300 deliveries: those of the file, again with other ids where it has few."""
    found = read(file)
    rounds = -(-300 // len(found))
    return [Delivery(one.event, one.body, f"{one.id}-{number}") for number in range(rounds) for one in found]


class Sending:
    """Sends deliveries with several senders and keeps each 202 as an obligation.

    Attributes:
        answered: the answer of each delivery that was answered 202, by the delivery's id.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        self.answered: dict[str, Any] = {}

    def send(self, everything: list[Delivery]) -> None:
        """Send all that has no 2xx yet, as senders do after a failure: with the same ids."""
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(self._send, [one for one in everything if one.id not in self.answered]))

    def _send(self, delivery: Delivery) -> None:
        try:
            status, answer = post(self._run.port, "/github", delivery.body, delivery.headers)
        except OSError:
            return  # no answer: no obligation
        if status == 202:
            with self._lock:
                self.answered[delivery.id] = answer


@contextmanager
def real_redis(url: str, data: Path) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as client:
        yield client


@contextmanager
def embedded_redis(url: str, data: Path) -> Iterator[redis.Redis]:
    with embedded_client(data) as client:
        yield client


@pytest.mark.parametrize("file", [OWN, REAL], ids=["own", "real"])
@pytest.mark.parametrize(
    ("options", "connect"),
    [(("--redis", "URL"), real_redis), (("--no-worker",), embedded_redis)],
    ids=["a Redis of one's own", "embedded"],
)
def test_what_was_answered_before_kill_9_is_there_exactly_once(
    tmp_path: Path, redis_url: str, file: Path, options: tuple[str, ...], connect: Callable[..., Any]
) -> None:
    """All of its processes are killed, it is started again, and the senders send again what got no answer."""
    everything = deliveries(file)
    (tmp_path / "hooks.py").write_text(HOOKS)
    words = [redis_url if word == "URL" else word for word in options]
    with Run(tmp_path, *words) as run:
        sending = Sending(run.wait_until_up())
        sender = threading.Thread(target=sending.send, args=(everything,))
        sender.start()
        wait_until(lambda: len(sending.answered) > len(everything) // 3)
        for pid in run.processes():
            kill(pid)
        sender.join()
        run.process.wait(10)
        before = dict(sending.answered)
    with Run(tmp_path, *words) as again:
        sending._run = again.wait_until_up()
        sending.send(everything)
        with connect(redis_url, tmp_path / ".trafficrelay") as client:
            jobs = Queue("hooks", connection=client).jobs

    assert len(everything) // 3 < len(before) < len(everything)
    assert sorted(sending.answered) == sorted(one.id for one in everything)
    found = {job.id: job.args[0] for job in jobs}
    assert len(found) == len(jobs) == len(everything)
    bodies = {one.id: json.loads(one.body) for one in everything}
    for delivery, answer in sending.answered.items():
        (job,) = answer["jobs"]
        assert found[job] == {"delivery": delivery, "payload": bodies[delivery]}
