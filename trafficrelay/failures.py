"""Saying what failed in the user's code: where and of what kind, never in its own words, which may hold payload."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Final

_PACKAGE: Final = str(Path(__file__).parent)
_LIBRARY: Final = str(Path(os.__file__).parent)
_INSTALLED: Final = ("site-packages", "dist-packages")


BUGS: Final = (Exception, SystemExit)
"""What is caught around the user's code. A `sys.exit()` deep in a library must not end the host."""


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


def place(error: BaseException) -> str:
    """Give the last line of the user's own code that an error came through: `"shop/hooks.py, line 24, in push"`.

    The last line of all where none is the user's; `""` where there is none.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_users(frame.filename)] or frames
    return f"{own[-1].filename}, line {own[-1].lineno}, in {own[-1].name}" if own else ""


def _is_users(filename: str) -> bool:
    if filename.startswith(("<", _PACKAGE)) or any(part in filename for part in _INSTALLED):
        return False
    return not filename.startswith(_LIBRARY)
