"""Reads a request's body from `wsgi.input`, under whichever WSGI server the relay runs.

WSGI (PEP 3333) knows only bodies with a Content-Length. For a chunked body each server does something of its own; what
this module relies on was seen with waitress 3.0, gunicorn 27, cheroot 11.1, granian 2.8, uWSGI 2.0.31, a2wsgi 1.10
under uvicorn 0.54, and wsgiref of Python 3.11.
"""

from __future__ import annotations

import importlib
import io
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Final

from .errors import BodyTooLarge, LengthRequired, Malformed, Refusal, RequestTimeout, UnsupportedBody

# Large enough for few calls, small enough that a body near the limit is never held twice.
_PIECE: Final = 64 * 1024

# An exabyte. int() itself refuses more than 4,300 digits with a ValueError.
_MAX_DIGITS: Final = 18

# Where Bottle keeps a body that a hook of the program that the relay is mounted in has read; it is `wsgi.input` then.
_READ_BY_BOTTLE: Final = "bottle.request.body"


def read_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """Read the whole request body.

    Args:
        environ: the WSGI environment. Its `wsgi.input` is read from where it stands.
        limit: the largest body that is taken, in bytes. At most one byte more is asked of the server.

    Returns:
        The body, with chunks put together; `b""` where the request has none.

    Raises:
        Malformed: Content-Length is no number or comes with Transfer-Encoding, the body ends early, or the server
            cannot read it.
        RequestTimeout: the server gave up waiting for the body.
        LengthRequired: the body is chunked and this server does not say where it ends.
        BodyTooLarge: it is longer than `limit`; nothing was read where Content-Length says so.
        UnsupportedBody: Transfer-Encoding is something else than `chunked`.
    """
    length = _content_length(environ)
    coding = environ.get("HTTP_TRANSFER_ENCODING", "").strip().lower()
    if coding and length is not None:
        # RFC 9112, 6.3: this ought to be handled as an error, since a proxy may have followed the one and the server
        # the other. The RFC also lets a server follow Transfer-Encoding and close the connection, which no WSGI
        # application can do.
        raise Malformed("The request has both Content-Length and Transfer-Encoding.")
    if coding not in ("", "chunked"):
        # gunicorn, granian and uWSGI hand over `gzip, chunked` without undoing the compression.
        raise UnsupportedBody("The only Transfer-Encoding that is read is chunked.")
    if length is not None:
        return _read_length(environ, length, limit)
    if _ends_by_itself(environ):
        # Without either header too: waitress has removed Transfer-Encoding by now, and HTTP/2 needs no length.
        return _read_all(_reader(environ), limit)
    if not coding:
        return b""
    if "uwsgi.version" in environ:
        return _read_all(_uwsgi_reader(), limit)
    # The bytes would still be in chunks, and reading beyond the last one waits for ever.
    raise LengthRequired("This server does not take chunked bodies; send the body with a Content-Length.")


def _content_length(environ: Mapping[str, Any]) -> int | None:
    text = environ.get("CONTENT_LENGTH")
    if not text:  # PEP 3333 allows "" for a header that was not sent, and wsgiref does that
        return None
    # RFC 9110, 8.6: 1*DIGIT. int() alone would take "+5", "1_0" and the digits of other scripts.
    if not (text.isascii() and text.isdigit()):
        raise Malformed("Content-Length is not a number.")
    if len(text) > _MAX_DIGITS:
        raise Malformed("Content-Length has too many digits.")
    return int(text)


def _read_length(environ: Mapping[str, Any], length: int, limit: int) -> bytes:
    if length > limit:
        raise BodyTooLarge(limit)
    body = _read_up_to(_reader(environ), length, limit)
    if len(body) < length:
        raise Malformed(f"The body ended after {len(body)} of {length} bytes.")
    return body


def _read_all(read: Callable[[int], bytes], limit: int) -> bytes:
    body = _read_up_to(read, limit + 1, limit)
    if len(body) > limit:
        raise BodyTooLarge(limit)
    return body


def _read_up_to(read: Callable[[int], bytes], count: int, limit: int) -> bytes:
    body = bytearray()
    while len(body) < count:
        try:
            piece = read(min(_PIECE, count - len(body)))
        except Exception as error:  # each server has exceptions of its own, some straight from Exception
            raise _refusal(error, limit) from error
        if not piece:
            break
        body += piece
    return bytes(body)


def _refusal(error: Exception, limit: int) -> Refusal:
    """What the sender is told of an error that the server raised while it read the body."""
    # uWSGI raises a plain OSError("timeout during read(5) on wsgi.input").
    if isinstance(error, TimeoutError) or (isinstance(error, OSError) and str(error).startswith("timeout")):
        return RequestTimeout("The body did not arrive in time.")
    # cheroot's, by its name: it is met only where cheroot runs, and cheroot is not imported for it.
    if type(error).__name__ == "MaxSizeExceeded":
        return BodyTooLarge(limit)
    return Malformed("The body could not be read; it is cut short or not well-formed.")


def _ends_by_itself(environ: Mapping[str, Any]) -> bool:
    """Whether reading beyond the body gives `b""` instead of waiting or reading the next request."""
    if environ.get("wsgi.input_terminated"):
        return True
    # a2wsgi says nothing, but its input is fed by ASGI messages, the last of which says that it is the last.
    if "asgi.scope" in environ or _READ_BY_BOTTLE in environ:
        return True
    # Starlette and asgiref read the whole body before they call a WSGI application.
    return isinstance(environ.get("wsgi.input"), (io.BytesIO, tempfile.SpooledTemporaryFile))


def _reader(environ: Mapping[str, Any]) -> Callable[[int], bytes]:
    stream = environ["wsgi.input"]
    if _READ_BY_BOTTLE in environ:
        stream.seek(0)
    elif "asgi.scope" in environ:
        _refuse_disconnect(stream)
    read: Callable[[int], bytes] = stream.read
    return read


def _refuse_disconnect(stream: Any) -> None:
    """Make a2wsgi's input raise when the client goes away, where it would pass off what has come as the whole body."""
    receive = getattr(stream, "receive", None)
    if receive is None:
        return

    async def receive_or_raise() -> Any:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionAbortedError("The client closed the connection before its body was complete.")
        return message

    stream.receive = receive_or_raise


def _uwsgi_reader() -> Callable[[int], bytes]:
    # This module exists only inside a uWSGI process. It gives one chunk at a time, whatever size is asked for, each of
    # at most `chunked-input-limit` bytes (1 MB unless uWSGI is told otherwise).
    chunked_read: Callable[[], bytes] = importlib.import_module("uwsgi").chunked_read
    return lambda _size: chunked_read()
