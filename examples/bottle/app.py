"""A shop on Bottle that takes its partners' orders in under /relay/."""

import os

import bottle

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


app = bottle.Bottle()


@app.get("/")
def home():
    return "the shop's own page"


# Last: Bottle copies the relay's routes now. Both slashes are needed.
app.mount("/relay/", relay.app)
