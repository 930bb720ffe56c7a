def on_hook(data):  # a plain function: the worker needs nothing of trafficrelay
    return f"{data['shop']} said {data['said']}"
