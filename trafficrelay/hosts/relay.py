"""A relay whose Redis, queues and defaults are its host's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DeclarationError
from ..event import Event
from ..relay import Relay, importable_name
from ..route import Route
from .queues import HostQueues

if TYPE_CHECKING:
    from typing import Unpack

    from ..route import RouteOptions

_F = TypeVar("_F", bound=Callable[[Event], Any])


class HostedRelay(Relay):
    """A relay that knows the queues of its host. `relay_from_django` and `relay_from_flask` make it.

    Args:
        queues: the host's queues.
        caller: the names of the module that declares it, where workers look for it.
        options: `Relay`'s, without what the host says.

    Raises:
        DeclarationError: an option is the host's to say, or wrong.
    """

    def __init__(self, queues: HostQueues, *, caller: dict[str, Any], options: Mapping[str, Any]) -> None:
        for taken in ("source", "serializer"):
            if taken in options:
                raise DeclarationError(f"{taken} is what the host's settings say; leave it out.", option=taken)
        main = queues.main
        # A relay with an outbox, such as MemoryOutbox() in tests, has no Redis.
        source = None if options.get("outbox") is not None else main.client
        super().__init__(source, serializer=main.serializer, **options)
        self._host_queues = queues
        # Relay takes it from who calls it, which is this module.
        self._module = importable_name(caller)

    def route(self, rule: str, **options: Unpack[RouteOptions]) -> Callable[[_F], _F]:
        """Declare a route, as `Relay.route` does; one that names no queue goes to the queue the relay was made for.

        Raises:
            DeclarationError: an option is unknown or wrong, the rule is taken, or the host has no such queue.
        """
        options.setdefault("queue", self._host_queues.main.name)
        return super().route(rule, **options)

    def add(self, route: Route) -> Route:
        """Declare a route that is given as data, as `Relay.add` does.

        Raises:
            DeclarationError: its rule is bad or taken, the app has been built already, or the host has no such queue.
        """
        return super().add(self._host_queues.fitted(route) if isinstance(route, Route) else route)
