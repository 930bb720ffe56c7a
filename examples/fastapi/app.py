"""A shop on FastAPI that takes its partners' orders in under /relay."""

import os
from contextlib import asynccontextmanager

from a2wsgi import WSGIMiddleware
from fastapi import FastAPI

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


@asynccontextmanager
async def lifespan(_):
    yield
    relay.close(timeout=5)


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def home():
    return "the shop's own page"


# The relay's routes run in threads of a2wsgi's, so that the event loop does not wait for Redis.
app.mount("/relay", WSGIMiddleware(relay.app, workers=10))
