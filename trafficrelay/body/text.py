"""What is text in the end: media types, charsets, JSON, forms and queries."""

from __future__ import annotations

import codecs
import encodings
import re
from collections.abc import Iterable
from encodings.aliases import aliases
from itertools import chain
from typing import Any, Final, TypeAlias

import msgspec

from ..errors import Malformed, UnsupportedBody
from ..transform import MAX_DEPTH

MAX_FIELDS: Final = 1_000
"""How many fields a form or a query may have; parsing more costs more than any real sender needs."""

Fields: TypeAlias = dict[str, str | list[str]]
"""What a query or a form says: a key that was sent once has its value, one sent several times the list of them."""

_CHARSET: Final = re.compile(r"""(?:^|;)\s*charset\s*=\s*["']?([^\s;"']+)""", re.IGNORECASE)

_CONTAINERS: Final = frozenset({dict, list})

# A percent sign that begins no escape stands for itself.
_NO_ESCAPE: Final = re.compile(rb"%(?![0-9a-fA-F]{2})")

# An escape takes four bytes and a character on the way, so it is done piece by piece.
_AT_ONCE: Final = 16 * 1024

# Python's codecs that turn bytes into bytes; a few bytes can grow without bound in them.
_BYTES_TO_BYTES: Final = frozenset(
    {"base64_codec", "bz2_codec", "hex_codec", "mbcs", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}
)
# And those that are no charset which a sender could mean: some take quadratic time, some give surrogates.
_NO_CHARSETS: Final = frozenset({"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape", "utf_7"})
# Charsets in which other characters hold the byte of a percent sign, or it has another.
_OTHER_PERCENT: Final = frozenset(
    {
        "cp037",
        "cp1026",
        "cp1140",
        "cp273",
        "cp424",
        "cp500",
        "cp864",
        "hz",
        "iso2022_jp",
        "iso2022_jp_1",
        "iso2022_jp_2",
    }
    | {"iso2022_jp_2004", "iso2022_jp_3", "iso2022_jp_ext", "iso2022_kr", "utf_16", "utf_16_be", "utf_16_le"}
    | {"utf_32", "utf_32_be", "utf_32_le", "utf_8_sig"}
)
_UTF_8: Final = frozenset({"utf-8", "utf8"})
_CHARSETS: Final = frozenset({*aliases.values(), "utf_8_sig"}) - _BYTES_TO_BYTES - _NO_CHARSETS

decode_json: Final = msgspec.json.Decoder().decode
"""Parses JSON without a look at its depth; raises `msgspec.DecodeError`, `UnicodeError` or `RecursionError`."""


def read_query(text: str) -> Fields:
    """Read a query string as WSGI hands it over; bytes that are no UTF-8 become U+FFFD.

    Raises:
        Malformed: it has more than `MAX_FIELDS` fields.
    """
    if not text:
        return {}
    # PEP 3333 hands bytes over as latin-1; most queries are ASCII, and for them nothing changes.
    return _fields(text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "replace"), "utf-8")


def read_form(body: bytes, charset: str) -> Fields:
    """Read an URL-encoded form.

    Raises:
        Malformed: it is not in the charset, or has more than `MAX_FIELDS` fields.
        UnsupportedBody: the charset is not known.
    """
    return _fields(decoded(body, charset), known_charset(charset))


def media_type(content_type: str) -> tuple[str, str]:
    """Give a content type's name in lower case and its charset, `utf-8` unless said."""
    if not content_type:
        return "", "utf-8"
    if ";" not in content_type:
        return content_type.strip().lower(), "utf-8"
    kind, _, parameters = content_type.partition(";")
    return kind.strip().lower(), charset_of(parameters) or "utf-8"


def charset_of(parameters: str) -> str:
    """Give the charset that a content type's parameters name, in lower case; `""` if they name none."""
    charset = _CHARSET.search(parameters)
    return charset[1].lower() if charset else ""


def known_charset(charset: str) -> str:
    """Give the name under which Python knows a charset.

    Names that Python does not know are not even looked up: it would remember each of them for ever.

    Raises:
        UnsupportedBody: it is not known, or no charset.
    """
    if charset in _UTF_8:
        return "utf_8"
    name = encodings.normalize_encoding(charset).lower()
    name = aliases.get(name, name)
    if name not in _CHARSETS:
        raise UnsupportedBody("The body is in a charset that is not known here; send UTF-8.")
    return name


def decoded(body: bytes, charset: str) -> str:
    """Decode text, without its byte order mark.

    Raises:
        Malformed: it is not in the charset.
        UnsupportedBody: the charset is not known.
    """
    name = known_charset(charset)
    try:
        # Not utf_8_sig: that codec is written in Python.
        return body.removeprefix(codecs.BOM_UTF8).decode() if name == "utf_8" else body.decode(name)
    except ValueError as error:
        raise Malformed(f"The body is not in the charset that it names ({name}).") from error


def json_text(body: bytes, charset: str) -> bytes:
    """Give JSON in UTF-8 and without a byte order mark, whatever charset it came in.

    JSON is UTF-8 (RFC 8259, 8.1), where a byte order mark may be ignored: .NET senders write one.

    Raises:
        Malformed: it is not in the charset.
        UnsupportedBody: the charset is not known.
    """
    if charset in _UTF_8:
        return body.removeprefix(codecs.BOM_UTF8)
    try:
        return decoded(body, charset).encode()
    except UnicodeEncodeError as error:  # some charsets can spell lone surrogates
        raise Malformed("The body is no JSON: it holds half a character.") from error


def read_json(body: bytes, charset: str) -> Any:
    """Read a body that is one JSON text.

    Raises:
        Malformed: it is none, or nested deeper than `MAX_DEPTH` levels.
        UnsupportedBody: the charset is not known.
    """
    if not body:
        raise Malformed("The body is empty, and its content type says JSON.")
    return parsed(json_text(body, charset), "The body")


def parsed(text: bytes, what: str) -> Any:
    """Parse JSON.

    Args:
        text: the JSON, in UTF-8.
        what: what it is in an error's words: "The body", "Line 3".

    Raises:
        Malformed: it is no JSON, or nested deeper than `MAX_DEPTH` levels.
    """
    try:
        data = decode_json(text)
    except msgspec.DecodeError as error:
        raise Malformed(f"{what} is no JSON: {error}.") from error
    except UnicodeError as error:
        raise Malformed(f"{what} is no JSON: it is not in UTF-8.") from error
    except RecursionError as error:
        raise Malformed(f"{what} is nested deeper than {MAX_DEPTH} levels.") from error
    if is_deep(data, text):
        raise Malformed(f"{what} is nested deeper than {MAX_DEPTH} levels.")
    return data


def is_deep(data: Any, text: bytes) -> bool:
    """Say whether more than `MAX_DEPTH` arrays and objects lie within each other in what a text says."""
    # Brackets are counted first, which costs next to nothing and settles it for nearly all bodies.
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    level: Iterable[Any] = (data,)
    for _ in range(MAX_DEPTH + 1):
        found = [item if type(item) is list else item.values() for item in level if type(item) in _CONTAINERS]
        if not found:
            return False
        level = chain.from_iterable(found)
    return True


def _fields(text: str, charset: str) -> Fields:
    if text.count("&") >= MAX_FIELDS:
        raise Malformed(f"There are more than {MAX_FIELDS} fields.")
    found: Fields = {}
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
    """Undo what a form or a query does to a text, as `urllib.parse.unquote_plus` does with errors="replace".

    Where a character is of several bytes, one of them may be escaped and another not.
    """
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    if text.isascii():
        escaped = text.encode()
    else:
        if charset in _OTHER_PERCENT:
            charset = "utf_8"  # in which browsers escape then (WHATWG, Encoding, "get an output encoding")
        escaped = text.encode(charset, "replace")
    pieces = []
    start = 0
    while start < len(escaped):
        end = start + _AT_ONCE
        inside = escaped.rfind(b"%", end - 2, end)
        end = inside if inside >= 0 else end
        pieces.append(_unescaped(escaped[start:end]))
        start = end
    # All of the bytes and only then the characters: one may go from piece to piece, and in some charsets the second
    # byte of one is an ASCII letter.
    return b"".join(pieces).decode(charset, "replace")


def _unescaped(escaped: bytes) -> bytes:
    # Python's own escapes are undone by C, and %41 is \x41 there: ten times as fast as urllib.
    try:
        return _of_python(escaped)
    except ValueError:
        return _of_python(_NO_ESCAPE.sub(b"%25", escaped))


def _of_python(escaped: bytes) -> bytes:
    return escaped.replace(b"\\", b"\\\\").replace(b"%", b"\\x").decode("unicode_escape").encode("latin-1")
