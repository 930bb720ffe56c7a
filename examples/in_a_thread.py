"""A program that takes webhooks in while it does something else. It needs a Redis and `trafficrelay[serve]`.

TRAFFICRELAY_REDIS_URL=redis://localhost:6379/0 python -m examples.in_a_thread
"""

import urllib.request

from trafficrelay import Relay, Route

relay = Relay()
relay.add(Route("/beacon", verify=None, methods=["GET"], job="examples.mounted.jobs.on_beacon", reply="pixel"))


def main():
    with relay.serve(port=0) as server:
        print("listening on", server.url)
        # The program's own work goes here. This one sends itself a beacon.
        with urllib.request.urlopen(f"{server.url}/beacon?page=home") as response:
            print(response.status, response.headers["Content-Type"])


if __name__ == "__main__":
    main()
