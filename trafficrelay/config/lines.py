"""On which line of a TOML file a key is: `tomllib` does not say, and a person looks for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_HEADER: Final = re.compile(r"\s*(\[{1,2})\s*([\w-]+)\s*(?:\.\s*[\"']?([\w-]+)|\])")
_KEY: Final = re.compile(r"\s*(?:\"([^\"]+)\"|'([^']+)'|([\w-]+))\s*[.=]")


class Lines:
    """Finds keys by the looks of lines, without reading TOML again: what is found in odd places may be none.

    Args:
        text: the file.
        counts: how many tables of each name there are; where the lines do not look like that, none is found.
    """

    def __init__(self, text: str = "", counts: Mapping[str, int] | None = None) -> None:
        found: dict[tuple[str, int], dict[str, int]] = {("", 0): {}}
        number_of: dict[str, int] = {}
        section: tuple[str, int] = ("", 0)
        within = False
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                brackets, name, inner = header.groups()
                if inner is None and brackets == "[[":
                    number_of[name] = number_of.get(name, 0) + 1
                section = (name, number_of.get(name, 0))
                keys = found.setdefault(section, {"": number})
                within = inner is not None
                if inner is not None:
                    keys.setdefault(inner, number)
            elif not within and (key := _KEY.match(line)):
                found[section].setdefault(key[1] or key[2] or key[3], number)
        self._found = {
            place: keys
            for place, keys in found.items()
            if not place[1] or (counts or {}).get(place[0]) == number_of[place[0]]
        }

    def find(self, section: tuple[str, int], path: tuple[str | int, ...]) -> int:
        """Give the line of a table, or of the key in it that a path begins with; 0 where it is not known."""
        keys = self._found.get(section, {})
        first = path[0] if path and isinstance(path[0], str) else ""
        # A key that the table does not have is told at the table's head.
        return keys.get(first, keys.get("", 0))
