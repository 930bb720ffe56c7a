"""Inflating bodies (RFC 9110, 8.4): in pieces, and never past a limit.

A coding's inflater is asked for no more than the limit leaves, so a body that would become a gigabyte is refused when
it has become a megabyte.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, Protocol

from ..errors import BodyTooLarge, Malformed, UnsupportedBody
from .packages import BROTLI, ZSTD, found, needed

MAX_CODINGS: Final = 2
"""How many codings a body may have been through; each more lets a sender multiply what it costs to undo them."""

MAX_MEMBERS: Final = 1_000
"""Of how many members (gzip) or frames (zstd) a body may consist. Each costs some 10 µs, however small it is; whoever
compresses in pieces (bgzip, pigz) makes them of 64 KB and more."""

MAX_WINDOW_LOG: Final = 23
"""How far back zstd may reach: 8 MB, which RFC 9659 makes the most for a body in HTTP. It is what inflating takes."""

# What is put in at a time. What is behind the end of a member is copied for each member, so it has to be little.
_PIECE: Final = 8 * 1024

# zlib's window bits, as `zlib.decompressobj` takes them.
_GZIP: Final = 31
_ZLIB: Final = 15
_RAW: Final = -15


class _Inflater(Protocol):
    """What zlib and zstd give to inflate one member with."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: Any, max_length: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Coding:
    """A content coding.

    Attributes:
        start: gives an inflater for the body.
        error: what that raises where the body is not in the coding.
        members: how many members there may be, one after the other.
    """

    start: Callable[[bytes], _Inflater]
    error: type[Exception]
    members: int = 1


class _Brotli:
    """Brotli's decompressor with the face of the others'. It takes one stream, and what follows it for an error."""

    def __init__(self, brotli: ModuleType) -> None:
        self._inner = brotli.Decompressor()
        self.unused_data = b""

    @property
    def eof(self) -> bool:
        finished: bool = self._inner.is_finished()
        return finished

    def decompress(self, data: Any, max_length: int) -> bytes:
        # The limit is where it stops to grow its buffer: it may give some more.
        given: bytes = self._inner.process(data, output_buffer_limit=max_length)
        while len(given) < max_length and not self._inner.can_accept_more_data():
            given += self._inner.process(b"", output_buffer_limit=max_length - len(given))
        return given


_DEFLATED: Final = frozenset({"gzip", "x-gzip", "deflate"})

# Of one byte again and again (zlib's technical notes: 1032:1). Of br and zstd there is no such bound.
_DEFLATE_RATIO: Final = 1032


def largest(size: int, codings: str, limit: int) -> int:
    """Give how many bytes a body may have when it is inflated.

    Args:
        size: how many it has.
        codings: the header Content-Encoding.
        limit: how many it may have at the most.
    """
    if codings.strip().lower() in _DEFLATED:
        return min(limit, size * _DEFLATE_RATIO)
    return limit


def inflate(body: bytes, codings: str, limit: int) -> bytes:
    """Undo what `Content-Encoding` says.

    Args:
        body: the body as it came.
        codings: the header, in which the coding that was applied last stands last.
        limit: how many bytes it may become.

    Raises:
        BodyTooLarge: it would become more.
        Malformed: it is cut short, is not in the coding, or something follows it.
        UnsupportedBody: a coding is not known, its package is not installed, or there are more than `MAX_CODINGS`.
    """
    names = [name for coding in codings.split(",") if (name := coding.strip().lower()) not in ("", "identity")]
    if len(names) > MAX_CODINGS:
        raise _unsupported(f"The body is compressed {len(names)} times; {MAX_CODINGS} times are the most.")
    applied = [_coding(name) for name in names]
    for number, coding in enumerate(reversed(applied), 1):
        # What was compressed twice may be larger in between than in the end, but by next to nothing.
        room = limit if number == len(applied) else limit + limit // 64 + 1024
        body = _undone(coding, body, room, limit)
    return body


def accepted() -> str:
    """Give the codings that are read here, as `Accept-Encoding` lists them."""
    names = ["gzip", "deflate"]
    names += [name for name, package in (("br", BROTLI), ("zstd", ZSTD)) if found(package)]
    return ", ".join(names)


def _coding(name: str) -> _Coding:
    make = _CODINGS.get(name)
    coding = make() if make else None
    if coding is None:
        raise _unsupported("The body is in a coding that is not read here.")
    return coding


def _gzip() -> _Coding:
    return _Coding(lambda _: zlib.decompressobj(_GZIP), zlib.error, MAX_MEMBERS)


def _deflate() -> _Coding:
    return _Coding(lambda body: zlib.decompressobj(_ZLIB if _has_zlib_header(body) else _RAW), zlib.error)


def _br() -> _Coding | None:
    brotli = needed(BROTLI)
    return _Coding(lambda _: _Brotli(brotli), brotli.error) if brotli else None


def _zstd() -> _Coding | None:
    zstd = needed(ZSTD)
    if zstd is None:
        return None
    options = {zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG}
    return _Coding(lambda _: zstd.ZstdDecompressor(options=options), zstd.ZstdError, MAX_MEMBERS)


_CODINGS: Final[Mapping[str, Callable[[], _Coding | None]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,  # RFC 9110, 8.4.1.3
    "deflate": _deflate,
    "br": _br,
    "zstd": _zstd,
}


def _undone(coding: _Coding, body: bytes, room: int, limit: int) -> bytes:
    try:
        return _inflated(coding, body, room, limit)
    except coding.error as error:
        raise Malformed("The body is not compressed as its Content-Encoding says.") from error


def _inflated(coding: _Coding, body: bytes, room: int, limit: int) -> bytes:
    view = memoryview(body)
    chunks: list[bytes] = []
    at = members = 0
    while at < len(body):
        if members == coding.members:
            raise Malformed(f"Something follows the compressed body, or it has more than {MAX_MEMBERS} members.")
        members += 1
        inflater = coding.start(body)
        while not inflater.eof:
            piece = view[at : at + _PIECE]
            if not piece:
                raise Malformed("The compressed body is cut short.")
            try:
                chunk = inflater.decompress(piece, room + 1)
            except coding.error as error:
                if members == 1:
                    raise
                raise Malformed("What follows in the compressed body is not compressed as it is.") from error
            room -= len(chunk)
            if room < 0:
                raise BodyTooLarge(limit)
            chunks.append(chunk)
            at += len(piece) - len(inflater.unused_data)
    return b"".join(chunks)


def _has_zlib_header(body: bytes) -> bool:
    """Say whether it begins as RFC 1950 says; some senders leave the header of "deflate" out."""
    return len(body) > 1 and body[0] & 0x8F == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _unsupported(detail: str) -> UnsupportedBody:
    # RFC 9110, 15.5.16: so the sender knows what to try instead.
    return UnsupportedBody(detail, headers={"Accept-Encoding": accepted()})
