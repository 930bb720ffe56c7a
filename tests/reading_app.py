"""A WSGI application that reads a body with `read_body`, for the servers of test_wsgi_servers.py.

It answers with the body, or with the refusal's status, and writes a line for each request to the file that OUTCOMES
names: its path and the status. `python -m tests.reading_app NAME` serves it where NAME has no command of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from trafficrelay.errors import Refusal
from trafficrelay.wsgi_input import read_body

LIMIT = 100_000


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    try:
        body, status = read_body(environ, LIMIT), 200
    except Refusal as refusal:
        body, status = refusal.detail.encode(), refusal.status
    with Path(os.environ["OUTCOMES"]).open("a") as outcomes:
        outcomes.write(f"{environ['PATH_INFO']} {status}\n")
    start_response(f"{status} Done", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def asgi_application() -> Any:
    from a2wsgi import WSGIMiddleware

    bridged: Any = application  # its types are narrower than WSGI
    return WSGIMiddleware(bridged)


def _say(port: int) -> None:
    print(f"127.0.0.1:{port}", flush=True)  # noqa: T201 - the test reads it


def _serve_wsgiref() -> None:
    from wsgiref.simple_server import make_server

    with make_server("127.0.0.1", 0, application) as server:
        _say(server.server_port)
        server.serve_forever()


def _serve_waitress() -> None:
    from waitress.server import create_server

    server: Any = create_server(application, host="127.0.0.1", port=0)
    _say(int(server.effective_port))
    server.run()


def _serve_cheroot() -> None:
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", 0), application)
    server.prepare()
    _say(server.bind_addr[1])
    server.serve()


if __name__ == "__main__":
    {"wsgiref": _serve_wsgiref, "waitress": _serve_waitress, "cheroot": _serve_cheroot}[sys.argv[1]]()
