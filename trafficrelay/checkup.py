"""What a relay's declaration and its Redis mean for the promise that nothing acknowledged is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal

from .body import packages
from .outbox.durability import WAITAOF_SINCE, Durability
from .outbox.spool_rows import Summary
from .relay import Relay
from .route import Route
from .target import Target, Unsaid

Level = Literal["fault", "warning", "note"]

LEVELS: Final[tuple[Level, ...]] = ("fault", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        level: `fault` for what loses events or cannot work, `warning` for what will surprise, `note` for the rest.
        about: what it is about: `redis`, `spool`, `bodies`, `workers`, `queue NAME`, or a route's rule.
        text: a sentence or two: what it means, and what to do.
    """

    level: Level
    about: str
    text: str


def of_redis(relay: Relay, durability: Durability) -> list[Finding]:
    """Say what a Redis does with what it acknowledges."""
    found = [Finding("fault", "redis", text) for text in durability.faults()]
    found += [Finding("fault", "redis", text) for text in _of_waiting(relay, durability)]
    return found + [Finding("note", "redis", text) for text in durability.notes()]


def of_routes(relay: Relay, *, watched: bool = False) -> list[Finding]:
    """Say what is to be known of a relay's routes, and of what their jobs need.

    Args:
        relay: the relay.
        watched: whether it is known which schedulers run, and said by who knows.
    """
    return [finding for route in relay.routes for finding in _of_route(relay, route, watched=watched)]


def of_bodies() -> list[Finding]:
    """Say which kinds of bodies cannot be read in this environment."""
    kinds = {
        "multipart": packages.MULTIPART,
        "compressed with br": packages.BROTLI,
        "compressed with zstd": packages.ZSTD,
    }
    missing = [kind for kind, package in kinds.items() if packages.found(package) is None]
    if not missing:
        return []
    text = f"Bodies that are {' or '.join(missing)} are answered 415: pip install 'trafficrelay[bodies]' to read them."
    return [Finding("note", "bodies", text)]


def waits(relay: Relay) -> Mapping[str, list[str]]:
    """Give the queues whose jobs wait for a scheduler, each with the rules of the routes that they come from."""
    found: dict[str, list[str]] = {}
    for route in relay.routes:
        for target in route.targets:
            if isinstance(target.queue_of, str) and _waits(target):
                rules = found.setdefault(target.queue_of, [])
                rules += [] if route.rule in rules else [route.rule]
    return found


def of_spool(summary: Summary) -> list[Finding]:
    """Say what lies in a spool."""
    found = []
    if summary.held:
        text = f"{summary.held} events are held in it; `trafficrelay spool show` says why."
        found.append(Finding("warning", "spool", text))
    if summary.waiting:
        found.append(Finding("note", "spool", f"{summary.waiting} events wait in it for Redis."))
    return found


def _of_waiting(relay: Relay, durability: Durability) -> Iterator[str]:
    replicas = durability.replicas
    if relay.wait_replicas and replicas is not None and replicas < relay.wait_replicas:
        yield (
            f"Relay(wait_replicas={relay.wait_replicas}) waits for more replicas than follow this Redis now "
            f"({replicas}): it takes no events."
        )
    if relay.fsync and (durability.append_only is False or (0,) < durability.version < WAITAOF_SINCE):
        yield "Relay(fsync=True) needs Redis 7.2 or later with appendonly yes: this one takes no events."
    elif relay.fsync and durability.hasty:
        yield (
            f"Relay(fsync=True) asks {durability.server} with WAITAOF, which answers before the disk has it (a fault "
            "that Redis mended in 7.4.3): set appendfsync always."
        )


def _of_route(relay: Relay, route: Route, *, watched: bool) -> Iterator[Finding]:
    retries = getattr(route.verify, "sender_retries", None)
    if relay.spool is None and route.on_outage == "spool":
        yield Finding("fault", route.rule, 'on_outage is "spool", and the relay has none: say Relay(spool="spool.db").')
    elif relay.spool is None and retries is False:
        yield Finding(
            "warning",
            route.rule,
            "Its sender never tries again by itself: what comes while Redis is away is lost to you. Give the relay a "
            'spool: Relay(spool="spool.db").',
        )
    elif not route.spools and retries is False:
        yield Finding(
            "warning", route.rule, "Its sender never tries again by itself, and on_outage refuses what it sends then."
        )
    elif relay.spool is None and route.spools:
        yield Finding(
            "note", route.rule, 'What comes while Redis is away is refused: Relay(spool="spool.db") would keep it.'
        )
    own = getattr(route.verify, "dedupe", "")
    unknown = route.dedupe is None or (isinstance(route.dedupe, Unsaid) and not own)
    if any(getattr(one, "token", "") for one in route.handshakes) and not getattr(route.verify, "more", None):
        yield Finding(
            "note",
            route.rule,
            "Its sender begins with a challenge, which is refused: say verify_token=, as you gave it.",
        )
    if unknown and route.spools is False:
        yield Finding(
            "note",
            route.rule,
            "Its sender tries again what got no answer, and nothing tells that such an event is the same: say dedupe=.",
        )
    known = watched and all(isinstance(target.queue_of, str) for target in route.targets)
    if not known and any(_waits(target) for target in route.targets):
        wait = "Its jobs wait for a scheduler: run `trafficrelay worker`, or `rq worker --with-scheduler`."
        yield Finding("note", route.rule, wait)
    if route.destinations and find_spec("urllib3") is None:
        yield Finding(
            "fault",
            route.rule,
            "It delivers, and urllib3, without which every delivery fails, is missing in this environment: "
            "pip install 'trafficrelay[deliver]', here and wherever its workers run.",
        )
    if any(target.options.failure_ttl is None for target in route.targets):
        yield Finding(
            "note", route.rule, "Its failed jobs and dead letters are kept for a year, RQ's default: say failure_ttl=."
        )


def _waits(target: Target) -> bool:
    """Whether a target's jobs, or their retries, wait for a time, and so for a scheduler."""
    options = target.options
    return bool(options.delay or target.destinations or (options.retries and any(options.retries.intervals)))
