"""Tracebacks for the eyes of who wrote the test."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final

_PACKAGE: Final = str(Path(__file__).parents[1])


def users_part(trace: TracebackType | None, *others: str) -> TracebackType | None:
    """Leave out the lines through which the user's code was come to; all stay where there is none of that.

    Args:
        trace: the traceback.
        others: folders whose files are left out besides those of this package.
    """
    own = trace
    while own is not None and own.tb_frame.f_code.co_filename.startswith((_PACKAGE, *others)):
        own = own.tb_next
    return own or trace
