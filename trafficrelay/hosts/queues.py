"""The queues of a host as its settings have them, and what they mean for a route."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import redis
from redis.sentinel import SentinelConnectionPool
from rq.serializers import resolve_serializer

from ..errors import DeclarationError
from ..event import Event
from ..options import per_event, queue_name
from ..route import Route
from ..target import To, Unsaid


@dataclass(frozen=True, slots=True)
class HostQueue:
    """One queue of a host.

    Attributes:
        name: its name.
        client: the host's client for its Redis; never used, only looked at.
        serializer: how its jobs are written, as `rq.Queue` takes it; `None` for RQ's default.
        timeout: after how many seconds a job is stopped; `None` for RQ's default.
        result_ttl: for how many seconds a result is kept; `None` for RQ's default.
    """

    name: str
    client: redis.Redis = field(repr=False)
    serializer: Any = None
    timeout: int | None = None
    result_ttl: int | None = None


class HostQueues:
    """All queues of a host, of which a relay may use those on one Redis server.

    Args:
        names: their names.
        look: gives the queue of a name.
        main: the name of the queue whose Redis the relay uses.
        setting: how the host calls the list of them, for errors.
        maker: how the user asks for another relay, for errors; `{}` stands for the queue's name.

    Raises:
        DeclarationError: the main queue is none of them.
    """

    def __init__(
        self, names: Iterable[str], look: Callable[[str], HostQueue], *, main: str, setting: str, maker: str
    ) -> None:
        self._names = tuple(names)
        self._look = functools.cache(look)
        self._setting = setting
        self._maker = maker
        self._check_name("The relay uses", main)
        self.main = self._look(main)

    def fitted(self, route: Route) -> Route:
        """Give a route with its queues checked, and with the queues' defaults where it says none of its own.

        Raises:
            DeclarationError: it names a queue that the host does not have, or one that this relay cannot write to.
        """
        if route.to is None:
            return replace(route, **self._options(route, route.queue, route))
        to = [
            replace(one, **self._options(route, route.queue if isinstance(one.queue, Unsaid) else one.queue, one))
            for one in route.to
        ]
        return replace(route, to=to)

    def _options(self, route: Route, queue: str | Callable[[Event], str], target: Route | To) -> dict[str, Any]:
        """Give the options that are put in the place of what a route, or a part of it, says."""
        if callable(queue):
            choose = queue
            options: dict[str, Any] = {
                "queue": per_event(lambda event: self._checked(route.rule, queue_name(choose(event))).name)
            }
            among = [self._look(name) for name in self._names]
        else:
            options = {"queue": queue}
            among = [self._checked(route.rule, queue)]
        for option in ("timeout", "result_ttl"):
            # What a `To` leaves out is as its route says.
            said = getattr(target, option)
            if (getattr(route, option) if isinstance(said, Unsaid) else said) is not None:
                continue
            values = {getattr(one, option) for one in among if self._reaches(one)}
            if len(values) > 1:
                raise DeclarationError(
                    f"The route {route.rule} chooses its queue for each event, and the queues of {self._setting} "
                    f"differ in their default {option}. Say {option}= in the route.",
                    option=option,
                )
            (value,) = values
            if value is not None:
                options[option] = value
        return options

    def _checked(self, rule: str, name: str) -> HostQueue:
        self._check_name(f"The route {rule} goes to", name)
        queue = self._look(name)
        if place(queue.client) != place(self.main.client):
            raise DeclarationError(
                f'The route {rule} goes to the queue "{name}", which {self._setting} has on another Redis than '
                f'"{self.main.name}". A relay writes to one Redis: give the route a relay of its own, '
                f"{self._maker.format(name)}.",
                option="queue",
            )
        if resolve_serializer(queue.serializer) is not resolve_serializer(self.main.serializer):
            raise DeclarationError(
                f'The route {rule} goes to the queue "{name}", whose jobs {self._setting} writes with another '
                f'serializer than those of "{self.main.name}". Give the route a relay of its own, '
                f"{self._maker.format(name)}.",
                option="queue",
            )
        return queue

    def _reaches(self, queue: HostQueue) -> bool:
        return place(queue.client) == place(self.main.client)

    def _check_name(self, who: str, name: str) -> None:
        if name in self._names:
            return
        near = difflib.get_close_matches(name, self._names, n=1) if isinstance(name, str) else []
        hint = f'Did you mean "{near[0]}"?' if near else f"There are {', '.join(self._names) or 'none'}."
        raise DeclarationError(f"{who} the queue {name!r}, which {self._setting} does not have. {hint}", option="queue")


def place(client: redis.Redis) -> Hashable:
    """Say where a client writes to: the same for two clients of one server and database, if they name it alike."""
    pool: Any = client.connection_pool
    settings = pool.connection_kwargs
    db = int(settings.get("db") or 0)
    if isinstance(pool, SentinelConnectionPool):
        manager: Any = pool.sentinel_manager
        members = frozenset(_address(sentinel.connection_pool.connection_kwargs) for sentinel in manager.sentinels)
        return pool.service_name, members, db
    return _address(settings), db


def default_or(serializer: Any) -> Any:
    """Give a serializer as a relay takes it: `None` where it is RQ's default."""
    return None if resolve_serializer(serializer) is resolve_serializer(None) else serializer


def _address(settings: dict[str, Any]) -> tuple[str, int]:
    if path := settings.get("path"):
        return str(path), 0
    return str(settings.get("host") or "localhost").lower(), int(settings.get("port") or 6379)
