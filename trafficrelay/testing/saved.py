"""Requests in files: read, sent again, and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from ..errors import ClientError, DeclarationError
from ..event import Event
from ..rule import WILDCARD
from ..saved_request import saved_request

__tracebackhide__ = True  # pytest shows the line of the test, and not those here

SUFFIX: Final = ".http"

# What says how long the body is, which is made anew.
_LENGTHS: Final = frozenset({"content-length", "transfer-encoding"})

_PATH: Final = "/~!$&'()*+,;=:@"  # RFC 3986, 3.3


@dataclass(frozen=True, slots=True)
class SavedRequest:
    """A request as it travels.

    Attributes:
        method: its method.
        target: its path and query, as they stand in its first line.
        headers: its headers.
        body: its body, with chunks put together.
        name: the name of the file that it was read from; `""` of one that was made.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    name: str = ""

    def __str__(self) -> str:
        # What pytest calls a test by, with `ids=str`.
        return self.name or f"{self.method} {self.target}"

    @classmethod
    def read(cls, path: str | Path) -> SavedRequest:
        """Read a file: a request's first line, its header, an empty line, its body.

        Lines may end as HTTP's do or as an editor writes them; a line break that an editor put at the end, beyond
        what Content-Length says, is no part of the body.

        Raises:
            ClientError: it cannot be read, or holds no request.
        """
        path = Path(path)
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ClientError(f"The saved request {path} cannot be read: {error.strerror}.") from error
        return cls.parse(raw, name=path.name)

    @classmethod
    def parse(cls, raw: bytes, *, name: str = "") -> SavedRequest:
        """Read the bytes of a request.

        Raises:
            ClientError: they are none.
        """
        shown = name or "This"
        try:
            found = saved_request(raw)
        except DeclarationError as error:
            raise ClientError(f"{shown} is no request: {error}") from error
        if found is None:
            raise ClientError(f'{shown} is no request: its first line is not like "POST /github HTTP/1.1".')
        target = quote(found.path, safe=_PATH) + (f"?{found.query}" if found.query else "")
        headers = {key: value for key, value in found.headers.items() if key.lower() not in _LENGTHS}
        return cls(found.method, target, headers, found.body, name)

    @classmethod
    def of(cls, event: Event, *, without: Iterable[str] = ()) -> SavedRequest:
        """Make the request that an event came in, in a transform or a verifier, to be saved.

        Credentials and the signatures of known senders stay out of it: `client.send(…, signed=True)` signs it anew.

        Args:
            event: the event.
            without: names of more headers that stay out.
        """
        left_out = _LENGTHS | {name.lower() for name in without}
        path = WILDCARD.sub(lambda match: str(event.params.get(match[1], match[0])), event.route)
        query = urlencode(dict(event.query), doseq=True)
        kept = {name: value for name, value in event.headers.without_credentials().items() if name not in left_out}
        return cls(event.method, quote(path, safe=_PATH) + (f"?{query}" if query else ""), kept, event.body)

    def to_bytes(self) -> bytes:
        """Give it as it travels."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _LENGTHS}
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if self.body or self.method != "GET":
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + self.body

    def save(self, path: str | Path) -> Path:
        """Write it to a file, which `read` reads; give the file.

        Raises:
            ClientError: it cannot be written.
        """
        path = Path(path)
        try:
            path.write_bytes(self.to_bytes())
        except OSError as error:
            raise ClientError(f"The request cannot be saved as {path}: {error.strerror}.") from error
        return path


def saved_requests(folder: str | Path) -> list[SavedRequest]:
    """Read all files of a folder that end in `.http`, sorted by name.

        @pytest.mark.parametrize("saved", saved_requests("tests/requests"), ids=str)

    Raises:
        ClientError: there are none (pytest would skip the test without a word), or one cannot be read.
    """
    files = sorted(Path(folder).glob(f"*{SUFFIX}"))
    if not files:
        raise ClientError(f"There is no saved request in {Path(folder)}: no file there ends in {SUFFIX}.")
    return [SavedRequest.read(file) for file in files]


def as_saved(request: Any) -> SavedRequest:
    """Give a request, whichever way it is named: a file, its bytes, or itself.

    Raises:
        ClientError: it is none of these, or cannot be read.
    """
    if isinstance(request, SavedRequest):
        return request
    if isinstance(request, bytes):
        return SavedRequest.parse(request)
    if isinstance(request, str | Path):
        return SavedRequest.read(request)
    raise ClientError(
        f"send takes a file with a saved request, its bytes, or a SavedRequest, not {type(request).__name__}."
    )
