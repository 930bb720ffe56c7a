"""Where in a file something stands: what errors name, what paths are relative to, and where secrets come from."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError, DeclarationError
from .lines import Lines

_PYTHONS_WORDS: Final = (
    (re.compile(r"Deliver\(url, ([^()]*)\)"), r"{ url = …, \1 }"),
    (re.compile(r"\bput them into To\(…\)"), "put them into its tables"),
    (re.compile(r"\bThis To\b"), "This table"),
    (re.compile(r"\bTrue, False or None\b"), "true or false"),
    (re.compile(r"\bTrue\b"), "true"),
    (re.compile(r"\bFalse\b"), "false"),
    (re.compile(r"\bwith_\b"), "with"),
    (re.compile(r"\b([a-z_]+)=(?=[\"\[{(0-9…]|true\b|false\b)"), r"\1 = "),
    (re.compile(r"\b([a-z_]+)=(?=[\s,;.)]|$)"), r"\1"),
)
"""What errors say to those who write Python, and what they are to say of a file: outside of quotes."""

_QUOTED: Final = re.compile(r"\"[^\"]*\"")
_NUMBERED: Final = re.compile(r"\"([0-9]+)\"")
_COLON: Final = re.compile(r"(\"[0-9]+\"): ")


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is read.

    Attributes:
        name: the file, as errors show it.
        folder: where it lies: the paths in it are relative to that.
        lines: knows on which line a key is.
        environ: where its environment variables are looked up.
    """

    name: str
    folder: Path
    lines: Lines = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """A table or a key in a file.

    Attributes:
        source: the file.
        section: the table's name and its number among those of that name, from 1: `("route", 2)`; `("", 0)` for the
            file itself.
        label: what tells the table from others of its kind: a route's path.
        path: the keys that lead to it within the table; numbers, from 0, are items of lists.
    """

    source: Source
    section: tuple[str, int] = ("", 0)
    label: str = ""
    path: tuple[str | int, ...] = ()

    def at(self, *steps: str | int) -> Place:
        """Give the place of a key, or an item, in this one."""
        return replace(self, path=(*self.path, *steps))

    @property
    def table(self) -> str:
        """How errors name the table: `[relay]`, `[[route]] 2 (/github)`."""
        name, number = self.section
        if not name or not number:
            return f"[{name}]" if name else ""
        return f"[[{name}]] {number}{f' ({self.label})' if self.label else ''}"

    @property
    def key(self) -> str:
        """How errors name the key: `verify.secret_env`, `transforms 2.keep`; items of lists count from 1."""
        words = ""
        for step in self.path:
            words += f" {step + 1}" if isinstance(step, int) else f".{step}" if words else step
        return words

    def fault(self, text: str) -> ConfigError:
        """Make the error that says what is wrong here."""
        source, table, key = self.source, self.table, self.key
        line = source.lines.find(self.section, self.path)
        where = [source.name, f"line {line}" if line else "", table, key]
        message = _line(f"{', '.join(word for word in where if word)}: {text}")
        return ConfigError(message, file=source.name, table=table, key=key, line=line)

    def file(self, name: str) -> Path:
        """Give the file that is named here: a relative name begins in the folder of this one.

        Raises:
            ConfigError: it begins with the home of a user whom there is not.
        """
        try:
            return self.source.folder / Path(name).expanduser()
        except RuntimeError:
            # The name is not repeated: somebody may have written a secret here.
            raise self.fault("The file that this names begins with ~, and whose home that is cannot be told.") from None

    def translated(self, error: DeclarationError, *, known: Iterable[str] = ()) -> ConfigError:
        """Make the error that says here what a declaration said of what was made of this table.

        Args:
            error: what it said.
            known: the table's keys; where its option is one of them, that is the place.
        """
        place = self.at(error.option) if error.option in known else self
        return place.fault(toml_words(str(error)))


def toml_words(text: str) -> str:
    """Give a sentence that was made for Python's users in the words of a file: `job = "…"` for `job="…"`.

    What stands in quotes was written by somebody, and is left as it is.
    """
    quoted: list[str] = _QUOTED.findall(text)
    numbers = itertools.count()
    text = _QUOTED.sub(lambda _: f'"{next(numbers)}"', text)
    for pattern, words in _PYTHONS_WORDS:
        text = pattern.sub(words, text)
    text = _COLON.sub(_equals, text)
    return _NUMBERED.sub(lambda match: quoted[int(match[1])], text)


def _equals(match: re.Match[str]) -> str:
    """Write a colon as an equals sign where it is a dict's, and not a sentence's."""
    before = match.string[: match.start()]
    return f"{match[1]} = " if before.count("{") > before.count("}") else match[0]


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of several names was probably meant, or all of them: `Did you mean queue?`."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are {', '.join(names)}."


def shown(value: Any) -> str:
    """Give a value as a file says it, if it is short, or what kind of thing it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 and value.isprintable() else "this string"
    return kind_of(value)


def _line(text: str) -> str:
    """Make one line of a text, whatever keys the file has."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split("\n"))
    )


def kind_of(value: Any) -> str:
    """Say what kind of thing a value is, in TOML's words."""
    return _KINDS.get(type(value), "a date or a time")


_KINDS: Final[Mapping[type, str]] = {
    str: "a string",
    int: "a number",
    float: "a number with a point",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
