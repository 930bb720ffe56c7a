"""`read_body` against made-up servers; test_wsgi_servers.py asks real ones."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from trafficrelay.errors import BodyTooLarge, LengthRequired, Malformed, Refusal, RequestTimeout, UnsupportedBody
from trafficrelay.wsgi_input import read_body

LIMIT = 10


class Stream:
    """An input that gives its pieces one read at a time and counts what is asked of it."""

    def __init__(self, *pieces: bytes, end: Callable[[], bytes] = bytes) -> None:
        self.pieces = list(pieces)
        self.end = end
        self.asked = 0

    def read(self, size: int) -> bytes:
        self.asked += size
        if not self.pieces:
            return self.end()
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]


def raising(error: Exception) -> Callable[[], bytes]:
    def end() -> bytes:
        raise error

    return end


def never() -> bytes:
    raise AssertionError("read beyond the end of the body, where a real server would wait for ever")


def environ(stream: Any, **keys: Any) -> dict[str, Any]:
    return {"wsgi.input": stream, **keys}


CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked"}
TERMINATED = {"wsgi.input_terminated": True}


@pytest.mark.parametrize(
    ("stream", "keys", "body"),
    [
        pytest.param(Stream(b"hello", end=never), {"CONTENT_LENGTH": "5"}, b"hello", id="a length"),
        pytest.param(Stream(b"he", b"llo", end=never), {"CONTENT_LENGTH": "5"}, b"hello", id="a length, in pieces"),
        pytest.param(Stream(b"hellonext", end=never), {"CONTENT_LENGTH": "5"}, b"hello", id="no more than the length"),
        pytest.param(Stream(b"x" * 10, end=never), {"CONTENT_LENGTH": "10"}, b"x" * 10, id="exactly the limit"),
        pytest.param(Stream(end=never), {"CONTENT_LENGTH": "0"}, b"", id="a length of zero"),
        pytest.param(Stream(b"hello", end=never), {"CONTENT_LENGTH": "005"}, b"hello", id="leading zeros"),
        pytest.param(Stream(b"hi", end=never), {}, b"", id="neither header"),
        pytest.param(Stream(b"hi", end=never), {"CONTENT_LENGTH": ""}, b"", id="wsgiref's empty length"),
        pytest.param(Stream(b"he", b"llo"), CHUNKED | TERMINATED, b"hello", id="chunked, terminated"),
        pytest.param(Stream(b"hi"), {"HTTP_TRANSFER_ENCODING": " Chunked "} | TERMINATED, b"hi", id="any case"),
        pytest.param(Stream(b"hello"), TERMINATED, b"hello", id="terminated, header removed"),
        pytest.param(Stream(b"x" * 10), TERMINATED, b"x" * 10, id="chunked, exactly the limit"),
        pytest.param(Stream(b"hello"), CHUNKED | {"asgi.scope": {}}, b"hello", id="a2wsgi"),
        pytest.param(io.BytesIO(b"hello"), CHUNKED, b"hello", id="Starlette's buffer"),
        pytest.param(Stream(b"hello"), {"CONTENT_LENGTH": "5"} | TERMINATED, b"hello", id="waitress, dechunked"),
    ],
)
def test_body_is_read_whole(stream: Any, keys: dict[str, Any], body: bytes) -> None:
    assert read_body(environ(stream, **keys), LIMIT) == body


@pytest.mark.parametrize(
    ("stream", "keys", "refusal"),
    [
        *(
            pytest.param(Stream(b"x" * 10), {"CONTENT_LENGTH": text}, Malformed, id=f"length {text[:9]!r}")
            for text in ("-1", "+5", "1_0", "5, 5", "0x5", " 5", "5.0", "\u0665", "\u00b2", "five", "9" * 5000)
        ),
        pytest.param(Stream(end=never), {"CONTENT_LENGTH": "11"}, BodyTooLarge, id="length over the limit"),
        pytest.param(Stream(b"hell"), {"CONTENT_LENGTH": "5"}, Malformed, id="cut short"),
        pytest.param(Stream(b"x" * 11), CHUNKED | TERMINATED, BodyTooLarge, id="chunked over the limit"),
        pytest.param(Stream(b"x" * 6, b"x" * 6), TERMINATED, BodyTooLarge, id="over the limit, header removed"),
        pytest.param(Stream(b"x", end=never), CHUNKED, LengthRequired, id="wsgiref: an end that cannot be known"),
        pytest.param(Stream(b"hello"), CHUNKED | TERMINATED | {"CONTENT_LENGTH": "5"}, Malformed, id="both headers"),
        pytest.param(
            Stream(b"x"), {"HTTP_TRANSFER_ENCODING": "gzip, chunked"} | TERMINATED, UnsupportedBody, id="gzip, chunked"
        ),
        pytest.param(Stream(b"x"), {"HTTP_TRANSFER_ENCODING": "chunked, chunked"}, UnsupportedBody, id="chunked twice"),
        pytest.param(
            Stream(b"he", end=raising(TimeoutError())), {"CONTENT_LENGTH": "5"}, RequestTimeout, id="time-out"
        ),
        pytest.param(
            Stream(end=raising(OSError("timeout during read(5) on wsgi.input"))),
            {"CONTENT_LENGTH": "5"},
            RequestTimeout,
            id="uWSGI's time-out",
        ),
        pytest.param(
            Stream(end=raising(ConnectionResetError())), {"CONTENT_LENGTH": "5"}, Malformed, id="connection reset"
        ),
        pytest.param(Stream(b"he", end=raising(ValueError("Bad chunk"))), TERMINATED, Malformed, id="cheroot's chunks"),
        pytest.param(
            Stream(b"he", end=raising(type("MaxSizeExceeded", (Exception,), {})())),
            TERMINATED,
            BodyTooLarge,
            id="cheroot's own limit",
        ),
    ],
)
def test_body_that_cannot_be_taken_is_refused(stream: Any, keys: dict[str, Any], refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        read_body(environ(stream, **keys), LIMIT)


def test_no_more_than_the_limit_and_one_byte_is_asked_of_the_server() -> None:
    stream = Stream(b"x" * 1_000_000)

    with pytest.raises(BodyTooLarge):
        read_body(environ(stream, **TERMINATED), LIMIT)

    assert stream.asked <= LIMIT + 1


def test_refusal_keeps_the_servers_own_error_as_its_cause() -> None:
    error = ValueError("Bad chunk")

    with pytest.raises(Malformed) as caught:
        read_body(environ(Stream(end=raising(error)), **TERMINATED), LIMIT)

    assert caught.value.__cause__ is error
    assert "Bad chunk" not in caught.value.detail


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that exists inside a uWSGI process."""
    module = ModuleType("uwsgi")
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    return module


@pytest.mark.parametrize(("chunks", "body"), [([b"hel", b"lo", b""], b"hello"), ([b""], b"")])
def test_uwsgi_is_asked_for_chunks_until_the_empty_one(uwsgi: ModuleType, chunks: list[bytes], body: bytes) -> None:
    uwsgi.chunked_read = iter(chunks).__next__  # type: ignore[attr-defined]

    assert read_body(environ(Stream(end=never), **CHUNKED, **{"uwsgi.version": b"2.0.31"}), LIMIT) == body


def test_uwsgi_is_asked_for_no_chunk_after_the_limit(uwsgi: ModuleType) -> None:
    chunks = [b"x" * 6] * 5
    uwsgi.chunked_read = chunks.pop  # type: ignore[attr-defined]

    with pytest.raises(BodyTooLarge):
        read_body(environ(Stream(end=never), **CHUNKED, **{"uwsgi.version": b"2.0.31"}), LIMIT)

    assert len(chunks) == 3


def test_body_that_a_bottle_host_has_read_is_read_again() -> None:
    with tempfile.TemporaryFile() as kept:
        kept.write(b"hello")  # and stands at its end

        body = read_body(environ(kept, **CHUNKED, **{"bottle.request.body": kept}), LIMIT)

    assert body == b"hello"
