"""Bodies of many items: JSON arrays, NDJSON, and which bytes of the body each item is."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from ..errors import Malformed, TooManyItems
from ..transform import MAX_DEPTH, MAX_ITEMS
from .text import decode_json, is_deep, json_text, parsed

NDJSON: Final = frozenset(
    {
        "application/jsonl",
        "application/jsonlines",
        "application/ndjson",
        "application/x-jsonl",
        "application/x-jsonlines",
        "application/x-ndjson",
    }
)
"""The types of newline-delimited JSON. None of them is registered, so there are many."""

_decode_slices: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode

_POSITION: Final = re.compile(r"\(byte (\d+)\)")
# How far it is looked for the item at fault, which takes 0.3 s for a megabyte of brackets.
_LOOKED_THROUGH: Final = 64 * 1024

# A string that is not closed goes to the end: looking for its end again from each quote in it would be quadratic.
_MARKS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{},]', re.DOTALL)


def read_lines(body: bytes, charset: str) -> list[Any]:
    """Read NDJSON. Blank lines are skipped.

    Raises:
        Malformed: a line, whose number it says, is no JSON or nested too deep.
        UnsupportedBody: the charset is not known.
    """
    return _all_parsed(_lines(json_text(body, charset)), "Line")


def split_lines(body: bytes, charset: str) -> list[tuple[bytes, Any]]:
    """Read NDJSON and give each line's bytes with what they say.

    Raises:
        Malformed: a line, whose number it says, is no JSON, nested too deep, or null.
        UnsupportedBody: the charset is not known.
        TooManyItems: there are more than `MAX_ITEMS` lines.
    """
    lines = list(islice(_lines(json_text(body, charset)), MAX_ITEMS + 1))
    if len(lines) > MAX_ITEMS:
        raise TooManyItems(MAX_ITEMS)
    return _all_said(lines, "Line")


def split_array(body: bytes, charset: str) -> list[tuple[bytes, Any]] | None:
    """Read JSON and give each item's bytes with what they say; `None` if it is no array.

    Raises:
        Malformed: it is no JSON, or an item, whose number it says, is nested too deep or null.
        TooManyItems: it has more than `MAX_ITEMS` items.
        UnsupportedBody: the charset is not known.
    """
    text = json_text(body, charset)
    try:
        slices = _decode_slices(text)
    except msgspec.ValidationError:
        return None
    except msgspec.DecodeError as error:
        raise Malformed(f"{_place(text, str(error))} is no JSON: {error}.") from error
    except RecursionError as error:
        raise Malformed(f"The body is nested deeper than {MAX_DEPTH} levels.") from error
    if len(slices) > MAX_ITEMS:
        raise TooManyItems(MAX_ITEMS)
    return _all_said([(number, bytes(one)) for number, one in enumerate(slices, 1)], "Item")


def _all_said(items: list[tuple[int, bytes]], what: str) -> list[tuple[bytes, Any]]:
    """Give each item's bytes with what they say, which must be something."""
    found = []
    for (number, item), data in zip(items, _all_parsed(items, what), strict=True):
        if data is None:
            raise Malformed(f"{what} {number} is null, which is no event.")
        found.append((item, data))
    return found


def _all_parsed(items: Iterable[tuple[int, bytes]], what: str) -> list[Any]:
    """Parse numbered pieces of JSON; `what` is what an error calls one."""
    found: list[Any] = []
    number, item = 0, b""
    # There may be half a million, so as little as can be is done for each.
    try:
        for number, item in items:
            found.append(decode_json(item))
            if len(item) > MAX_DEPTH and is_deep(found[-1], item):
                raise Malformed(f"{what} {number} is nested deeper than {MAX_DEPTH} levels.")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        parsed(item, f"{what} {number}")
        raise
    return found


def _place(text: bytes, words: str) -> str:
    """Say in which item of an array the position lies that an error's words name, if it is not far in."""
    position = _POSITION.search(words)
    end = int(position[1]) if position else 0
    number, depth = 1, 0
    for mark in _MARKS.finditer(text, 0, end) if end <= _LOOKED_THROUGH else ():
        byte = mark[0]
        if byte in (b"[", b"{"):
            depth += 1
        elif byte in (b"]", b"}"):
            depth -= 1
        elif byte == b",":
            number += depth == 1
    return f"Item {number}" if depth else "The body"


def _lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the lines that are not blank, each with its number."""
    # Not split(): of a body of short lines that would take thirty times its size.
    for number, whole in enumerate(io.BytesIO(text), 1):
        if line := whole.strip():
            yield number, line
