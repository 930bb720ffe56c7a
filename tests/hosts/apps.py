"""Programs of each framework with a relay under /relay, for the servers of test_hosts_servers.py.

One process holds them all and the `Host` header of a request says which one it is for: nothing else of the request is
touched, so each sees what it would see alone. `application` is for WSGI servers, `asgi_application` for ASGI ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import bottle
import django
import flask
from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from fastapi import FastAPI
from pyramid.config import Configurator
from pyramid.response import Response
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.routing import Route as StarletteRoute
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from trafficrelay import MemoryOutbox, Rejected, Relay, Reply, Route
from trafficrelay.verify import bearer

LARGEST = 1024 * 1024

WSGIApp = Callable[..., Iterable[bytes]]


def seen(event: Any) -> Reply:
    """Tell the sender what arrived, so that a test can hold it against what was sent."""
    digest = hashlib.sha256(event.body).hexdigest()
    return Reply(202, body={"params": dict(event.params), "size": len(event.body), "sha256": digest})


def refuse(event: Any) -> Any:
    raise Rejected(422, "no such shop")


def a_relay() -> Relay:
    relay = Relay(outbox=MemoryOutbox())
    routes = (
        Route("/hooks/<shop>", verify=None, job="shop.jobs.on_hook", reply=seen, max_body=LARGEST),
        Route("/größe", verify=None, job="shop.jobs.on_hook", reply=seen),
        Route("/page-script", verify=None, job="shop.jobs.on_hook", cors=["https://shop.example"], status=True),
        Route("/closed", verify=bearer("token"), job="shop.jobs.on_hook"),
        Route("/small", verify=None, job="shop.jobs.on_hook", max_body=3),
        Route("/rejected", verify=None, job="shop.jobs.on_hook", transform=refuse),
    )
    for route in routes:
        relay.add(route)
    return relay


def dispatched(host: Any) -> WSGIApp:
    return DispatcherMiddleware(host, {"/relay": a_relay().app})


def a_bottle(mount: bool) -> WSGIApp:
    host = bottle.Bottle()
    host.route("/page", "GET", lambda: "the host's page")
    if not mount:
        return dispatched(host)
    host.mount("/relay/", a_relay().app)
    return host


def a_flask() -> WSGIApp:
    host = flask.Flask("shop")
    host.add_url_rule("/page", view_func=lambda: "the host's page")
    host.wsgi_app = dispatched(host.wsgi_app)  # type: ignore[method-assign]
    return host


def a_django() -> WSGIApp:
    return dispatched(get_wsgi_application())


def a_pyramid() -> WSGIApp:
    with Configurator() as config:
        config.add_route("page", "/page")
        config.add_view(lambda request: Response("the host's page"), route_name="page")
        return dispatched(config.make_wsgi_app())


def page(request: Any) -> Any:
    return PlainTextResponse("the host's page")


def a_fastapi() -> Any:
    host = FastAPI()
    host.get("/page", response_class=PlainTextResponse)(lambda: "the host's page")
    host.mount("/relay", WSGIMiddleware(a_relay().app))
    return host


def a_starlette() -> Any:
    return Starlette(routes=[StarletteRoute("/page", page), Mount("/relay", WSGIMiddleware(a_relay().app))])


urlpatterns = [path("page", lambda request: HttpResponse("the host's page"))]
if not settings.configured:
    settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="x", ALLOWED_HOSTS=["*"], APPEND_SLASH=True)
    django.setup()

WSGI_HOSTS: dict[str, WSGIApp] = {
    "bottle-mount": a_bottle(mount=True),
    "bottle-wsgi": a_bottle(mount=False),
    "flask": a_flask(),
    "django": a_django(),
    "pyramid": a_pyramid(),
}
ASGI_HOSTS: dict[str, Any] = {"fastapi": a_fastapi(), "starlette": a_starlette()}


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    return WSGI_HOSTS[environ["HTTP_HOST"]](environ, start_response)


async def asgi_application(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        # Theirs are not needed; a server is told so by an error.
        raise NotImplementedError
    await ASGI_HOSTS[dict(scope["headers"])[b"host"].decode()](scope, receive, send)
