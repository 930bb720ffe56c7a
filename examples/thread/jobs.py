"""What the worker runs: plain functions, nothing of trafficrelay in them."""


def on_order(data):
    print(f"{data['shop']} sold {data['order']}", flush=True)
