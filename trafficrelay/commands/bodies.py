"""Bodies that lie in files, and what they are."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from ..body.text import decode_json
from ..errors import DeclarationError

_TYPES: Final = {
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".txt": "text/plain",
}
_FORM: Final = re.compile(rb"[^\s=&]+=[^\s&]*(&[^\s=&]+=[^\s&]*)*\s*")
_MOST_LINES: Final = 3
"""Lines of NDJSON that are looked at."""


def read_file(file: str) -> bytes:
    """Read the file that was named; `-` for stdin.

    Raises:
        DeclarationError: it cannot be read.
    """
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise DeclarationError(f"The file {file} cannot be read: {error.strerror or type(error).__name__}.") from error


def content_type_of(file: str, raw: bytes) -> str:
    """Say what a body is, by the file's name, or by what stands in it."""
    known = _TYPES.get(Path(file).suffix.lower())
    if known is not None:
        return known
    if raw.lstrip()[:1] in (b"{", b"[", b'"'):
        # Also where it is broken: then the relay says what is wrong with it.
        return "application/x-ndjson" if _is_ndjson(raw) else "application/json"
    return "application/x-www-form-urlencoded" if _FORM.fullmatch(raw) else "text/plain"


def _is_ndjson(raw: bytes) -> bool:
    lines = [line for line in raw.split(b"\n", _MOST_LINES)[:_MOST_LINES] if line.strip()]
    return len(lines) > 1 and all(_is_json(line) for line in lines)


def _is_json(line: bytes) -> bool:
    try:
        decode_json(line)
    except (ValueError, RecursionError):
        # msgspec's errors are ValueErrors.
        return False
    return True
