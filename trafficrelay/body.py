"""From the bytes of a body to data, as its content type says."""

from __future__ import annotations

import codecs
import encodings
import re
from collections.abc import Iterable
from encodings.aliases import aliases
from itertools import chain
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from .errors import Malformed, UnsupportedBody
from .transform import MAX_DEPTH

MAX_FIELDS: Final = 1_000
"""How many fields a form or a query may have; parsing more costs more than any real sender needs."""

_FORM: Final = "application/x-www-form-urlencoded"
_BODILESS_METHODS: Final = frozenset({"GET", "DELETE"})
_CHARSET: Final = re.compile(r"""(?:^|;)\s*charset\s*=\s*["']?([^\s;"']+)""", re.IGNORECASE)

_CONTAINERS: Final = frozenset({dict, list})

_ASCII: Final = re.compile(r"[\x00-\x7f]+")

# Of what consists of escapes urllib takes 75 times the memory (measured), so it never gets more of a text than this.
_AT_ONCE: Final = 16 * 1024

# Python's codecs that turn bytes into bytes; a few bytes can grow without bound in them.
_BYTES_TO_BYTES: Final = frozenset(
    {"base64_codec", "bz2_codec", "hex_codec", "mbcs", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}
)
# And those that are no charset which a sender could mean: some take quadratic time, some give surrogates.
_NO_CHARSETS: Final = frozenset({"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape", "utf_7"})
_CHARSETS: Final = frozenset({*aliases.values(), "utf_8_sig"}) - _BYTES_TO_BYTES - _NO_CHARSETS


def read_query(text: str) -> dict[str, str | list[str]]:
    """Read a query string as WSGI hands it over; bytes that are no UTF-8 become U+FFFD.

    Raises:
        Malformed: it has more than `MAX_FIELDS` fields.
    """
    if not text:
        return {}
    # PEP 3333 hands bytes over as latin-1; most queries are ASCII, and for them nothing changes.
    return _fields(text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "replace"), "utf-8")


def read_data(
    body: bytes, *, method: str, content_type: str, content_encoding: str, query: dict[str, str | list[str]]
) -> Any:
    """Give what a body says.

    `application/json` and `application/*+json` give what the JSON says, forms a dict (a key that was sent once has its
    value, one that was sent several times the list of them), `text/*` a string, anything else the bytes. A request
    without a body, of GET and DELETE or without a content type, gives its query.

    Raises:
        Malformed: the body is not what its type says.
        UnsupportedBody: it is compressed, multipart, or in an unknown charset.
    """
    kind, charset = _media_type(content_type)
    if not body and (method in _BODILESS_METHODS or not kind):
        return query
    if content_encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedBody("The body is compressed; send it as it is.")
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return _json(body, charset)
    if kind == _FORM:
        return _fields(_decoded(body, charset), _known(charset))
    if kind.startswith("text/"):
        return _decoded(body, charset)
    if kind.startswith("multipart/"):
        raise UnsupportedBody("The body is multipart; send JSON or an URL-encoded form.")
    return body


def _media_type(content_type: str) -> tuple[str, str]:
    """Give a content type's name in lower case and its charset, `utf-8` unless said."""
    if not content_type:
        return "", "utf-8"
    if ";" not in content_type:
        return content_type.strip().lower(), "utf-8"
    kind, _, parameters = content_type.partition(";")
    charset = _CHARSET.search(parameters)
    return kind.strip().lower(), charset[1].lower() if charset else "utf-8"


def _known(charset: str) -> str:
    """Give the name under which Python knows a charset.

    Names that Python does not know are not even looked up: it would remember each of them for ever.
    """
    name = encodings.normalize_encoding(charset).lower()
    name = aliases.get(name, name)
    if name not in _CHARSETS:
        raise UnsupportedBody("The body is in a charset that is not known here; send UTF-8.")
    return name


def _decoded(body: bytes, charset: str) -> str:
    name = _known(charset)
    try:
        return body.decode("utf_8_sig" if name == "utf_8" else name)
    except ValueError as error:
        raise Malformed(f"The body is not in the charset that it names ({name}).") from error


def _json(body: bytes, charset: str) -> Any:
    # JSON is UTF-8 (RFC 8259, 8.1), where a byte order mark may be ignored: .NET senders write one.
    if not body:
        raise Malformed("The body is empty, and its content type says JSON.")
    source: bytes | str = body.removeprefix(codecs.BOM_UTF8) if charset == "utf-8" else _decoded(body, charset)
    try:
        data = msgspec.json.decode(source)
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is no JSON: {error}.") from error
    except UnicodeError as error:
        raise Malformed("The body is no JSON: it is not in UTF-8.") from error
    except RecursionError as error:
        raise Malformed(f"The body's JSON is nested deeper than {MAX_DEPTH} levels.") from error
    # Brackets are counted first, which costs next to nothing and settles it for nearly all bodies.
    opened = (
        source.count("[") + source.count("{") if isinstance(source, str) else source.count(b"[") + source.count(b"{")
    )
    if opened > MAX_DEPTH and _is_deep(data):
        raise Malformed(f"The body's JSON is nested deeper than {MAX_DEPTH} levels.")
    return data


def _is_deep(data: Any) -> bool:
    """Say whether more than `MAX_DEPTH` arrays and objects lie within each other."""
    level: Iterable[Any] = (data,)
    for _ in range(MAX_DEPTH + 1):
        found = [item if type(item) is list else item.values() for item in level if type(item) in _CONTAINERS]
        if not found:
            return False
        level = chain.from_iterable(found)
    return True


def _fields(text: str, charset: str) -> dict[str, str | list[str]]:
    if text.count("&") >= MAX_FIELDS:
        raise Malformed(f"There are more than {MAX_FIELDS} fields.")
    found: dict[str, str | list[str]] = {}
    for field in text.split("&"):
        if not field:
            continue
        name, _, value = field.partition("=")
        name, value = _unquoted(name, charset), _unquoted(value, charset)
        before = found.get(name)
        if before is None:
            found[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[name] = [before, value]
    return found


def _unquoted(text: str, charset: str) -> str:
    """Undo what a form or a query does to a text, as `urllib.parse.unquote_plus` does with errors="replace"."""
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    return _ASCII.sub(lambda run: _unescaped(run[0], charset), text)


def _unescaped(text: str, charset: str) -> str:
    if "%" not in text:
        return text
    escaped = text.encode()
    pieces = []
    start = 0
    while start < len(escaped):
        end = start + _AT_ONCE
        inside = escaped.rfind(b"%", end - 2, end)
        end = inside if inside >= 0 else end
        pieces.append(unquote_to_bytes(escaped[start:end]))
        start = end
    # All of the bytes and only then the characters: one may go from piece to piece, and in some charsets the second
    # byte of one is an ASCII letter.
    return b"".join(pieces).decode(charset, "replace")
