"""Bodies that were changed after they were signed: what they may have been."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

from ..body.compression import inflate
from ..errors import Refusal
from ..verify.body_fields import is_form
from .trial import Mistake, Trial, Variation

_LARGEST: Final = 256 * 1024
"""Bytes of JSON of which more than the most common spellings are tried: writing it takes longer than signing it."""

_LARGEST_INFLATED: Final = 16 * 1024 * 1024
_MOST_FIELDS: Final = 1_000

_RAW: Final = (
    "Hand the relay the bytes as they came: something before it, such as a gateway, a middleware or whatever saved the "
    "request, reads the body and writes it again."
)
_MARK: Final = "\ue000"
"""Stands around numbers, to keep them as they are written; for private use, so JSON of others seldom holds it."""
_NUMBER: Final = re.compile(r'"(?:\\ue000|\ue000)([-+0-9.eE]+)(?:\\ue000|\ue000)"')


def bodies(trial: Trial) -> Iterator[Variation]:
    """Give what a request's body may have been when it was signed."""
    seen = {trial.event.body}
    for name, text, body, common in _all(trial):
        if body not in seen:
            seen.add(body)
            yield Variation("body", Mistake(name, text, _RAW), trial.with_body(body), common)


def _all(trial: Trial) -> Iterator[tuple[str, str, bytes, bool]]:
    body = trial.event.body
    yield from _line_ends(body)
    yield from _inflated(trial)
    if is_form(trial.event):
        yield from _forms(body)
    yield from _json(body)
    yield from _charsets(body)
    yield "body-emptied", "What was signed is an empty body, and one came: it was added on the way.", b"", False
    wrapped = b"payload=" + quote_plus(body).encode()
    yield "body-unwrapped", "What was signed is a form with the body in its field payload.", wrapped, False


def _line_ends(body: bytes) -> Iterator[tuple[str, str, bytes, bool]]:
    lost = "The body lost the line break at its end after it was signed."
    yield "body-line-break-lost", lost, body + b"\n", True
    yield "body-line-break-lost", lost, body + b"\r\n", True
    added = "The body got a line break at its end after it was signed: editors add one when they save a file."
    yield "body-line-break-added", added, body.removesuffix(b"\n").removesuffix(b"\r"), True
    yield "body-space-added", "The body got white space at an end after it was signed.", body.strip(), False
    lines = "The body's line breaks were changed after it was signed, {}."
    unix = body.replace(b"\r\n", b"\n")
    yield "body-line-breaks", lines.format("from LF to CRLF"), unix, True
    yield "body-line-breaks", lines.format("from CRLF to LF"), unix.replace(b"\n", b"\r\n"), True
    yield (
        "body-byte-order-mark",
        "The body got a byte order mark after it was signed.",
        body.removeprefix(codecs.BOM_UTF8),
        False,
    )
    yield (
        "body-byte-order-mark",
        "The body lost its byte order mark after it was signed.",
        codecs.BOM_UTF8 + body.removeprefix(codecs.BOM_UTF8),
        False,
    )


def _inflated(trial: Trial) -> Iterator[tuple[str, str, bytes, bool]]:
    body = trial.event.body
    for coding in dict.fromkeys((trial.event.headers.get("content-encoding", ""), "gzip")):
        if coding and (coding != "gzip" or body.startswith(b"\x1f\x8b")):
            try:
                inflated = inflate(body, coding, _LARGEST_INFLATED)
            except Refusal:
                continue
            yield (
                "body-compressed",
                f"The body was signed as it is without {coding}, and came compressed.",
                inflated,
                True,
            )


def _forms(body: bytes) -> Iterator[tuple[str, str, bytes, bool]]:
    text = "The form was read and written again after it was signed{}."
    spaces = text.format(": its spaces are written in another way, + or %20")
    yield "body-form", spaces, body.replace(b"%20", b"+"), True
    yield "body-form", spaces, body.replace(b"+", b"%20"), True
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return
    for said, pairs in (("", fields), (": its fields are in another order", sorted(fields))):
        for way in (quote_plus, quote):
            yield "body-form", text.format(said), urlencode(pairs, quote_via=way, safe="").encode(), not said
            yield "body-form", text.format(said), urlencode(pairs, quote_via=way, safe="*'()!~").encode(), False


def _charsets(body: bytes) -> Iterator[tuple[str, str, bytes, bool]]:
    text = "The body's characters were encoded anew after it was signed, from {} to {}."
    for was, name, became, now in (("latin-1", "Latin-1", "utf-8", "UTF-8"), ("utf-8", "UTF-8", "latin-1", "Latin-1")):
        try:
            yield "body-charset", text.format(name, now), body.decode(became).encode(was), False
        except ValueError:
            continue


def _json(body: bytes) -> Iterator[tuple[str, str, bytes, bool]]:
    try:
        data = json.loads(body.decode("utf-8-sig"), parse_float=_marked)
    except (ValueError, RecursionError):
        return
    text = "The body is JSON that was read and written again after it was signed: it was signed {}."
    if isinstance(data, str) and _MARK not in data:
        quoted = "The body was put into a JSON string after it was signed: it was encoded twice."
        yield "body-json-twice", quoted, data.encode("utf-8", "surrogatepass"), False
    for number, (how, write) in enumerate(_SPELLINGS):
        if number and len(body) > _LARGEST:
            return
        try:
            written = _NUMBER.sub(lambda found: found[1], write(data))
        except (ValueError, RecursionError, TypeError):
            continue
        raw = written.encode("utf-8", "surrogatepass")
        yield "body-json", text.format(how), raw, number < _COMMON
        yield "body-json", text.format(f"{how} and with a line break at its end"), raw + b"\n", False
        for ways, spell in _NUMBERS:
            # As floats, where it has any: 1.50 may have been 1.5.
            spelt = _NUMBER.sub(spell, write(data))
            if spelt != written:
                yield "body-json", text.format(f"{how}, its numbers as {ways}"), spelt.encode("utf-8", "replace"), False


def _marked(text: str) -> str:
    return f"{_MARK}{text}{_MARK}"


def _spelling(how: str, **options: Any) -> tuple[str, Callable[[Any], str]]:
    return how, lambda data: json.dumps(data, **options)


def _escaped(escape: str, **options: Any) -> Callable[[Any], str]:
    def write(data: Any) -> str:
        written = json.dumps(data, **options)
        # None of these stands outside of a string.
        return re.sub(f"[{escape}]", lambda found: "\\/" if found[0] == "/" else f"\\u{ord(found[0]):04x}", written)

    return write


_TIGHT: Final[Any] = {"separators": (",", ":")}
_PLAIN: Final[Any] = {"ensure_ascii": False}
_SPELLINGS: Final[tuple[tuple[str, Callable[[Any], str]], ...]] = (
    _spelling("compact, without spaces", **_TIGHT, **_PLAIN),
    _spelling("with spaces after commas and colons", **_PLAIN),
    _spelling("compact, with all but ASCII escaped (\\u…)", **_TIGHT),
    _spelling("with spaces after commas and colons and all but ASCII escaped (\\u…)"),
    _spelling("compact, with its keys in order", **_TIGHT, **_PLAIN, sort_keys=True),
    _spelling("compact, with its keys in order and all but ASCII escaped", **_TIGHT, sort_keys=True),
    _spelling("with spaces and its keys in order", **_PLAIN, sort_keys=True),
    _spelling("with spaces, its keys in order and all but ASCII escaped", sort_keys=True),
    _spelling("on several lines, with two spaces before each", **_PLAIN, indent=2),
    _spelling("on several lines, with four spaces before each", **_PLAIN, indent=4),
    _spelling("on several lines, with a tab before each", **_PLAIN, indent="\t"),
    ("as PHP writes it, with \\/ for each slash", _escaped("/", **_TIGHT)),
    ("compact, with \\/ for each slash", _escaped("/", **_TIGHT, **_PLAIN)),
    ("as Go writes it, with <, > and & escaped", _escaped("<>&\u2028\u2029", **_TIGHT, **_PLAIN)),
    ("as Go writes it, with its keys in order", _escaped("<>&\u2028\u2029", **_TIGHT, **_PLAIN, sort_keys=True)),
)
_COMMON: Final = 4
"""How many of these, from the first on, are tried together with other mistakes."""


def _as_script(found: re.Match[str]) -> str:
    """Write a number as JavaScript does, to which 1.0 is 1."""
    value = float(found[1])
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


_NUMBERS: Final[tuple[tuple[str, Callable[[re.Match[str]], str]], ...]] = (
    ("JavaScript writes them", _as_script),
    ("Python writes them", lambda found: repr(float(found[1]))),
    ("amounts with two decimals", lambda found: f"{float(found[1]):.2f}"),
)
