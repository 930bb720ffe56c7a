"""A program that does something else, and takes orders in meanwhile."""

import os
import signal
import threading

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


def main():
    leave = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: leave.set())
    with relay.serve(port=int(os.environ.get("PORT", "8000"))) as server:
        print("orders go to", server.url, flush=True)
        # The program's own work goes here. What is in flight is answered before the block ends.
        leave.wait()


if __name__ == "__main__":
    main()
