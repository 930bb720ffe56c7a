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
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote

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
    Unverified,
)
from .event import Event, Headers, now
from .failures import BUGS, without_words
from .intake import Intake
from .permission import permission
from .reply import Reply
from .route import Route
from .rule import METHODS, WILDCARD
from .status import PATH as STATUS_PATH
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
    no_route = _answering(lambda rest: _no_route(app, rest, partial(_challenged, intake, door)))
    told = _answering(lambda event: intake.statuses.answer(event, read_query(bottle.request.query_string)))
    if any(route.status for route in routes):
        app.route(f"{STATUS_PATH}<event>", "GET", told)
    app.route("/<rest:re:-/.*>", list(METHODS), no_route, catch_all=True)  # before a route for every path
    for route in routes:
        rule, converters = bottle_rule(route.rule)
        app.route(rule, list(route.methods), _endpoint(intake, route, rule, converters, door), relay=route)
    app.route("/-/health", "GET", _answering(lambda: Reply(200, body={"status": "ok"})))
    app.route("/-/ready", "GET", _answering(lambda: _ready(intake)))
    app.route("/<rest:re:.*>", "ANY", no_route, catch_all=True)
    return app


def route_of(app: bottle.Bottle, method: str, path: str) -> Route | None:
    """Give the route for a request, for servers that read the body before they call the app."""
    try:
        found, _ = app.router.match({"REQUEST_METHOD": method, "PATH_INFO": _text(path)})
    except bottle.HTTPError:
        return None
    route: Route | None = found.config.get("relay")
    return route


def is_challenge_method(route: Route, method: str) -> bool:
    """Tell whether challenges come to a route on a method that it does not take."""
    return method not in route.methods and any(handshake.method == method for handshake in route.handshakes)


def find_route(
    routes: Sequence[Route], method: str, path: str, *, challenges: bool = False
) -> tuple[Route, dict[str, str | int | float]] | None:
    """Give the route that a request would come to, and its wildcards; `None` where it is none.

    Args:
        routes: the routes.
        method: the request's method.
        path: its path, decoded.
        challenges: whether it is looked for among those only that a challenge on this method would come to.

    Raises:
        Malformed: a number in the path is none.
    """
    router = bottle.Router()
    for route in routes:
        rule, converters = bottle_rule(route.rule)
        challenged = challenges and is_challenge_method(route, method)
        for one in (method,) if challenged else () if challenges else route.methods:
            router.add(rule, one, (route, converters))
    try:
        (route, converters), params = router.match({"REQUEST_METHOD": method, "PATH_INFO": path})
    except bottle.HTTPError:
        return None
    return route, _converted(params, converters)


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
    intake: Intake, route: Route, rule: str, converters: Mapping[str, Converter], door: Door
) -> Callable[..., bottle.HTTPResponse]:
    def let_in(**params: str) -> Reply:
        # Bottle hands HEAD requests to routes for GET: an event for each link checker.
        if bottle.request.method not in route.methods:
            return Reply(200, {"Allow": ", ".join(sorted(route.methods))})
        environ = bottle.request.environ
        admitted = environ.get(ADMITTED)
        if admitted is not None:
            return accept(environ, admitted, params)
        address = door.address(environ)
        with door.pressure.request(address):
            return accept(environ, address, params)

    def accept(environ: dict[str, Any], address: str, params: Mapping[str, str]) -> Reply:
        event = _event(environ, route, _converted(params, converters), address, door)
        base = _base(environ, rule) if route.status else ""
        put_off = environ.get(PUT_OFF)
        if put_off is None:
            return intake.accept(route, event, base=base)
        prepared = intake.prepare(route, event, base=base)
        if not prepared.writing:
            return prepared.answer(())
        put_off.append(prepared)
        return Reply(202)

    return _answering(let_in, route)


def _answering(make: Callable[..., Reply], route: Route | None = None) -> Callable[..., bottle.HTTPResponse]:
    """Turn a function that gives a reply or raises into one that always gives a response."""

    def respond(**params: str) -> bottle.HTTPResponse:
        try:
            reply = make(**params)
        except Refusal as refusal:
            reply = for_sender(_problem(refusal, route), route, bottle.request.environ.get("HTTP_ORIGIN"))
        except BUGS as error:
            log.error("a request could not be answered\n%s", without_words(error))
            reply = Reply.problem(Failed("The request could not be processed."))
        response = bottle.HTTPResponse(reply.body, reply.status)
        for name, value in reply.headers:
            response.add_header(name, value)
        return response

    return respond


def for_sender(refused: Reply, route: Route | None, origin: str | None) -> Reply:
    """Give a refusal as its sender wants it: a page whose script posted may read why, and some want no body at all."""
    if route is None:
        return refused
    if route.bare:
        kept = [(name, value) for name, value in refused.headers if name.lower() != "content-type"]
        return Reply(refused.status, kept)
    return refused if route.origins is None else refused.adding(route.origins.headers(origin))


def _problem(refusal: Refusal, route: Route | None) -> Reply:
    log_refusal(log, bottle.request.method, route, refusal)
    try:
        return Reply.problem(refusal)
    except Exception as error:
        # Users raise refusals with words and headers of their own, which may not fit into an answer.
        log.error("a refusal could not be put into words\n%s", without_words(error))
        return Reply.problem(Failed("The request could not be processed."))


def log_refusal(logger: logging.Logger, method: str, route: Route | None, refusal: Refusal) -> None:
    """Say in the log what was refused: the route's rule, and neither path nor query, where senders put tokens.

    Of a sender who was not verified it says the cause as well, by the word that the counters have for it.
    """
    rule = f" {route.rule}" if route is not None else ""
    cause = getattr(refusal, "cause", "")
    told = f" ({cause})" if cause and (isinstance(refusal, Unverified) or cause != "other") else ""
    logger.info("%s%s answered %d: %s%s", method, rule, refusal.status, refusal.detail, told)


def _event(
    environ: dict[str, Any],
    route: Route,
    params: Mapping[str, str | int | float],
    address: str,
    door: Door,
    *,
    with_body: bool = True,
) -> Event:
    received_at = now()
    return Event(
        id=os.urandom(16).hex(),
        route=route.rule,
        received_at=received_at,
        method=environ["REQUEST_METHOD"].upper(),
        params=params,
        query=read_query(environ.get("QUERY_STRING", "")),
        headers=_headers(environ),
        remote_addr=address,
        body=read_body(environ, route.limit) if with_body else b"",
        url=door.url(environ) if route.signs_url else "",
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


def _no_route(app: bottle.Bottle, rest: str, challenged: Callable[[Route, Mapping[str, str]], Reply | None]) -> Reply:
    """Answer what no route takes: OPTIONS and HEAD of a path that has one, 405 for other methods of it, 404 else.

    And the challenges of a route on a method that it does not take.
    """
    routes: dict[str, Route | None] = {}
    for method in METHODS:
        try:
            # A mount prefixes the rules in the host's router, not in this app's own: `rest` is the path in it.
            found, params = app.router.match({"REQUEST_METHOD": method, "PATH_INFO": "/" + rest})
        except bottle.HTTPError:
            continue
        if found.config.get("catch_all"):
            continue
        route = routes[method] = found.config.get("relay")
        if route is not None and is_challenge_method(route, bottle.request.method):
            answer = challenged(route, params)
            if answer is not None:
                return answer
    if not routes:
        raise NotFound("There is nothing at this path.")
    allow = tuple(sorted(routes))
    if bottle.request.method == "HEAD":
        return Reply(200, {"Allow": ", ".join(allow)})
    if bottle.request.method == "OPTIONS":
        header = bottle.request.environ.get
        asked = header("HTTP_WEBHOOK_REQUEST_ORIGIN"), header("HTTP_WEBHOOK_REQUEST_RATE")
        if permitted := permission(routes.get("POST"), *asked):
            return Reply(200, [("Allow", ", ".join(allow)), *permitted])
        return Reply(204, [("Allow", ", ".join(allow)), *_preflight(routes, allow)])
    raise MethodNotAllowed(allow)


def _challenged(intake: Intake, door: Door, route: Route, params: Mapping[str, str]) -> Reply | None:
    """Answer a challenge on a method that its route does not take; no body of it is read."""
    environ = bottle.request.environ
    address = door.address(environ)
    try:
        with door.pressure.request(address):
            converted = _converted(params, bottle_rule(route.rule)[1])
            return intake.challenged(route, _event(environ, route, converted, address, door, with_body=False))
    except Refusal as refusal:
        return for_sender(_problem(refusal, route), route, environ.get("HTTP_ORIGIN"))


def _preflight(routes: Mapping[str, Route | None], allow: tuple[str, ...]) -> list[tuple[str, str]]:
    """Answer a browser that asks whether a page may send what it is about to (the Fetch standard, "CORS-preflight")."""
    header = bottle.request.environ.get
    route = routes.get(header("HTTP_ACCESS_CONTROL_REQUEST_METHOD", ""))
    if route is None or route.origins is None:
        return []
    return route.origins.preflight(header("HTTP_ORIGIN"), allow, header("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", ""))


def _base(environ: Mapping[str, Any], rule: str) -> str:
    """Give the path that the app is mounted at: a WSGI host names it, a Bottle host puts it before the rules."""
    prefix = bottle.request.route.rule.removesuffix(rule)
    # Bottle has decoded the path in the environ, and nothing else there.
    inside = prefix if environ.get("PATH_INFO", "").startswith(prefix) else ""
    return quote(_text(environ.get("SCRIPT_NAME", "").rstrip("/")) + inside)


def _text(path: str) -> str:
    """Decode a path as Bottle does (PEP 3333 hands bytes over as latin-1)."""
    return path.encode("latin-1").decode("utf-8", "ignore")
