"""What `flask rq worker` runs, in the application's context."""

from flask import current_app


def on_order(data):
    print(f"{data['shop']} sold {data['order']} for {current_app.config['SHOP_CURRENCY']}", flush=True)
