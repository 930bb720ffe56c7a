"""The relay: what users declare, tied together."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .door import MAX_HEADER, MAX_REQUESTS, Door
from .errors import DeadLetterError, DeclarationError
from .event import Event
from .intake import Intake
from .outbox.handover import Outbox, Receipt
from .rate import Rate
from .route import Route, RouteOptions
from .rule import check_rule
from .spool import Spool
from .spool import spool as read_spool
from .target import check_names

if TYPE_CHECKING:
    from typing import Unpack

    import bottle
    import redis

    from .app import Rules
    from .delivery.transports import Transports
    from .server import Server

URL_VARIABLE: Final = "TRAFFICRELAY_REDIS_URL"
"""The environment variable with the Redis URL of relays that are declared without one."""

_SCHEMES: Final = ("redis://", "rediss://", "unix://", "redis+sentinel://", "rediss+sentinel://")

_F = TypeVar("_F", bound=Callable[[Event], Any])


class Relay:
    """Takes web traffic in and hands it to RQ workers.

        relay = Relay("redis://localhost:6379/0")

        @relay.route("/github", verify=github(secret=...), job="shop.jobs.on_push", queue="hooks")
        def push(event):
            return {"repo": event.data["repository"]["full_name"]}

    Nothing is connected until the first event. Relays share nothing with each other.

    Args:
        source: a Redis URL (`redis://`, `rediss://`, `unix://`), or a `redis.Redis` whose settings are copied. Left
            out, `TRAFFICRELAY_REDIS_URL` counts; without that `python -m trafficrelay run` binds the relay, and using
            it otherwise is an error.
        serializer: how RQ writes payloads, as `rq.Queue` takes it: `"json"`, or `None` for RQ's default, pickle.
            Workers need the same.
        outbox: another outbox in place of Redis, such as `MemoryOutbox()` in tests.
        spool: the file in which events are kept while Redis is away, or a `Spool`; routes say `on_outage=` which.
            Without one they are refused with a 503.
        wait_replicas: how many replicas of Redis must have an event before its sender gets a 2xx.
        fsync: whether it must be on the disk of Redis by then. Not needed where Redis says `appendfsync always`.
        trusted_proxies: the proxies whose `X-Forwarded-For` counts: `["10.0.0.0/8", "unix"]`. Without them an event's
            `remote_addr` is the other end of the connection.
        max_header: the largest header of a request, in bytes.
        max_requests: how many requests are worked on at once in each process; more get a 503. `None` for any number.
        address_rate: how many requests one address may send to each process, such as `"50/s"`; more get a 429 before
            anything is looked at.

    Raises:
        DeclarationError: the source is no URL or client that can be used, or an option is wrong.
    """

    def __init__(
        self,
        source: str | redis.Redis | None = None,
        *,
        serializer: Any = None,
        outbox: Outbox | None = None,
        spool: str | os.PathLike[str] | Spool | None = None,
        wait_replicas: int = 0,
        fsync: bool = False,
        trusted_proxies: Sequence[str] = (),
        max_header: int = MAX_HEADER,
        max_requests: int | None = MAX_REQUESTS,
        address_rate: Rate | str | None = None,
    ) -> None:
        if source is not None and outbox is not None:
            raise DeclarationError("A relay has a Redis URL or an outbox, not both.")
        if outbox is not None and (isinstance(outbox, type) or not hasattr(outbox, "accept")):
            raise DeclarationError("outbox is an object such as MemoryOutbox().")
        self._source = _checked(source)
        if source is None and outbox is None and (url := os.environ.get(URL_VARIABLE)):
            try:
                self._source = _checked(url)
            except DeclarationError as error:
                raise DeclarationError(f"{URL_VARIABLE} is no Redis URL. {error}") from None
        self._serializer = serializer
        self._outbox = outbox
        self.spool = read_spool(spool)
        self.wait_replicas, self.fsync = _checked_waits(wait_replicas, fsync)
        self.door = Door(
            trusted_proxies=trusted_proxies,
            max_header=max_header,
            max_requests=max_requests,
            address_rate=address_rate,
        )
        # The caller's module, as namedtuple and logging find it: a dead letter that is run again in a worker has to
        # find the relay, and knows no more of it than a name.
        self._module = importable_name(sys._getframe(1).f_globals)
        self._routes: list[Route] = []
        self._rules: Rules | None = None
        self._app: bottle.Bottle | None = None
        self._transports: Transports | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Relay with {len(self._routes)} routes>"

    @classmethod
    def from_config(cls, path: str | os.PathLike[str]) -> Relay:
        """Make the relay that a file such as relay.toml describes (docs/configuration.md).

        Functions that it names are imported, and secrets read, now.

        Raises:
            ConfigError: the file cannot be read, or something in it cannot be. It names the table and the key.
        """
        # It makes relays, so it imports this module.
        from .config.loading import load

        relay = load(path)
        # As in `__init__`: workers look for the relay in the caller's module.
        relay._module = importable_name(sys._getframe(1).f_globals)
        return relay

    # Declaring

    def route(self, rule: str, **options: Unpack[RouteOptions]) -> Callable[[_F], _F]:
        """Declare a route whose transform is the decorated function. `Route` says what the options are.

        Raises:
            DeclarationError: an option is unknown or wrong, or the rule is taken.
        """
        # Now, and not when the decorator is called: `@relay.route` without parentheses would declare nothing.
        check_rule(rule)
        check_names("A route", Route, options, without=("rule", "transform"))

        def decorate(transform: _F) -> _F:
            self.add(Route(rule, transform=transform, **options))
            return transform

        return decorate

    def add(self, route: Route) -> Route:
        """Declare a route that is given as data.

        Raises:
            DeclarationError: its rule is bad or taken, or the app has been built already.
        """
        if not isinstance(route, Route):
            raise DeclarationError(f"add takes a Route, not {type(route).__name__}.")
        if self._app is not None:
            raise DeclarationError(
                f"The route {route.rule} comes too late: the app is in use, and a host that mounted it would never "
                "see the route. Declare routes before relay.app is used."
            )
        if self._rules is None:
            # bottle's import is paid by programs that declare routes, not by workers that import this package.
            from .app import Rules

            self._rules = Rules()
        self._rules.add(route)
        self._routes.append(route)
        return route

    @property
    def routes(self) -> tuple[Route, ...]:
        """The declared routes, in order."""
        return tuple(self._routes)

    def find(self, rule: str, method: str) -> Route | None:
        """Give the route that was declared with this rule and method."""
        for route in self._routes:
            if route.rule == rule and method in route.methods:
                return route
        return None

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that the routes name, in order. Those that functions choose are not among them."""
        return tuple(dict.fromkeys(queue for queue in self._queues if isinstance(queue, str)))

    @property
    def dynamic_queues(self) -> bool:
        """Whether a route chooses its queue for each event."""
        return any(not isinstance(queue, str) for queue in self._queues)

    @property
    def _queues(self) -> list[str | Callable[[Event], str]]:
        return [target.queue_of for route in self._routes for target in route.targets]

    # Binding to Redis

    @property
    def bound(self) -> bool:
        """Whether the relay knows where its events go."""
        return self._outbox is not None or self._source is not None

    @property
    def serializer_name(self) -> str | None:
        """What `rq worker --serializer` is given, so that workers read what is written; `None` for RQ's default.

        Raises:
            DeclarationError: it is an object without a name that a worker could be given.
        """
        serializer = self._serializer
        if serializer is None or isinstance(serializer, str):
            return serializer
        if not isinstance(serializer, type):
            raise DeclarationError("Give the serializer by its dotted name: workers have to be told of it too.")
        return f"{serializer.__module__}.{serializer.__qualname__}"

    @property
    def source(self) -> str | redis.Redis | None:
        """The Redis URL or client that the relay was declared with or bound to."""
        source: str | redis.Redis | None = self._source
        return source

    @property
    def redis_url(self) -> str | None:
        """The Redis URL that the relay was declared with or bound to; `None` if it has none."""
        return self._source if isinstance(self._source, str) else None

    def bind(self, source: str | redis.Redis) -> None:
        """Say where events go, in place of what was declared.

        Raises:
            DeclarationError: the source cannot be used, or the relay is in use already.
        """
        with self._lock:
            if self._app is not None:
                raise DeclarationError("This relay is in use already; bind it before relay.app is used.")
            self._source = _checked(source)
            self._outbox = None

    @property
    def outbox(self) -> Outbox:
        """Where events go.

        Raises:
            DeclarationError: the relay is not bound to a Redis.
        """
        if self._outbox is None:
            if self._source is None:
                raise DeclarationError(
                    'This relay has no Redis. Say Relay("redis://localhost:6379/0"), set '
                    f"{URL_VARIABLE}, or run it with `python -m trafficrelay run`."
                )
            # rq and redis take longer to import than all else; a program pays for them when the relay is used.
            from .outbox.resilient import PATIENCE, ResilientOutbox
            from .outbox.rq import RQOutbox

            inner = RQOutbox(
                self._source, serializer=self._serializer, wait_replicas=self.wait_replicas, fsync=self.fsync
            )
            # Waiting for replicas or a disk takes a second and more.
            patience = 2.0 if self.wait_replicas or self.fsync else PATIENCE
            self._outbox = ResilientOutbox(inner, spool=self.spool, patience=patience)
        return self._outbox

    # Using

    @property
    def app(self) -> bottle.Bottle:
        """The WSGI application, a `bottle.Bottle`: mount it, or serve it. Built on first use.

        Raises:
            DeclarationError: the relay is not bound to a Redis.
        """
        with self._lock:
            if self._app is None:
                # See `add`; whoever asks for the app uses bottle.
                from .app import make_app

                self._app = make_app(self._intake(), self.routes, self.door)
            return self._app

    def serve(self, *, host: str = "127.0.0.1", port: int = 0, threads: int = 8, stop_timeout: float = 10.0) -> Server:
        """Give a server for the app that runs in a thread of this program; it starts with `with` or `start()`.

            with relay.serve(port=8080) as server:
                print(server.url)

        Needs `pip install 'trafficrelay[serve]'`.

        Args:
            host: the address to listen on.
            port: the port; 0 takes a free one, which `server.url` tells.
            threads: how many requests are worked on at once.
            stop_timeout: seconds that `stop()` may take to answer what is in flight.

        Raises:
            DeclarationError: the relay is not bound to a Redis.
            ServerError: waitress is not installed.
        """
        # waitress is an extra, needed by this method alone.
        from .server import Server

        largest = max((route.limit for route in self._routes), default=0)
        return Server(
            self.app,
            host=host,
            port=port,
            threads=threads,
            max_body=largest,
            stop_timeout=stop_timeout,
            # Not with what is left of the time: requests may have taken it all.
            on_stop=lambda: self.close(stop_timeout / 2),
        )

    def replay(self, event: Event) -> Receipt:
        """Run a kept event through today's transform of its route, and hand its jobs over.

        Raises:
            DeadLetterError: the relay has no such route.
            Exception: whatever the transform raises.
        """
        route = self.find(event.route, event.method)
        if route is None:
            raise DeadLetterError(f"This relay has no route {event.method} {event.route}.")
        return self._intake().replay(route, event)

    def _intake(self) -> Intake:
        return Intake(self.outbox, module=self._module)

    @property
    def transports(self) -> Transports:
        """The connections to destinations of deliveries, which all jobs of a worker process share."""
        with self._lock:
            if self._transports is None:
                # urllib3 is an extra, which workers that deliver need alone.
                from .delivery.transports import Transports

                self._transports = Transports()
            return self._transports

    def close(self, timeout: float = 0.0) -> None:
        """Hand over what is in the spool, and close all connections. The next event opens new ones.

        Args:
            timeout: seconds that handing over may take; what is left stays for the next process, and is logged.
        """
        if self._outbox is not None:
            self._outbox.close(timeout)
        if self._transports is not None:
            self._transports.close()


def importable_name(module: dict[str, Any]) -> str:
    """Give the name under which another process imports a module, also of the one that is run as a program."""
    if module.get("__name__") != "__main__":
        return str(module.get("__name__", ""))
    spec = module.get("__spec__")
    return spec.name if spec else Path(module.get("__file__", "")).stem


def _checked_waits(wait_replicas: Any, fsync: Any) -> tuple[int, bool]:
    if not isinstance(wait_replicas, int) or isinstance(wait_replicas, bool) or wait_replicas < 0:
        raise DeclarationError(f"wait_replicas is a number of replicas, not {wait_replicas!r}.", option="wait_replicas")
    if not isinstance(fsync, bool):
        raise DeclarationError(f"fsync is True or False, not {fsync!r}.", option="fsync")
    return wait_replicas, fsync


def _checked(source: Any) -> Any:
    """Refuse early what can be refused without importing redis; the outbox refuses the rest."""
    if source is None or (isinstance(source, str) and source.startswith(_SCHEMES)):
        return source
    if isinstance(source, str) or not hasattr(source, "connection_pool"):
        raise DeclarationError(
            "A relay takes a Redis URL, which begins with redis://, rediss://, unix://, redis+sentinel:// or "
            'rediss+sentinel:// such as "redis://localhost:6379/0", or a redis.Redis (RQ does not run on a cluster).'
        )
    return source
