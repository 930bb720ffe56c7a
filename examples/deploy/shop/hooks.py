"""What is deployed. All that differs from place to place comes from the environment."""

import os

from trafficrelay import DROP, Relay
from trafficrelay.verify import github

relay = Relay(  # its Redis is that of TRAFFICRELAY_REDIS_URL
    spool=os.environ.get("SHOP_SPOOL"),  # a file on a disk that outlives the process; left out where there is none
    trusted_proxies=os.environ.get("SHOP_PROXIES", "").split(),  # such as "127.0.0.1 ::1"
)


@relay.route(
    "/github",
    verify=github(os.environ["GITHUB_SECRET"]),
    job="shop.jobs.on_push",
    queue="hooks",
    dedupe="header:X-GitHub-Delivery",
    retry=[10, 60, "15m"],
    failure_ttl="30d",
)
def push(event):
    if event.headers.get("X-GitHub-Event", "push") != "push":
        return DROP
    return {"repo": event.data.get("repository", {}).get("full_name"), "commits": len(event.data.get("commits", []))}
