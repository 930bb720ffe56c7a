"""A shop on Flask that takes its partners' orders in under /relay, with Flask-RQ's Redis and queues."""

import os

from flask import Flask
from flask_rq import RQ
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from trafficrelay import DROP
from trafficrelay.hosts.flask import relay_from_flask
from trafficrelay.verify import hmac_signature

app = Flask(__name__)
app.config["SHOP_CURRENCY"] = "EUR"
app.config["RQ_CONNECTION"] = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
app.config["RQ_QUEUES"] = ["default", "orders"]
RQ(app)

relay = relay_from_flask(app)


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


@app.get("/")
def home():
    return "the shop's own page"


app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/relay": relay.app})
