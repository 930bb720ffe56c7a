"""A few helpers that several test modules share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import redis

from trafficrelay import Event, MemoryOutbox, Relay, Reply, Route
from trafficrelay.event import Headers
from trafficrelay.intake import Intake

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def make_event(*, headers: Mapping[str, str] | None = None, **fields: Any) -> Event:
    """Make an event of a POST with a small body; `fields` replace what it says."""
    usual: dict[str, Any] = {
        "id": "0123456789abcdef0123456789abcdef",
        "route": "/hooks/<shop>",
        "received_at": NOON,
        "method": "POST",
        "params": {"shop": "acme"},
        "query": {},
        "remote_addr": "192.0.2.7",
        "body": b'{"order": 1}',
        "data": {"order": 1},
    }
    return Event(headers=Headers(headers or {}), **(usual | fields))


def make_route(**options: Any) -> Route:
    """Make an open route with a job; `options` replace what it says."""
    return Route(options.pop("rule", "/x"), **({"verify": None, "job": "tests.jobs.echo"} | options))


def make_relay(*routes: Route) -> tuple[Relay, MemoryOutbox]:
    """Make a relay that keeps what it accepts in memory."""
    outbox = MemoryOutbox()
    relay = Relay(outbox=outbox)
    for route in routes:
        relay.add(route)
    return relay, outbox


def accept(event: Event | None = None, **options: Any) -> tuple[Reply, MemoryOutbox]:
    """Send an event the whole way through a route with `options`, into memory."""
    outbox = MemoryOutbox()
    return Intake(outbox).accept(make_route(**options), event or make_event()), outbox


def jobs_in(client: redis.Redis, queue: str) -> int:
    """Count the jobs that wait in a queue."""
    return int(client.llen(f"rq:queue:{queue}"))  # type: ignore[arg-type]


def raising(error: BaseException) -> Callable[..., Any]:
    """Make a function that raises, whatever it is called with."""

    def fail(*_: Any) -> Any:
        raise error

    return fail
