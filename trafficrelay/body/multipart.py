"""multipart/form-data (RFC 7578): fields as text, files as bytes with their name and type, all of it in memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from ..errors import Malformed, UnsupportedBody
from .packages import MULTIPART, needed
from .text import MAX_FIELDS, charset_of, decoded

# Some 4 KB, the most that browsers send; and RFC 7578 knows three headers.
_MAX_HEADER: Final = 4096 + 128
_MAX_HEADERS: Final = 8

# RFC 2046, 5.1.1, has at most 70 characters, of which none needs more than to be printed.
_BOUNDARY: Final = re.compile(
    r"""(?:^|;)\s*boundary\s*=\s*(?:"([ !#-\[\]-~]{1,200})"|([!#-:<-~]{1,200})\s*(?:;|$))""", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a body.

    Attributes:
        name: its field's name.
        filename: the file's name as its sender says it, without a path; `None` if it has none.
        content_type: its type in lower case, without parameters; `""` if it has none.
        charset: the charset that it names, `""` if none.
        content: its bytes.
    """

    name: str
    filename: str | None
    content_type: str
    charset: str
    content: bytes

    @property
    def is_file(self) -> bool:
        """Whether it stays bytes: it has a file name, or is neither text nor JSON."""
        if self.filename is not None:
            return True
        kind = self.content_type
        return bool(kind) and not (kind.startswith("text/") or kind.endswith(("/json", "+json")))

    def as_file(self) -> dict[str, Any]:
        return {
            "filename": self.filename or "",
            "content_type": self.content_type or "application/octet-stream",
            "content": self.content,
        }


def read_multipart(body: bytes, content_type: str) -> dict[str, Any]:
    """Read a body of multipart/form-data.

    A field is a string and a file `{"filename": …, "content_type": …, "content": bytes}`; what was sent several times
    under one name is the list of them. Text is in the charset that its part names, or the field `_charset_` (RFC 7578,
    4.6), or the body's type; else UTF-8.

    Args:
        body: the body.
        content_type: the header, which names the boundary.

    Raises:
        Malformed: it has no end, or is otherwise broken; has more than `MAX_FIELDS` parts, or headers that are too
            large; or a field is not in its charset.
        UnsupportedBody: it is another kind of multipart, a charset is not known, or the package is not installed.
    """
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        raise UnsupportedBody("Of the multipart types only multipart/form-data is read.")
    module = needed(MULTIPART)
    if module is None:
        raise UnsupportedBody("Multipart bodies are not read here; send JSON or an URL-encoded form.")
    boundary = _BOUNDARY.search(parameters)
    if boundary is None:
        raise Malformed("The body's type is multipart, but names no boundary.")
    parts = _parts(module, body, boundary[1] or boundary[2])
    usual = charset_of(parameters) or "utf-8"
    for part in parts:
        if part.name == "_charset_" and not part.is_file:
            usual = part.content.decode("latin-1").strip().lower() or usual
    found: dict[str, Any] = {}
    for part in parts:
        value = part.as_file() if part.is_file else decoded(part.content, part.charset or usual)
        before = found.get(part.name)
        if before is None:
            found[part.name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[part.name] = [before, value]
    return found


def _parts(module: ModuleType, body: bytes, boundary: str) -> list[_Part]:
    # The parser that only parses: the package's others put what is large into temporary files.
    parser = module.PushMultipartParser(
        boundary,
        max_header_size=_MAX_HEADER,
        max_header_count=_MAX_HEADERS,
        max_segment_count=MAX_FIELDS,
    )
    parts: list[_Part] = []
    segment: Any = None
    content: list[bytes | bytearray] = []
    try:
        with parser:
            for found in parser.parse(body) if body else ():
                if found is None:
                    parts.append(_part(segment, b"".join(content)))
                elif isinstance(found, bytes | bytearray):  # the one since 2.0, the other before
                    content.append(found)
                else:
                    segment, content = found, []
    except module.ParserLimitReached as error:
        raise Malformed(f"The body has more than {MAX_FIELDS} parts, or a part's header is too large.") from error
    except module.MultipartError as error:
        raise Malformed("The body is no multipart/form-data: it has no end, or a part of it is broken.") from error
    return parts


def _part(segment: Any, content: bytes) -> _Part:
    name = segment.filename
    return _Part(
        name=segment.name or "",
        # RFC 7578, 4.2: a path in the name is to be dropped.
        filename=None if name is None else re.split(r"[/\\]", name)[-1],
        content_type=segment.content_type or "",
        charset=(segment.charset or "").strip().lower(),
        content=content,
    )
