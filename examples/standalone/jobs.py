"""What the worker runs: plain functions, nothing of trafficrelay in them."""


def on_order(data):
    print(f"{data['request']['params']['shop']} sold {data.get('order', 'something')}", flush=True)
