"""Declares relays that deliver, sends them events, and runs their jobs in a worker of RQ's own, in this process."""

from __future__ import annotations

import time
from typing import Any

import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry, ScheduledJobRegistry
from rq.scheduler import RQScheduler
from webtest import TestApp

from trafficrelay import Deliver, Relay, Route
from trafficrelay.delivery.progress import KEY

LOOPBACK = ["127.0.0.1"]

relay: Relay | None = None
"""Where a worker finds the relay: `Deliveries` puts it here."""


class _Worker(SimpleWorker):
    """RQ's, but for the thread that listens for commands: ending that takes most of a burst's time."""

    def subscribe(self) -> None: ...

    def unsubscribe(self) -> None: ...


class Deliveries:
    """A relay whose route `/a` delivers, its queue and its worker."""

    def __init__(self, url: str, client: redis.Redis, serializer: str | None = None) -> None:
        self.client = client
        self._url = url
        self._serializer = serializer
        self.queue = Queue("hooks", connection=client, serializer=serializer)

    def declare(self, *destinations: Deliver, **options: Any) -> None:
        """Declare the relay, in place of the one before."""
        global relay  # noqa: PLW0603 - a worker looks for relays in modules
        self.close()
        relay = Relay(self._url, serializer=self._serializer)
        chosen = {"verify": None, "queue": "hooks", "deliver": list(destinations)} | options
        relay.add(Route(chosen.pop("rule", "/a"), **chosen))
        relay._module = __name__

    def close(self) -> None:
        if relay is not None:
            relay.close()

    def send(self, data: Any = None, *, path: str = "/a", **more: Any) -> list[str]:
        """Post an event, and give the ids of its jobs."""
        assert relay is not None
        app = TestApp(relay.app)
        if "params" in more:
            return list(app.post(path, status=202, **more).json["jobs"])
        return list(app.post_json(path, {"order": 1} if data is None else data, status=202, **more).json["jobs"])

    def work(self) -> None:
        """Run what waits in the queue."""
        _Worker([self.queue], connection=self.client, serializer=self._serializer).work(burst=True)

    def later(self) -> None:
        """Let the time come for all that is scheduled, by RQ's own scheduler, and run it."""
        key = self.scheduled_registry.key
        for id_ in self.scheduled:
            self.client.zadd(key, {id_: 0})
        scheduler = RQScheduler([self.queue], connection=self.client, serializer=self._serializer)
        scheduler.prepare_registries([self.queue.name])
        scheduler.enqueue_scheduled_jobs()
        self.work()

    def run(self) -> str:
        """Post an event with one job, and run it once."""
        [id_] = self.send()
        self.work()
        return id_

    @property
    def scheduled_registry(self) -> ScheduledJobRegistry:
        return ScheduledJobRegistry(queue=self.queue)

    @property
    def scheduled(self) -> list[str]:
        return self.scheduled_registry.get_job_ids(cleanup=False)

    @property
    def failed(self) -> list[str]:
        return FailedJobRegistry(queue=self.queue).get_job_ids(cleanup=False)

    def job(self, id_: str) -> RQJob:
        return RQJob.fetch(id_, connection=self.client, serializer=self._serializer)  # type: ignore[arg-type]

    def wait(self, id_: str) -> float:
        """Seconds until a job is tried again."""
        score = self.client.zscore(self.scheduled_registry.key, id_)
        assert score is not None, f"{id_} is not scheduled"
        return float(score) - time.time()  # type: ignore[arg-type]

    def result(self, id_: str) -> Any:
        return self.job(id_).return_value()

    def error(self, id_: str) -> str:
        """The last line of the traceback with which a job failed."""
        result = self.job(id_).latest_result()
        assert result is not None
        return str(result.exc_string).strip().splitlines()[-1]

    def progress(self, id_: str) -> dict[str, Any]:
        return dict(self.job(id_).meta[KEY])

    def requeue(self, id_: str) -> None:
        FailedJobRegistry(queue=self.queue).requeue(id_)
