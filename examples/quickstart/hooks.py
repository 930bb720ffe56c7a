from trafficrelay import Relay
from trafficrelay.verify import hmac_signature

relay = Relay()  # without a URL: TRAFFICRELAY_REDIS_URL, or the Valkey that `run` starts


@relay.route(
    "/hooks/<shop>",
    verify=hmac_signature("change-me", header="X-Signature"),
    job="examples.quickstart.jobs.on_hook",
    queue="hooks",
)
def hook(event):
    return {"shop": event.params["shop"], "said": event.data}
