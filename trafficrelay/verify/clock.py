"""Times in requests: how they are written, and how far they may be off."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Literal, TypeAlias

from .verified import malformed

TOLERANCE: Final = 300
"""Seconds by which a signed timestamp may differ from ours (Standard Webhooks: "Webhook Timestamp")."""

Unit: TypeAlias = Literal["s", "ms", "iso"]
"""Seconds or milliseconds since 1970, or ISO 8601 with a zone."""

# Of ASCII, and no longer than the years until 5138; int() takes many other digits.
_DIGITS: Final[Mapping[str, re.Pattern[str]]] = {"s": re.compile("[0-9]{1,11}"), "ms": re.compile("[0-9]{1,14}")}
_ISO: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{5,8}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})")


def read_time(text: str, unit: Unit) -> float:
    """Give a moment in seconds since 1970.

    Raises:
        Unverified: it is none.
    """
    try:
        if unit == "iso":
            return _from_iso(text)
        if _DIGITS[unit].fullmatch(text):
            return int(text) / (1_000 if unit == "ms" else 1)
    except (ValueError, OverflowError):
        pass
    raise malformed("The timestamp is none.")


def _from_iso(text: str) -> float:
    if not _ISO.fullmatch(text):
        raise ValueError(text)
    # Python reads up to six digits of a second; Twitch sends nine.
    return datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text)).timestamp()


_WRITE: Final[Mapping[str, Callable[[datetime], str]]] = {
    "s": lambda moment: str(int(moment.timestamp())),
    "ms": lambda moment: str(int(moment.timestamp() * 1_000)),
    "iso": lambda moment: moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
}


def write_time(moment: datetime, unit: Unit) -> str:
    """Write a moment as `read_time` reads it."""
    return _WRITE[unit](moment)
