"""A Bottle program that has a relay under /relay/. It needs a Redis; see the lines at the end.

TRAFFICRELAY_REDIS_URL=redis://localhost:6379/0 python -m examples.mounted.host
rq worker events
curl -d 'celsius=21&celsius=22.5' localhost:8000/relay/devices/7
"""

import bottle

from trafficrelay import DROP, Relay

relay = Relay()


@relay.route("/devices/<device:int>", verify=None, job="examples.mounted.jobs.on_reading", queue="events")
def reading(event):
    celsius = event.data.get("celsius")
    if celsius is None:
        return DROP
    # A form's key that was sent once has its value, one that was sent several times a list.
    readings = celsius if isinstance(celsius, list) else [celsius]
    return {"device": event.params["device"], "celsius": [float(reading) for reading in readings]}


host = bottle.Bottle()


@host.route("/")
def home():
    return "the host's own page"


if __name__ == "__main__":
    host.mount("/relay/", relay.app)
    bottle.run(host, host="127.0.0.1", port=8000)
