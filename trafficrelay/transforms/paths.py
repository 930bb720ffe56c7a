"""Paths into data: `customer.email`, `items[*].price`, `**.password`. How they are written, read and shown."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ..errors import DeclarationError


class Wild(enum.Enum):
    """What stands for keys that are not named."""

    ANY = "*"
    DEEP = "**"


Segment: TypeAlias = str | Wild

MAX_SEGMENTS: Final = 100
"""How long a path may be: data is not nested deeper."""

MAX_PATHS: Final = 1_000

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_BRACKETS: Final = re.compile(r"\[([^\[\]]*)\]")
# JMESPath's way to write keys, behind which nobody would find anything: `customer["email"]`, `"first.name".x`.
_QUOTED: Final = re.compile(r"""(?:^|[.\[])["']|["'](?:$|[.\]])""")
_ESCAPED: Final = re.compile(r"\\.", re.DOTALL)
_SHOWN: Final = re.compile(r"[\w$@:/+-]{1,60}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Path:
    """A path that was checked.

    Attributes:
        text: as it was written.
        segments: its keys and wildcards. A key of digits is an index where it meets a list.
    """

    text: str
    segments: tuple[Segment, ...]

    @property
    def plain(self) -> bool:
        """Whether it has no wildcards, so that it leads to one place."""
        return not any(isinstance(segment, Wild) for segment in self.segments)

    @property
    def deep(self) -> bool:
        """Whether it has a `**`."""
        return Wild.DEEP in self.segments


def paths(said: tuple[Any, ...], name: str) -> tuple[Path, ...]:
    """Read the paths that a step was given: each as an argument, or all of them as one list.

    Raises:
        DeclarationError: there are none, or one of them cannot be read.
    """
    (given,) = said if len(said) == 1 and isinstance(said[0], list | set | frozenset) else (said,)
    if not given:
        raise DeclarationError(f'{name} takes paths such as "id" and "customer.email"; it was given none.', option=name)
    if len(given) > MAX_PATHS:
        raise DeclarationError(f"{name} takes {MAX_PATHS:,} paths at the most, not {len(given):,}.", option=name)
    if given is said and any(isinstance(one, list) for one in given):
        raise DeclarationError(
            f"{name} takes paths, or one list of paths. A path of several keys is a tuple here: "
            f'("customer", "first.name").',
            option=name,
        )
    return tuple(dict.fromkeys(path(one, name) for one in given))


def path(said: Any, name: str) -> Path:
    r"""Read one path.

    Args:
        said: dotted text, or a list or tuple of keys, for keys with dots in them. `\` before a character takes it as
            it is.
        name: the step that takes it, for errors.

    Raises:
        DeclarationError: it is no path.
    """
    if isinstance(said, str):
        segments = _read(said, name)
        text = said
    elif isinstance(said, Sequence) and not isinstance(said, bytes) and said and all(map(_is_key, said)):
        segments = tuple(_segment(str(key), str(key), name) for key in said)
        text = show(key.value if isinstance(key, Wild) else key for key in segments)
    else:
        raise DeclarationError(
            f'{name} takes paths such as "customer.email" or "items.*.price", not {said!r:.80}.', option=name
        )
    if len(segments) > MAX_SEGMENTS:
        raise DeclarationError(f"A path of {name} has more than {MAX_SEGMENTS} keys.", option=name)
    if segments[-1] is Wild.DEEP:
        raise DeclarationError(
            f'The path "{text}" of {name} ends with **. A key after it says what is meant: "**.email". '
            "A path without it already means all that is under its last key.",
            option=name,
        )
    return Path(text, segments)


def plain_path(said: Any, name: str, why: str) -> Path:
    """Read a path that leads to one place.

    Raises:
        DeclarationError: it is no path, or has wildcards.
    """
    read = path(said, name)
    if not read.plain:
        raise DeclarationError(f'The path "{read.text}" of {name} has a wildcard; {why}.', option=name)
    return read


def keyed(said: Mapping[Any, Any], name: str) -> dict[Path, Any]:
    """Read a mapping whose keys are paths.

    Raises:
        DeclarationError: one is none, or two are the same.
    """
    if len(said) > MAX_PATHS:
        raise DeclarationError(f"{name} takes {MAX_PATHS:,} paths at the most, not {len(said):,}.", option=name)
    read: dict[Path, Any] = {}
    seen = set()
    for key, value in said.items():
        one = path(key, name)
        if one.segments in seen:
            raise DeclarationError(f'{name} has the path "{one.text}" twice.', option=name)
        seen.add(one.segments)
        read[one] = value
    return read


def index(segment: Segment) -> int | None:
    """Give the index that a key is where it meets a list, `None` if it is none."""
    return int(segment) if isinstance(segment, str) and _INDEX.fullmatch(segment) else None


def show(segments: Iterable[Any]) -> str:
    """Write a path down for an error or an answer. Keys come from strangers: it holds no odd character and no end.

    Returns:
        ASCII text in one line, of 200 characters at the most.
    """
    text = ".".join(_show(segment) for segment in segments)
    return text if len(text) <= 200 else text[:99] + "..." + text[-98:]


def _show(segment: Any) -> str:
    text = segment.value if isinstance(segment, Wild) else str(segment)
    if _SHOWN.fullmatch(text) or text in ("*", "**"):
        return text
    return "'" + ascii(text[:60])[1:-1] + ("..." if len(text) > 60 else "") + "'"


def _is_key(key: Any) -> bool:
    return (isinstance(key, str) and key != "") or (isinstance(key, int) and not isinstance(key, bool) and key >= 0)


def _read(said: str, name: str) -> tuple[Segment, ...]:
    if said.startswith("$."):
        raise DeclarationError(
            f'The path "{said}" of {name} begins with "$."; write it without: "{said[2:]}".', option=name
        )
    if re.match(r"\$(?:$|[.\[])", said):
        raise DeclarationError(
            f'The path "{said}" of {name} begins with "$", the data itself; paths begin with a key of it.', option=name
        )
    if _QUOTED.search(_ESCAPED.sub("x", said)):
        raise DeclarationError(
            f'The path "{said}" of {name} has a key in quotes. Write it without, as in customer.email, and \\ before '
            "a dot or a quote that belongs to it.",
            option=name,
        )
    if "\\" in said:
        return tuple(_segment(part, said, name) for part in _split(said))
    parts = _BRACKETS.sub(r".\1", said).removeprefix("." if said.startswith("[") else "").split(".")
    return tuple(_segment(part, said, name) for part in parts)


def _split(said: str) -> list[str]:
    """Split at the dots that no backslash stands before. The backslashes stay: `_segment` takes them away."""
    parts, current, escaped = [], "", False
    for character in said:
        if character == "." and not escaped:
            parts.append(current)
            current = ""
        else:
            current += character
        escaped = character == "\\" and not escaped
    return [*parts, current]


def _segment(part: str, said: str, name: str) -> Segment:
    if part == "*":
        return Wild.ANY
    if part == "**":
        return Wild.DEEP
    if "\\" in part:
        return re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL)
    if part == "":
        raise DeclarationError(f'The path "{said}" of {name} has an empty key.', option=name)
    if any(mark in part for mark in "*[]"):
        raise DeclarationError(
            f'The path "{said}" of {name} cannot be read at "{part}": * and ** stand for whole keys, [0] and [*] for '
            "items. Write \\ before such a character that belongs to a key.",
            option=name,
        )
    if part[0] == "-" and part[1:].isdecimal():
        raise DeclarationError(
            f'The path "{said}" of {name} counts from the end; lists are counted from 0 here.', option=name
        )
    return part
