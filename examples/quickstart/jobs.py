def on_hook(data):  # a plain function: the worker needs nothing of trafficrelay
    print(f"{data['shop']} said {data['said']}")
