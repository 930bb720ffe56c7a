"""Writing lines for people, of what may hold anything, and documents for machines."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

_WIDTH: Final = 72


def say(line: str) -> None:
    """Write a line to stdout. A terminal of another encoding shows what it cannot as an escape."""
    sys.stdout.write(printable(line) + "\n")


def say_json(document: Any) -> None:
    """Write a JSON document to stdout, on one line."""
    sys.stdout.write(json.dumps(document) + "\n")


def printable(text: str) -> str:
    """Give a text with what stdout's encoding does not have as escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def shown(text: str, *, most: int | None = _WIDTH) -> str:
    """Make a line of what may hold anything that a sender wrote, also what terminals obey."""
    cut = text if most is None or len(text) <= most else f"{text[: most - 1]}…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)


def count(number: int, what: str) -> str:
    """Say how many there are: `1 event`, `2 events`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
