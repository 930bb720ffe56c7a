"""A real HTTP server on loopback that answers as it is told and remembers what it was sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from trafficrelay.event import Headers


@dataclass(frozen=True)
class Received:
    """A request that came."""

    method: str
    path: str
    headers: Headers
    body: bytes
    peer: tuple[str, int]


@dataclass
class Answer:
    """What is answered; or, with `drop`, that the connection is closed in its place."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"thanks"
    before: Callable[[], Any] = lambda: None
    drop: bool = False


class Receiver:
    """What came, and what is answered next; the last answer holds for all further requests."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[Received] = []
        self._answers: list[Answer | Callable[[Received], Answer]] = [Answer()]
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, *answers: Answer | int | Callable[[Received], Answer]) -> None:
        with self._lock:
            self._answers = [Answer(one) if isinstance(one, int) else one for one in answers]

    def take(self, request: Received) -> Answer:
        with self._lock:
            self.requests.append(request)
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer(request) if callable(answer) else answer


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = Headers(dict(self.headers.items()))
            answer = receiver.take(Received(self.command, self.path, headers, body, self.client_address))
            answer.before()
            if answer.drop:
                self.close_connection = True
                return
            try:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)
            except OSError:
                self.close_connection = True  # the other end did not wait

        do_POST = do_PUT = do_PATCH = do_GET = _take  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # connections that the other end broke off

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
