"""On which line of a TOML file a table, a key or an item is: `tomllib` does not say, and a person looks for it."""

from __future__ import annotations

import contextlib
import re
from bisect import bisect_right
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY: Final = re.compile(r"[ \t]*(?:\"((?:[^\"\\\n]|\\.)*)\"|'([^'\n]*)'|([A-Za-z0-9_-]+))[ \t]*")
_STRING: Final = re.compile(
    r"""
    \"{3} (?:[^\\]|\\.)*? \"{3,5} | '{3} .*? '{3,5} |   # over several lines; two quotes more may be within
    \" (?:[^\"\\\n]|\\.)* \"     | ' [^'\n]* '
    """,
    re.DOTALL | re.VERBOSE,
)
_OTHER: Final = re.compile(r"[^,\]}#\n]+")
_DEEPEST: Final = 100


class Lines:
    """Finds what a path of keys and numbers leads to.

    Args:
        text: the file, which `tomllib` has read: of what it refuses, the lines after the fault are not known.
    """

    def __init__(self, text: str = "") -> None:
        self._found = _Scanner(text).found

    def find(self, section: tuple[str, int], path: Path) -> int:
        """Give the line of what a path in a table leads to, or of the innermost around it; 0 where it is not known.

        Args:
            section: the table's name, and its number among those of that name from 1: `("relay", 0)`.
            path: the keys within the table, and the numbers of items from 0.
        """
        name, number = section
        whole: Path = (*((name,) if name else ()), *((number - 1,) if number else ()), *path)
        # What the file does not have, such as a key that is missing, is told where its table begins.
        return next((self._found[whole[:end]] for end in range(len(whole), 0, -1) if whole[:end] in self._found), 0)


class _Scanner:
    """Goes once over a file: over keys and the beginnings of values, whose meaning `tomllib` has found already."""

    def __init__(self, text: str) -> None:
        self.found: dict[Path, int] = {}
        self._text = text
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._at = 0
        self._tables: dict[Path, int] = {}
        # No TOML, or nested beyond reason: what has been found by then is so all the same.
        with contextlib.suppress(ValueError):
            self._file()

    def _file(self) -> None:
        table: Path = ()
        while self._next():
            if self._next() == "[":
                table = self._header()
            else:
                self._pair(table, 0)

    def _header(self) -> Path:
        start = self._at
        several = self._text.startswith("[[", start)
        self._at += 2 if several else 1
        path: Path = ()
        *outer, last = self._keys()
        for name in outer:
            path = (*path, name)
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
        path = (*path, last)
        if several:
            self._tables[path] = self._tables.get(path, 0) + 1
            self._note(path, start)
            path = (*path, self._tables[path] - 1)
        self._take("]]" if several else "]")
        self._note(path, start)
        return path

    def _pair(self, table: Path, depth: int) -> None:
        start = self._at
        path = table
        for name in self._keys():
            path = (*path, name)
            self._note(path, start)
        self._take("=")
        self._value(path, depth)

    def _keys(self) -> list[str]:
        names: list[str] = []
        while not names or self._text.startswith(".", self._at):
            self._at += 1 if names else 0
            key = _KEY.match(self._text, self._at)
            if key is None:
                raise ValueError
            names.append(next(part for part in key.groups() if part is not None))
            self._at = key.end()
        return names

    def _value(self, path: Path, depth: int) -> None:
        if depth > _DEEPEST:
            raise ValueError
        first = self._next()
        if first == "[":
            self._list(path, depth)
        elif first == "{":
            self._table(path, depth)
        else:
            found = (_STRING if first in ('"', "'") else _OTHER).match(self._text, self._at)
            if found is None:
                raise ValueError
            self._at = found.end()

    def _list(self, path: Path, depth: int) -> None:
        self._at += 1
        number = 0
        while self._next() != "]":
            self._note((*path, number), self._at)
            self._value((*path, number), depth + 1)
            number += 1
            if self._next() != "]":
                self._take(",")
        self._at += 1

    def _table(self, path: Path, depth: int) -> None:
        self._at += 1
        while self._next() != "}":
            self._pair(path, depth + 1)
            if self._next() != "}":
                self._take(",")
        self._at += 1

    def _next(self) -> str:
        """Go on to what is neither blank nor a comment, and give its first character, `""` at the end."""
        blank = _BLANK.match(self._text, self._at)
        self._at = blank.end() if blank else self._at
        return self._text[self._at : self._at + 1]

    def _take(self, mark: str) -> None:
        if not self._text.startswith(mark, self._at):
            self._next()
        if not self._text.startswith(mark, self._at):
            raise ValueError
        self._at += len(mark)

    def _note(self, path: Path, at: int) -> None:
        self.found.setdefault(path, bisect_right(self._ends, at - 1) + 1)
