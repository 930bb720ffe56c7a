"""What the shop takes in under /relay. The Redis, the queues and their defaults are those of settings.RQ_QUEUES."""

import os

from trafficrelay import DROP
from trafficrelay.hosts.django import relay_from_django
from trafficrelay.verify import hmac_signature

relay = relay_from_django()


@relay.route(
    "/orders/<shop>",
    verify=hmac_signature(os.environ.get("HOOK_SECRET", "change-me"), header="X-Signature"),
    job="shop.jobs.on_order",
    queue="orders",
)
def order(event):
    if event.data["status"] != "paid":
        return DROP
    return {"shop": event.params["shop"], "order": event.data["order"]}
