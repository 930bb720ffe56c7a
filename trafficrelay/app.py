"""The Bottle application: the routes that take events in. The one module that imports bottle.

Two things look unusual. When a Bottle host mounts this app it takes over the routes alone: hooks and error handlers
of a mounted app are dropped. So there are none here, every answer is an `HTTPResponse`, and a catch-all of our own
answers what no route takes. And bodies are not read through `bottle.request`, which decodes chunks that the server has
decoded already and spools to disk without a bound; `wsgi_input` reads them.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import bottle

from .body import read_query
from .door import ADMITTED, Door
from .errors import (
    DeclarationError,
    Failed,
    Malformed,
    MethodNotAllowed,
    NotFound,
    OutboxError,
    Refusal,
    Unavailable,
)
from .event import Event, Headers, now
from .failures import without_words
from .intake import BUGS, Intake
from .reply import Reply
from .route import METHODS, WILDCARD, Route
from .wsgi_input import read_body

log = logging.getLogger("trafficrelay")

PUT_OFF: Final = "trafficrelay.put_off"
"""The key in the environ of a list, for servers that hand over many events at once: the app puts a `Prepared` there
instead of handing it over, and the server gives the answer when it has. What the app itself then answers is void."""

Converter = Callable[[str], int | float]

_CONVERTERS: Final[Mapping[str, tuple[str, Converter]]] = {"int": (r"-?\d+", int), "float": (r"-?[\d.]+", float)}


def make_app(intake: Intake, routes: tuple[Route, ...], door: Door) -> bottle.Bottle:
    """Make the application of a relay."""
    app = bottle.Bottle()
    no_route = _answering(lambda rest: _no_route(app, rest))
    app.route("/<rest:re:-/.*>", list(METHODS), no_route, catch_all=True)  # before a route for every path
    for route in routes:
        rule, converters = bottle_rule(route.rule)
        app.route(rule, list(route.methods), _endpoint(intake, route, converters, door), max_body=route.max_body)
    app.route("/-/health", "GET", _answering(lambda: Reply(200, body={"status": "ok"})))
    app.route("/-/ready", "GET", _answering(lambda: _ready(intake)))
    app.route("/<rest:re:.*>", "ANY", no_route, catch_all=True)
    return app


def body_limit(app: bottle.Bottle, method: str, path: str) -> int | None:
    """Give the bytes that the route for this request takes as a body; `None` where no route is.

    For servers that read the body before they call the app.
    """
    try:
        route, _ = app.router.match({"REQUEST_METHOD": method, "PATH_INFO": _text(path)})
    except bottle.HTTPError:
        return None
    limit: int | None = route.config.get("max_body")
    return limit


class Rules:
    """The rules of a relay as Bottle's router understands them, to refuse bad ones when they are declared."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], str] = {}

    def add(self, route: Route) -> None:
        """Take in a route.

        Raises:
            DeclarationError: its rule cannot be parsed, or another route has the same rule and method.
        """
        rule, _ = bottle_rule(route.rule)
        router = bottle.Router()
        try:
            router.add(rule, "ANY", route)
        except KeyError as error:
            raise DeclarationError(
                f"The rule {route.rule} has a filter {error} that Bottle does not know; there are int, float, path "
                "and re."
            ) from error
        except (bottle.RouteError, re.error) as error:
            raise DeclarationError(f"The rule {route.rule} cannot be read: {error}.") from error
        # What is matched, without the wildcards' names: /<a> and /<b> are the same rule.
        pattern = router.dyna_routes["ANY"][0][1] if router.dyna_routes else rule
        for method in route.methods:
            other = self._taken.get((method, pattern))
            if other is not None:
                raise DeclarationError(
                    f"{method} {route.rule} is declared twice" + ("." if other == route.rule else f": see {other}.")
                )
        for method in route.methods:
            self._taken[method, pattern] = route.rule


def bottle_rule(rule: str) -> tuple[str, dict[str, Converter]]:
    """Give a rule with numbers matched as text, and what converts each.

    Bottle converts while it looks for a route; what it says to a number that is none (`/orders/1.2.3` for a float)
    would be the host's HTML instead of a problem document.
    """

    def as_text(wildcard: re.Match[str]) -> str:
        name, kind = wildcard.groups()
        return f"<{name}:re:{_CONVERTERS[kind][0]}>" if kind in _CONVERTERS else wildcard[0]

    converters = {name: _CONVERTERS[kind][1] for name, kind in WILDCARD.findall(rule) if kind in _CONVERTERS}
    return WILDCARD.sub(as_text, rule), converters


def _endpoint(
    intake: Intake, route: Route, converters: Mapping[str, Converter], door: Door
) -> Callable[..., bottle.HTTPResponse]:
    def let_in(**params: str) -> Reply:
        # Bottle hands HEAD requests to routes for GET: an event for each link checker.
        if bottle.request.method not in route.methods:
            raise MethodNotAllowed(tuple(sorted(route.methods)))
        environ = bottle.request.environ
        admitted = environ.get(ADMITTED)
        if admitted is not None:
            return accept(environ, admitted, params)
        address = door.address(environ)
        with door.pressure.request(address):
            return accept(environ, address, params)

    def accept(environ: dict[str, Any], address: str, params: Mapping[str, str]) -> Reply:
        event = _event(environ, route, _converted(params, converters), address)
        put_off = environ.get(PUT_OFF)
        if put_off is None:
            return intake.accept(route, event)
        prepared = intake.prepare(route, event)
        if not prepared.writes:
            return prepared.answer(prepared.handover.receipt)
        put_off.append(prepared)
        return Reply(202)

    return _answering(let_in)


def _answering(make: Callable[..., Reply]) -> Callable[..., bottle.HTTPResponse]:
    """Turn a function that gives a reply or raises into one that always gives a response."""

    def respond(**params: str) -> bottle.HTTPResponse:
        try:
            reply = make(**params)
        except Refusal as refusal:
            reply = _problem(refusal)
        except BUGS as error:
            log.error("a request could not be answered\n%s", without_words(error))
            reply = Reply.problem(Failed("The request could not be processed."))
        response = bottle.HTTPResponse(reply.body, reply.status)
        for name, value in reply.headers:
            response.add_header(name, value)
        return response

    return respond


def _problem(refusal: Refusal) -> Reply:
    # Neither the path nor the query: senders put tokens into both.
    log.info("%s answered %d: %s", bottle.request.method, refusal.status, refusal.detail)
    try:
        return Reply.problem(refusal)
    except Exception as error:
        # Users raise refusals with words and headers of their own, which may not fit into an answer.
        log.error("a refusal could not be put into words\n%s", without_words(error))
        return Reply.problem(Failed("The request could not be processed."))


def _event(environ: Mapping[str, Any], route: Route, params: Mapping[str, str | int | float], address: str) -> Event:
    received_at = now()
    body = read_body(environ, route.max_body)
    return Event(
        id=os.urandom(16).hex(),
        route=route.rule,
        received_at=received_at,
        method=environ["REQUEST_METHOD"].upper(),
        params=params,
        query=read_query(environ.get("QUERY_STRING", "")),
        headers=_headers(environ),
        remote_addr=address,
        body=body,
    )


def _converted(params: Mapping[str, str], converters: Mapping[str, Converter]) -> dict[str, str | int | float]:
    converted: dict[str, str | int | float] = dict(params)
    for name, convert in converters.items():
        try:
            converted[name] = convert(params[name])
        except ValueError as error:
            raise Malformed(f"The path's {name} is no number.") from error
    return converted


def _headers(environ: Mapping[str, Any]) -> Headers:
    found = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            found[name.replace("_", "-")] = environ[name]
    return Headers(found)


def _ready(intake: Intake) -> Reply:
    try:
        intake.outbox.check()
    except OutboxError as error:
        raise Unavailable("The outbox cannot take events now.") from error
    return Reply(200, body={"status": "ready"})


def _no_route(app: bottle.Bottle, rest: str) -> Reply:
    """Answer what no route takes: 405 if the path has one for other methods, 404 otherwise."""
    allow = []
    for method in METHODS:
        try:
            # A mount prefixes the rules in the host's router, not in this app's own: `rest` is the path in it.
            found, _ = app.router.match({"REQUEST_METHOD": method, "PATH_INFO": "/" + rest})
        except bottle.HTTPError:
            continue
        if not found.config.get("catch_all"):
            allow.append(method)
    if allow:
        raise MethodNotAllowed(tuple(sorted(allow)))
    raise NotFound("There is nothing at this path.")


def _text(path: str) -> str:
    """Decode a path as Bottle does (PEP 3333 hands bytes over as latin-1)."""
    return path.encode("latin-1").decode("utf-8", "ignore")
