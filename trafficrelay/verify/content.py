"""What is signed: a template such as `"v0:{timestamp}:{body}"`, or a function where no template says it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from .body_fields import check_plain, is_form, read_field
from .message import Parts, as_sent
from .verified import malformed, missing

Make: TypeAlias = Callable[[Parts], bytes]
"""Gives what is signed."""

_PART: Final = re.compile(r"\{([a-z0-9]+)(?::([A-Za-z0-9._-]+))?\}")


@dataclass(frozen=True, slots=True)
class Content:
    """What is signed.

    Attributes:
        template: with `{body}`, `{timestamp}`, `{url}`, `{plainurl}` (with the marks of `_MARKS` unescaped),
            `{method}`, `{crc32}` (of the body, in decimal), `{params}` (of a form, sorted by their names, each name
            followed by its value), `{header:NAME}` and `{data:path.to.field}` (of the body: JSON or a form).
        headers: the headers in it, as they are written there.
        signs_body: whether all of the body is in it.
        signs_url: whether the URL is.
        timed: whether the timestamp is.
    """

    template: str
    headers: tuple[str, ...] = field(init=False, repr=False, compare=False)
    signs_body: bool = field(init=False, repr=False, compare=False)
    signs_url: bool = field(init=False, repr=False, compare=False)
    timed: bool = field(init=False, repr=False, compare=False)
    _parts: tuple[bytes | Make, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts: list[Any] = []
        at = 0
        for match in _PART.finditer(self.template):
            parts += [self.template[at : match.start()].encode(), _reader(match[1], match[2])]
            at = match.end()
        parts.append(self.template[at:].encode())
        set_ = object.__setattr__  # the dataclass is frozen; this is where it is made
        set_(self, "_parts", tuple(part for part in parts if part != b""))
        kinds = _PART.findall(self.template)
        set_(self, "headers", tuple(name for kind, name in kinds if kind == "header"))
        set_(self, "signs_body", any(kind in ("body", "crc32") for kind, _ in kinds))
        set_(self, "signs_url", any(kind in ("url", "plainurl") for kind, _ in kinds))
        set_(self, "timed", any(kind == "timestamp" for kind, _ in kinds))

    def __call__(self, parts: Parts) -> bytes:
        """Give what is signed.

        Raises:
            Unverified: a header of it is missing, or a form cannot be read.
        """
        if self.template == "{body}":
            return parts.message.body
        return b"".join([part if isinstance(part, bytes) else part(parts) for part in self._parts])

    def may_be_empty(self, method: str) -> bool:
        """Tell whether a body may be empty.

        Nothing stands between a URL and a body that are both signed: what was signed as the body could be sent as the
        end of the URL. A request that was signed as a GET never had one.
        """
        if not (self.signs_body and self.signs_url):
            return True
        return "{method}" in self.template and method in ("GET", "HEAD", "DELETE")


def _reader(kind: str, name: str | None) -> Make:
    if kind == "header" and name:
        wanted = name

        def header(parts: Parts) -> bytes:
            value = parts.message.headers.get(wanted)
            if not value:
                raise missing(wanted)
            return as_sent(value)

        return header
    if kind == "data" and name:
        path = name

        def text(parts: Parts) -> bytes:
            value = read_field(parts.message, path)
            if not isinstance(value, str | int) or isinstance(value, bool):
                raise malformed(f"The body has no {path}.")
            return str(value).encode("utf-8", "surrogatepass")

        return text
    if kind not in _READERS:
        known = ", ".join(f"{{{one}}}" for one in (*_READERS, "header:NAME", "data:PATH"))
        raise ValueError(f"{{{kind}}} is no part of a template; there are {known}")
    return _READERS[kind]


def sorted_params(parts: Parts) -> bytes:
    """Give a form's fields, sorted by name and then by value, each name followed by its value.

    Nothing of a body that is no form.
    """
    if not is_form(parts.message):
        return b""
    check_plain(parts.message)
    try:
        # Strictly: two bytes that are none of UTF-8 would both become U+FFFD, and so two bodies have one signature.
        body = parts.message.body.decode()
        pairs = parse_qsl(body, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise malformed("The form cannot be read.") from None
    return "".join(name + value for name, value in sorted(set(pairs))).encode("utf-8", "surrogatepass")


_MOST_FIELDS: Final = 1_000

# What HubSpot unescapes in a URL before it signs it, and nothing else ("Validate the v3 request signature").
_MARKS: Final = re.compile(b"%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)


def _plain_url(parts: Parts) -> bytes:
    return _MARKS.sub(lambda mark: bytes.fromhex(mark[0][1:].decode()), parts.url.encode())


_READERS: Final[dict[str, Make]] = {
    "body": lambda parts: parts.message.body,
    "timestamp": lambda parts: parts.timestamp.encode(),
    "url": lambda parts: parts.url.encode(),
    "plainurl": _plain_url,
    "method": lambda parts: parts.message.method.encode(),
    "crc32": lambda parts: str(zlib.crc32(parts.message.body)).encode(),
    "params": sorted_params,
}
