"""Relays for programs with Flask and Flask-RQ: `app.config` says where their jobs go.

Read against Flask-RQ 1.0 (`_make.make_queues`), which makes the clients of `RQ_CONNECTION` and `RQ_QUEUE_CONNECTIONS`.
"""

from __future__ import annotations

import sys
from typing import Any

from ..errors import DeclarationError
from .queues import HostQueue, HostQueues, default_or
from .relay import HostedRelay

try:
    from flask import Flask
    from flask_rq import RQ
except ImportError as error:
    raise DeclarationError(
        f"trafficrelay.hosts.flask needs Flask and Flask-RQ 1.0: pip install 'Flask-RQ>=1' ({error})."
    ) from error


def relay_from_flask(app: Flask, queue: str = "default", **options: Any) -> HostedRelay:
    """Make a relay that writes to the queues of `app.config["RQ_QUEUES"]`.

        app = Flask(__name__)
        app.config["RQ_QUEUES"] = ["default", "low"]
        RQ(app)
        relay = relay_from_flask(app)

    `flask rq worker` runs the jobs. Of an app that is made by a factory, make the relay at the top of a module all the
    same, so that workers find it there. `RQ_ASYNC` is not looked at.

    Args:
        app: the application, with Flask-RQ.
        queue: the queue whose Redis is used, and that routes go to which name none. Routes may name each queue on the
            same Redis.
        options: as for `Relay`, but for its source and serializer.

    Raises:
        DeclarationError: the application has no Flask-RQ, or no such queue.
    """
    extension = app.extensions.get("rq") if isinstance(app, Flask) else None
    if not isinstance(extension, RQ):
        raise DeclarationError("relay_from_flask takes a Flask application with Flask-RQ: say RQ(app) before.")
    with app.app_context():
        known = dict(extension.queues)

    def look(name: str) -> HostQueue:
        return HostQueue(name, client=known[name].connection, serializer=default_or(known[name].serializer))

    queues = HostQueues(known, look, main=queue, setting='app.config["RQ_QUEUES"]', maker='relay_from_flask(app, "{}")')
    return HostedRelay(queues, caller=sys._getframe(1).f_globals, options=options)
