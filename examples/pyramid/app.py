"""A shop on Pyramid that takes its partners' orders in under /relay."""

import os

from pyramid.config import Configurator
from pyramid.response import Response
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from trafficrelay import DROP, Relay
from trafficrelay.verify import hmac_signature

relay = Relay(os.environ.get("REDIS_URL", "redis://localhost:6379/0"))


@relay.route(
    "/orders/<shop>",
    verify=hmac_signature(os.environ.get("HOOK_SECRET", "change-me"), header="X-Signature"),
    job="jobs.on_order",
    queue="orders",
)
def order(event):
    if event.data["status"] != "paid":
        return DROP
    return {"shop": event.params["shop"], "order": event.data["order"]}


def home(_):
    return Response("the shop's own page")


def main(_=None, **settings):
    with Configurator(settings=settings) as config:
        config.add_route("home", "/")
        config.add_view(home, route_name="home")
        return DispatcherMiddleware(config.make_wsgi_app(), {"/relay": relay.app})


app = main()
