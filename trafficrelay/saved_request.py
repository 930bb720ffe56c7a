"""A request that was saved as it travels: its first line, its header, an empty line, its body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from .errors import DeclarationError

_LINE_END: Final = re.compile(rb"\r?\n")
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")
_MAX_DIGITS: Final = 18
"""Of a length: int() refuses more than 4,300."""
_FIRST_LINE: Final = re.compile(rb"([A-Z]{3,7}) (\S+) HTTP/[0-9.]+\r?\n")
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{1,15}")
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")  # RFC 9112, 5


@dataclass(frozen=True, slots=True)
class SavedRequest:
    """A request, read from a file.

    Attributes:
        method: its method.
        path: its path, decoded.
        query: its query string, as it was sent.
        headers: its headers; one that was sent several times has its values joined by a comma.
        body: its body, with chunks put together.
        target: what its first line asks for, path and query, as it was sent: some senders sign that.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    target: str = field(default="", repr=False)


def saved_request(raw: bytes) -> SavedRequest | None:
    """Read a saved request; `None` if it does not begin as one, and so is a body alone.

    Lines may end as HTTP's do or as an editor writes them. What stands after the length that the header gives is no
    part of the body: editors end files with a line break.

    Raises:
        DeclarationError: a line of the header is none, or the body is shorter than the header says.
    """
    first = _FIRST_LINE.match(raw)
    if first is None:
        return None
    end = _HEADER_END.search(raw, first.end() - 2)
    head, body = (raw[first.end() :], b"") if end is None else (raw[first.end() : end.start()], raw[end.end() :])
    headers: dict[str, str] = {}
    # Not str.splitlines, which ends a line at \x85 too: UTF-8 has that in the midst of letters.
    for number, line in enumerate(_LINE_END.split(head.rstrip(b"\r\n")) if head.strip() else (), 2):
        header = _HEADER.fullmatch(line.decode("latin-1"))
        if header is None:
            raise DeclarationError(f"Line {number} of the saved request is no header. An empty line ends the header.")
        name = header[1].lower()
        headers[name] = f"{headers[name]}, {header[2]}" if name in headers else header[2]
    try:
        target = urlsplit(first[2].decode("latin-1"))
    except ValueError:
        raise DeclarationError("The first line of the saved request holds no path.") from None
    return SavedRequest(
        method=first[1].decode("ascii"),
        path=unquote(target.path) or "/",
        query=target.query,
        headers=headers,
        body=_body(headers, body),
        target=first[2].decode("latin-1"),
    )


def _body(headers: dict[str, str], body: bytes) -> bytes:
    if headers.get("transfer-encoding", "").strip().lower() == "chunked":
        del headers["transfer-encoding"]
        return _put_together(body)
    length = headers.get("content-length", "")
    if not length.isdecimal() or len(length) > _MAX_DIGITS:
        return body
    if len(body) < int(length):
        raise DeclarationError(
            f"The saved request has {len(body):,} bytes of a body, and its Content-Length says {int(length):,}."
        )
    return body[: int(length)]


def _put_together(body: bytes) -> bytes:
    whole, rest = b"", body
    while True:
        size, _, rest = rest.partition(b"\n")
        digits = size.partition(b";")[0].strip()
        length = int(digits, 16) if _HEX.fullmatch(digits) else -1
        if length < 0 or len(rest) < length:
            raise DeclarationError("The saved request is chunked, and its chunks cannot be read.")
        if not length:
            return whole
        whole, rest = whole + rest[:length], rest[length:].removeprefix(b"\r").removeprefix(b"\n")
