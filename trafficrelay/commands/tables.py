"""Tables: rich on a terminal, where it is installed; otherwise a line a row, in columns, for grep and awk."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final, Literal

from .saying import printable, say, shown

_GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: what stands above it on a terminal.
        right: whether it is flush right, as numbers are.
        least: how wide it is at least: tables that follow one another are in line then.
        styles: rich's styles of cells, by what is in them.
    """

    title: str
    right: bool = False
    least: int = 0
    styles: Mapping[str, str] = field(default_factory=dict)


def show(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, indent: int = 0) -> None:
    """Write a table to stdout.

    Piped, it has no titles, and each row is one line however long. On a terminal nothing is cut either: what does not
    fit is folded, and where words would have to be broken a row is a block, a line a cell. Colours are for terminals
    that have them, and never with NO_COLOR (https://no-color.org). What a sender may have written into a cell cannot
    command the terminal.

    Args:
        columns: the columns.
        rows: the cells of each row.
        indent: how many blanks stand before it.
    """
    if not rows:
        return
    cells = [[printable(shown(cell, most=None)) for cell in row] for row in rows]
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns
    if terminal and width < indent + _least_width(columns, cells):
        _blocks(columns, cells)
    elif terminal and find_spec("rich") is not None:
        _rich(columns, cells, indent, width)
    else:
        _plain(columns, cells, indent, titles=terminal)


def _plain(columns: Sequence[Column], rows: list[list[str]], indent: int, *, titles: bool) -> None:
    rows = [[column.title for column in columns], *rows] if titles else rows
    widths = [
        max(column.least, *map(len, cells)) for column, cells in zip(columns, zip(*rows, strict=True), strict=True)
    ]
    for row in rows:
        aligned = [
            cell.rjust(width) if column.right else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        ]
        say(f"{'':{indent}}{_GAP.join(aligned)}".rstrip())


def _blocks(columns: Sequence[Column], rows: list[list[str]]) -> None:
    longest = max(len(column.title) for column in columns)
    for number, row in enumerate(rows):
        if number:
            say("")
        for column, cell in zip(columns, row, strict=True):
            if cell:
                say(f"{column.title:<{longest}}{_GAP}{cell}")


def _rich(columns: Sequence[Column], rows: list[list[str]], indent: int, width: int) -> None:
    # An extra, for terminals alone; importing it takes 25 ms (measured).
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.title, justify=justify, overflow="fold", min_width=column.least or None)
    for row in rows:
        # As Text: what stands in [ ] is markup otherwise.
        table.add_row(*(Text(cell, column.styles.get(cell, "")) for column, cell in zip(columns, row, strict=True)))
    console = Console(file=sys.stdout, force_terminal=True, width=width, markup=False, emoji=False, highlight=False)
    console.print(Padding(table, (0, 0, 0, indent)))


def _least_width(columns: Sequence[Column], rows: list[list[str]]) -> int:
    """Give the width of a table that breaks no word."""
    words = [
        max(len(column.title), column.least, *(len(word) for cell in cells for word in cell.split()), 0)
        for column, cells in zip(columns, zip(*rows, strict=True), strict=True)
    ]
    return sum(words) + len(_GAP) * (len(columns) - 1)
