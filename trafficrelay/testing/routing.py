"""Which route a request leads to, as the app finds it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import bottle

from ..app import bottle_rule, find_route, is_challenge_method
from ..body import read_query
from ..errors import Malformed
from ..event import Event, Headers
from ..route import Route
from .saved import SavedRequest


class Routing:
    """An app, and the routes in it.

    Args:
        app: what was built on them.
        routes: the relay's routes.
    """

    def __init__(self, app: bottle.Bottle, routes: tuple[Route, ...]) -> None:
        self.app = app
        self.routes = routes

    @property
    def known(self) -> str:
        """Which routes there are, in a sentence."""
        listed = ", ".join(f"{'/'.join(route.methods)} {route.rule}" for route in self.routes)
        return f"There are {listed}." if listed else "The relay has no routes."

    def find(self, request: SavedRequest, address: str, moment: datetime) -> tuple[Route | None, Event | None]:
        """Give the route that a request leads to, and the event as its verifier would see it; `None` if there is none.

        Args:
            request: the request.
            address: where it comes from.
            moment: when.
        """
        path, _, query = request.target.partition("?")
        try:
            found, params = self.app.router.match({"REQUEST_METHOD": request.method, "PATH_INFO": unquote(path)})
        except bottle.HTTPError:
            return None, None
        route: Route | None = found.config.get("relay")
        if route is None:
            route, params = self._challenged(request.method, unquote(path))
        if route is None or (request.method not in route.methods and not is_challenge_method(route, request.method)):
            return None, None
        converters = bottle_rule(route.rule)[1]
        event = Event(
            id="0" * 32,
            route=route.rule,
            received_at=moment,
            method=request.method,
            params={name: _converted(converters.get(name), value) for name, value in params.items()},
            query=read_query(query),
            headers=Headers(dict(request.headers)),
            remote_addr=address,
            body=request.body,
        )
        return route, event

    def _challenged(self, method: str, path: str) -> tuple[Route | None, Mapping[str, Any]]:
        """Give the route that a challenge would come to, on a method that no route takes at this path."""
        try:
            return find_route(self.routes, method, path, challenges=True) or (None, {})
        except Malformed:
            return None, {}

    def hint(self, route: Route | None, *, signed: bool) -> str:
        """Say what its author may have forgotten, should the request be refused."""
        if route is None:
            return self.known
        if route.verify is not None and not signed:
            return "(signed=True signs a request as its route's verifier does.)"
        return ""


def _converted(convert: Any, value: str) -> Any:
    try:
        return convert(value) if convert is not None and isinstance(value, str) else value
    except ValueError:
        return value  # the app refuses it
