"""waitress, made to serve as a guest: one thread that can be ended, workers that can be counted, refusals as problems.

Everything here leans on waitress 3.0's own classes; what they do that is not wanted stands beside what replaces it.
`Server` in server.py is the face of it.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import Error

from .errors import BodyTooLarge, Failed, HeaderTooLarge, Malformed, Refusal, RequestTimeout, UnknownCoding
from .reply import Reply

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

logger: Final = logging.getLogger("trafficrelay.server")

# A request must have come in whole within this time. waitress' own time-out counts inactivity only, so a sender of one
# byte now and then would keep its connection for ever. The senders of webhooks give up after 5 to 30 s.
REQUEST_SECONDS: Final = 30.0

# A connection without a request is closed after this time.
IDLE_SECONDS: Final = 30.0

# While stopping, a request that is still coming in is waited for as long as something comes in this often.
STALLED_SECONDS: Final = 1.0

# After a refusal the rest of the request is read and thrown away for this long. Closed with bytes unread, the
# connection would be reset, and most senders of a large body would never see the 413 (RFC 9112, 9.6).
LINGER_SECONDS: Final = 2.0

# How often connections are looked at for the times above; waitress wants whole seconds.
_CLEANUP_SECONDS: Final = 5

# waitress' default is 100, and 110 idle connections then kept everyone else out (measured). Each connection takes a
# file descriptor, and one more for a large body, so half of the usual 1,024 descriptors is left to the host's program.
_MAX_CONNECTIONS: Final = 500

# Larger bodies wait in a temporary file: 500 connections hold 32 MB at most, where waitress' 512 kB would make it 250.
_BODY_IN_MEMORY: Final = 64 * 1024

# Header lines together. waitress' 256 kB is 32 times what nginx and gunicorn take for one line.
_MAX_HEADER: Final = 64 * 1024

# waitress warns of its queue on every burst of requests that is larger than its number of threads, and a program that
# has not configured logging prints warnings to its console. A burst is what the queue is for, so these messages go to a
# logger of their own that is silent until somebody sets its level.
_queue_logger: Final = logging.getLogger("trafficrelay.server.queue")
if _queue_logger.level == logging.NOTSET:
    _queue_logger.setLevel(logging.ERROR)


class _Late(Error):
    """waitress' word for a refusal; it has none for 408."""

    code = 408
    reason = "Request Timeout"


def _refusal(error: Error, max_body: int) -> Refusal:
    """The refusal that stands for an error of waitress', whose own words may quote the request and stay here."""
    match error.code:
        case 400:
            return Malformed("This is not a well-formed HTTP request.")
        case 408:
            return RequestTimeout("The request did not arrive in time.")
        case 413:
            return BodyTooLarge(max_body)
        case 431:
            return HeaderTooLarge(_MAX_HEADER)
        case 501:
            return UnknownCoding("The only Transfer-Encoding that is read is chunked.")
        case _:
            return Failed("The server failed; its log says why.")


class _ProblemTask(ErrorTask):
    """Answers a request that waitress refuses with a problem document instead of text/plain."""

    logger = logger

    def execute(self) -> None:
        channel = cast("_Channel", self.channel)
        channel.was_refused = True
        request = cast(HTTPRequestParser, self.request)
        error = cast(Error, request.error)
        refusal = _refusal(error, channel.server.max_body)
        reply = Reply.problem(refusal)
        logger.debug("Refused a request with %d: %s", reply.status, error.body)
        self.status = f"{reply.status} {refusal.title}"
        self.response_headers = [*self.response_headers, *reply.headers]
        self.set_close_on_finish()
        self.content_length = len(reply.body)
        self.write(reply.body)


class _Task(WSGITask):
    logger = logger

    def get_environment(self) -> WSGIEnvironment:
        environ = super().get_environment()
        # waitress puts the None here with which it is told to send no Server header; PEP 3333 wants a string.
        environ["SERVER_SOFTWARE"] = "trafficrelay"
        return environ


class _Parser(HTTPRequestParser):
    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        # RFC 9112, 6.3: an attempt to smuggle a request past a proxy. waitress follows the one and forgets the other.
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("both Content-Length and Transfer-Encoding")


class _Channel(HTTPChannel):
    """One connection."""

    parser_class = _Parser
    task_class = _Task
    error_task_class = _ProblemTask
    logger = logger
    server: _Listener
    requests_lock: threading.Lock  # types-waitress does not know it

    # Set by a worker before it writes the last answer of this connection.
    was_refused = False
    _linger_until: float | None = None

    # The request that is coming in, and when it was first seen.
    _incoming: HTTPRequestParser | None = None
    _incoming_since = 0.0

    def handle_close(self) -> None:
        super().handle_close()
        if self.request is not None:
            # A body that came in part may be in a temporary file, which waitress leaves open.
            self.request.close()

    def handle_write(self) -> None:
        if self.was_refused and self.close_when_flushed and not self.total_outbufs_len:
            self.close_when_flushed = False
            self._linger_until = time.time() + LINGER_SECONDS
            cast(socket.socket, self.socket).shutdown(socket.SHUT_WR)  # waitress closes the channel if this fails
        else:
            super().handle_write()

    def handle_read(self) -> None:
        if self._linger_until is None:
            super().handle_read()
        else:
            self.recv(64 * 1024)  # closes the channel at the end

    def check_time(self, now: float) -> None:
        """Close the connection if nothing comes, refuse its request if it takes too long. Runs in the loop's thread."""
        if self.requests:
            return
        if self._linger_until is not None:
            self.will_close = self.will_close or now > self._linger_until
        elif self.request is None:
            self._incoming = None
            self.will_close = self.will_close or self.last_activity < now - IDLE_SECONDS
        elif self.request is not self._incoming:
            self._incoming, self._incoming_since = self.request, now
        elif now - self._incoming_since > REQUEST_SECONDS:
            self._refuse_late()

    def _refuse_late(self) -> None:
        with self.requests_lock:
            late, self.request = self.request, None
            if late is None:
                return
            late.error = _Late("")
            late.completed = True
            self.requests = [late]
            self.server.add_task(cast(Any, self))  # types-waitress says Task; it is given channels

    def is_in_flight(self, now: float) -> bool:
        """Whether a stopping server waits for this connection: it is being answered, or still sends its request."""
        # The order counts: a worker puts its answer into the buffer before it takes the request off the list.
        if self.requests or self.total_outbufs_len:
            return True
        return self.request is not None and self.last_activity > now - STALLED_SECONDS


class _Workers(ThreadedTaskDispatcher):
    """waitress' pool of threads, with names and without losing sight of them."""

    logger = logger
    queue_logger = _queue_logger

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.started: list[threading.Thread] = []

    def start_new_thread(self, target: Callable[[int], object], thread_no: int) -> None:
        thread = threading.Thread(target=target, args=(thread_no,), name=f"{self.name}-worker-{thread_no}", daemon=True)
        self.started.append(thread)
        thread.start()


class _Listener(TcpWSGIServer):
    """The listening socket and its connections."""

    channel_class = _Channel
    logger = logger

    def __init__(
        self, app: WSGIApplication, sock: socket.socket, sockets: dict[int, Any], workers: _Workers, max_body: int
    ) -> None:
        self.max_body = max_body
        # A worker that outlives stop() must not write into a descriptor that has become another file by then.
        self._trigger_lock = threading.Lock()
        self._trigger_closed = False
        sockinfo = (sock.family, sock.type, sock.proto, sock.getsockname())
        settings = _settings(sock, max_body)
        super().__init__(
            app, sockets, _sock=sock, dispatcher=workers, adj=settings, sockinfo=sockinfo, bind_socket=False
        )

    @property
    def channels(self) -> list[_Channel]:
        # types-waitress takes this dictionary, by file descriptor, for a channel.
        return list(cast("dict[int, _Channel]", self.active_channels).values())

    def maintenance(self, now: float) -> None:
        for channel in self.channels:
            channel.check_time(now)

    def pull_trigger(self) -> None:
        """Wake the loop. Called by every worker after every request."""
        with self._trigger_lock:
            if not self._trigger_closed:
                super().pull_trigger()

    def accept_waiting(self) -> None:
        """Accept what the kernel has accepted already; closing the socket would reset these connections."""
        before = -1
        while before != len(self.channels) < _MAX_CONNECTIONS:
            before = len(self.channels)
            self.handle_accept()

    def stop_accepting(self) -> None:
        """Close the listening socket alone; waitress' close() closes the trigger too, which workers still use."""
        wasyncore.dispatcher.close(self)

    def close_trigger(self) -> None:
        with self._trigger_lock:
            self._trigger_closed = True
            cast(Any, self.trigger).close()


def _settings(sock: socket.socket, max_body: int) -> Adjustments:
    return Adjustments(
        sockets=[sock],
        server_name=str(sock.getsockname()[0]),
        # No Server header that tells attackers what to try.
        ident=None,
        # Nobody has said which proxy to trust, so no sender passes for one: X-Forwarded-* and Forwarded are removed.
        # The relay decides whose X-Forwarded-For counts.
        clear_untrusted_proxy_headers=False,
        # waitress holds the body before the application sees it. The application's own limit is the exact one; this
        # one also counts the framing of chunks, which in small chunks is more than what they hold.
        max_request_body_size=2 * max_body + 64 * 1024,
        max_request_header_size=_MAX_HEADER,
        inbuf_overflow=_BODY_IN_MEMORY,
        connection_limit=_MAX_CONNECTIONS,
        cleanup_interval=_CLEANUP_SECONDS,
        # A sender that hangs up is no error of the host's.
        log_socket_errors=False,
    )


class WaitressLoop:
    """A WSGI server in threads of its own, from its making to `stop()`; it serves once.

    Args:
        app: the WSGI application.
        sock: a bound socket; it belongs to the loop from here on.
        threads: how many requests are worked on at once.
        max_body: bytes; about twice this much of a body is taken before waitress refuses it.
        name: what the threads' names begin with.
    """

    def __init__(self, app: WSGIApplication, sock: socket.socket, *, threads: int, max_body: int, name: str) -> None:
        # By file descriptor: what poll() looks at.
        self._sockets: dict[int, Any] = {}
        self._workers = _Workers(name)
        self._stopping = threading.Event()
        self._deadline = 0.0
        self._unanswered = 0
        try:
            self._listener = _Listener(app, sock, self._sockets, self._workers, max_body)
        except BaseException:
            wasyncore.close_all(self._sockets, ignore_all=True)
            sock.close()
            raise
        self._workers.set_thread_count(threads)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> list[str]:
        """Answer what is in flight, close everything, end the threads.

        Args:
            timeout: seconds for all of it; connections and threads that are busy after it are given up.

        Returns:
            What was left, in words; empty when everything ended in time.
        """
        self._deadline = time.monotonic() + timeout
        self._stopping.set()
        self._listener.pull_trigger()
        # The loop keeps to the deadline by itself; the second is for closing what it gave up.
        _join([self._thread, *self._workers.started], self._deadline + 1.0)
        left = [f"thread {thread.name} still running" for thread in self._workers.started if _is_other(thread)]
        if self._unanswered:
            left.insert(0, f"{self._unanswered} requests unanswered")
        return left

    def abandon(self) -> None:
        """Close this process' copies of all sockets, in a child that a fork made: the threads are not in it.

        Takes no lock, for a thread that held one is not there to release it. The parent's sockets are not touched.
        """
        cast(Any, self._listener.trigger).close()
        for item in list(self._sockets.values()):
            wasyncore.dispatcher.close(item)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn(1.0)
            self._drain()
        finally:
            self._close()

    def _turn(self, seconds: float) -> None:
        """Wait for the sockets and serve those that are ready."""
        try:
            # poll(), since select() fails on descriptors above 1023, which a large host reaches.
            wasyncore.loop(timeout=seconds, use_poll=True, map=self._sockets, count=1)
        except Exception:
            # A loop that ended here would leave the host with a server that is up and does not answer.
            logger.exception("The server's loop met an error and goes on.")
            time.sleep(0.1)

    def _drain(self) -> None:
        self._listener.accept_waiting()
        self._listener.stop_accepting()
        self._turn(0.0)  # what has arrived by now counts as in flight
        while time.monotonic() < self._deadline:
            now = time.time()  # waitress' clock for last_activity
            for channel in self._listener.channels:
                if not channel.is_in_flight(now):
                    channel.handle_close()
            if not self._listener.channels:
                return
            self._turn(0.05)

    def _close(self) -> None:
        channels = self._listener.channels
        self._unanswered = sum(len(channel.requests) for channel in channels)
        self._workers.set_thread_count(0)
        for channel in channels:
            channel.handle_close()
        self._listener.stop_accepting()
        self._listener.close_trigger()


def _is_other(thread: threading.Thread) -> bool:
    return thread.is_alive() and thread is not threading.current_thread()


def _join(threads: list[threading.Thread], deadline: float) -> None:
    for thread in threads:
        if _is_other(thread):  # an application may stop the server that runs it; a thread cannot wait for itself
            thread.join(max(0.0, deadline - time.monotonic()))
