"""Saying in a log what failed, without the words of the error: they hold what users' code was working on."""

from __future__ import annotations

import traceback


def without_words(error: BaseException) -> str:
    """Give an error's kind and the lines that it came through; of its causes too. Its own text may be payload."""
    parts = []
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = "".join(traceback.format_tb(current.__traceback__))
        parts.append(f"{frames}{type(current).__module__}.{type(current).__qualname__}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n\nwhich came of\n\n".join(parts)
