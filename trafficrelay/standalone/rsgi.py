"""From granian's RSGI interface to the relay's WSGI app.

Under WSGI a request whose body stalls holds its thread, so a few slow senders starve all others. Here the body is read
in the event loop, with a cap and a deadline, and the app is called when a request is there in full. Accepted events are
handed over in batches.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from wsgiref.types import WSGIEnvironment

from ..app import PUT_OFF, for_sender, log_refusal, route_of
from ..body.compression import largest
from ..door import ADMITTED, Door
from ..errors import BodyTooLarge, Failed, Malformed, OutboxError, Refusal, RequestTimeout, UnsupportedBody
from ..failures import without_words
from ..intake import refusal
from ..outbox.handover import Outbox
from ..prepared import Prepared
from ..reply import BODILESS, Reply
from ..status import PATH as STATUS_PATH
from .batches import Batches
from .bodies import MOST_BYTES, MOST_INCOMING, Bodies, throw_away

if TYPE_CHECKING:
    import bottle
    from granian.rsgi import Scope

logger = logging.getLogger("trafficrelay.standalone")

# These are about one connection, which is granian's business (PEP 3333 forbids them to apps).
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "trailer", "te"})


_TELLERS: Final = 4


class Exchange(Protocol):
    """What granian hands over to read a request's body and to answer it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Answer without a body."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer with a body; its length is put into the headers."""


class Answer(NamedTuple):
    """What goes out: a `Reply` of the relay, or what the app answered with all that servers say besides."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class RelayService:
    """The object that granian calls, once for every request.

    Args:
        app: the relay's app.
        outbox: the relay's outbox.
        door: what a request has to pass first.
        threads: in how many threads the app runs; 0 runs it in the event loop. A transform is short, and a thread for
            it costs more than it: both want the interpreter, and wait 5 ms for it when the other one is busy.
        body_timeout: seconds within which a whole body must have arrived; later is a 408.
        on_start: called when the server process listens.
        on_stop: called when the server process ends, after the last request.
    """

    def __init__(
        self,
        app: bottle.Bottle,
        outbox: Outbox,
        *,
        door: Door,
        threads: int,
        body_timeout: float,
        on_start: Callable[[], None] | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self._app = app
        self._batches = Batches(outbox)
        self._door = door
        largest: int = max((one.config["relay"].limit for one in app.routes if "relay" in one.config), default=0)
        self._bodies = Bodies(
            timeout=body_timeout,
            most_bytes=max(MOST_BYTES, 2 * largest),
            # Half of the places are for those whose body has come.
            most_incoming=MOST_INCOMING if door.max_requests is None else max(1, door.max_requests // 2),
        )
        self._on_start = on_start
        self._on_stop = on_stop
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="trafficrelay") if threads else None
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="trafficrelay-ready")
        # Who asks what became of an event may have to wait, and nobody else for him; so may a verifier.
        self._tellers = ThreadPoolExecutor(_TELLERS, thread_name_prefix="trafficrelay-status")
        self._asking: asyncio.Future[Answer] | None = None

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call `on_start` when the loop runs; granian calls this just before it listens, and then runs the loop."""
        if self._on_start is not None:
            loop.call_soon(self._on_start)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of the threads; granian calls this when every request has been answered."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        self._asker.shutdown(wait=False, cancel_futures=True)
        self._tellers.shutdown(wait=False, cancel_futures=True)
        self._batches.close()
        if self._on_stop is not None:
            self._on_stop()

    async def __rsgi__(self, scope: Scope, proto: Any) -> None:
        """Answer one request. Never raises: what goes wrong is logged and answered with a 500."""
        if scope.proto != "http":
            # Websockets are switched off in serve.py; this is for whoever mounts the service elsewhere.
            proto.close(None)
            return
        if not await self._answer(scope, proto):
            await throw_away(proto)

    async def _answer(self, scope: Scope, proto: Any) -> bool:
        """Answer a request, and say whether that is all; not if the rest of its body may still be on its way.

        granian closes a connection that has been refused once nobody can read the body any more, so nothing may keep
        `proto`, not even until the garbage collector comes. An exception that outlives its `except` would be such a
        thing; and it would keep what has been read of the body.
        """
        try:
            _send(proto, scope.method, await self._reply(scope, proto))
        except Refusal as refusal:
            _send(proto, scope.method, _closing(self._refused(scope, refusal)))
            # The first has said all that it will, the other takes too long about it.
            return isinstance(refusal, Malformed | RequestTimeout)
        except Exception as error:
            # Neither path nor query: senders put credentials into both.
            logger.error("A %s request could not be handled.\n%s", scope.method, without_words(error))
            _send(proto, scope.method, _closing(_problem(Failed())))
            return False
        return True

    async def _reply(self, scope: Scope, proto: Exchange) -> Answer:
        environ = make_environ(scope)
        coding = environ.pop("HTTP_TRANSFER_ENCODING", "")
        if coding.lower() not in ("", "chunked"):
            # Where such a body ends a proxy in front may see otherwise than granian, which undoes no other coding but
            # reads chunks. Whatever follows on this connection is not to be taken for a request.
            raise UnsupportedBody("The only Transfer-Encoding that is read is chunked.")
        route = route_of(self._app, scope.method, environ["PATH_INFO"])
        if route is None:
            environ["wsgi.input"] = io.BytesIO()
            return await self._call(environ)
        # Before the body is read, and until the event is handed over: both hold memory.
        environ[ADMITTED] = address = self._door.address(environ)
        declared = environ.get("CONTENT_LENGTH")
        self._door.pressure.enter(address)
        with self._bodies.body(self._door.pressure.leave) as body:
            if declared is not None and int(declared) > route.limit:
                raise BodyTooLarge(route.limit)
            whole = await body.read(proto, route.limit)
            if codings := environ.get("HTTP_CONTENT_ENCODING"):
                body.reserve(largest(len(whole), codings, route.limit))
            environ["wsgi.input"] = io.BytesIO(whole)
            if coding:
                environ["CONTENT_LENGTH"] = str(len(whole))
            return await self._take(environ, blocks=route.blocks)

    def _refused(self, scope: Scope, refusal: Refusal) -> Answer:
        route = route_of(self._app, scope.method, scope.path.encode().decode("latin-1"))
        log_refusal(logger, scope.method, route, refusal)
        return _answer(for_sender(Reply.problem(refusal), route, scope.headers.get("origin")))

    async def _take(self, environ: WSGIEnvironment, *, blocks: bool) -> Answer:
        put_off: list[Prepared] = []
        environ[PUT_OFF] = put_off
        answer = await self._call(environ, blocks=blocks)
        if not put_off:
            return answer
        (prepared,) = put_off
        try:
            receipts = await self._batches.accept(prepared.writing)
        except OutboxError as error:
            raise refusal(prepared.writing[0], error) from error
        if not prepared.asks:
            return _answer(prepared.answer(receipts))
        loop = asyncio.get_running_loop()
        return _answer(await loop.run_in_executor(self._tellers, prepared.answer, receipts))

    async def _call(self, environ: WSGIEnvironment, *, blocks: bool = False) -> Answer:
        path = environ["PATH_INFO"]
        if path == "/-/ready":
            return await self._ready(environ)
        # Status is asked of Redis; and a verifier may have to fetch a key.
        if blocks or path.startswith(STATUS_PATH):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._tellers, _call, self._app, environ)
        if self._executor is not None and not path.startswith("/-/"):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, _call, self._app, environ)
        return _call(self._app, environ)

    async def _ready(self, environ: WSGIEnvironment) -> Answer:
        """Ask Redis how it is, once for all who want to know meanwhile: it may take its time, and anybody may ask."""
        if self._asking is None or self._asking.done():
            loop = asyncio.get_running_loop()
            self._asking = loop.run_in_executor(self._asker, _call, self._app, environ)
        return await asyncio.shield(self._asking)


def make_environ(scope: Scope) -> WSGIEnvironment:
    """Make the WSGI environ of a request, all but `wsgi.input`.

    What granian does not hand over cannot be in it: a header whose value is not ASCII is missing, bytes of the path
    that are no UTF-8 are U+FFFD, and `%2F` in the path is a slash (measured with granian 2.8).
    """
    server_name, server_port = _split_address(scope.server)
    remote_addr, remote_port = _split_address(scope.client)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        # granian decoded the path as UTF-8; WSGI wants its bytes, each as one character.
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string.encode().decode("latin-1"),
        "SERVER_NAME": server_name,
        "SERVER_PORT": server_port,
        "SERVER_PROTOCOL": "HTTP/1.0" if scope.http_version == "1" else f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": remote_addr,
        "REMOTE_PORT": remote_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    _add_headers(environ, scope.headers.items())
    if scope.authority:
        # The request line named the host itself; it outranks the header (RFC 9112, 3.2.2).
        environ["HTTP_HOST"] = scope.authority
    return environ


def _add_headers(environ: dict[str, Any], headers: Iterable[tuple[str, str]]) -> None:
    for name, value in headers:
        # In an environ X_Hub_Signature would pose as X-Hub-Signature; nginx and gunicorn drop such headers too.
        if "_" in name:
            continue
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        glue = "; " if key == "HTTP_COOKIE" else ", "
        environ[key] = f"{environ[key]}{glue}{value}" if key in environ else value


def _split_address(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def _call(app: bottle.Bottle, environ: WSGIEnvironment) -> Answer:
    """Call the WSGI app and collect its answer. Never raises, because a thread's SystemExit would end the server."""
    try:
        return _collect(app, environ)
    except BaseException as error:
        logger.error("The app failed on a %s request.\n%s", environ["REQUEST_METHOD"], without_words(error))
        return _problem(Failed())


def _collect(app: bottle.Bottle, environ: WSGIEnvironment) -> Answer:
    started: list[tuple[int, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Callable[[bytes], object]:
        started.append((int(status.split(" ", 1)[0]), headers))
        return written.append

    chunks = app(environ, start_response)
    try:
        written.extend(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    status, headers = started[-1]
    kept = [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP]
    return Answer(status, kept, b"".join(written))


def _answer(reply: Reply) -> Answer:
    return Answer(reply.status, list(reply.headers), reply.body)


def _problem(refusal: Refusal) -> Answer:
    return _answer(Reply.problem(refusal))


def _closing(answer: Answer) -> Answer:
    # The rest of the body may still be on its way, so this connection is of no use for a next request.
    return answer._replace(headers=[*answer.headers, ("Connection", "close")])


def _send(proto: Exchange, method: str, reply: Answer) -> None:
    headers = reply.headers
    try:
        if reply.status in BODILESS or method == "HEAD":
            proto.response_empty(reply.status, headers)
            return
        # granian counts the bytes itself.
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        proto.response_bytes(reply.status, headers, reply.body)
    except Exception:
        # Nobody is left to answer to.
        logger.debug("An answer could not be sent.", exc_info=True)
