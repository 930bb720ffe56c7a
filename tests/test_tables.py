"""What commands print as tables: for people on a terminal, and for grep everywhere else."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import redirect_stdout

import pytest

from trafficrelay.commands.tables import Column, show

from .standalone_support import environment

COLUMNS = (Column("level", styles={"fault": "bold red"}), Column("number", right=True), Column("text"))
ROWS = [("fault", "1", "[red]no markup[/] :smile: of ours"), ("note", "12,345", "Grüße")]

PROGRAM = """\
import sys
from trafficrelay.commands.tables import Column, show
if "without rich" in sys.argv:
    import trafficrelay.commands.tables as tables
    tables.find_spec = lambda name: None
    sys.modules["rich"] = None
from tests.test_tables import COLUMNS, ROWS
show(COLUMNS, [("note", "1", "word " * 60)] if "long" in sys.argv else ROWS)
"""

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def piped(rows: Sequence[Sequence[str]] = ROWS, *, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    with redirect_stdout(stdout):
        show(COLUMNS, rows)
    return raw.getvalue().decode(encoding)


def on_a_terminal(width: int, *arguments: str, **more: str) -> str:
    """Run PROGRAM on a terminal of so many columns, and give what it wrote there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    env = {
        name: value for name, value in environment(TERM="xterm-256color").items() if name not in ("COLUMNS", "LINES")
    }
    env.pop("NO_COLOR", None)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stdin=slave, stdout=slave, stderr=slave, env=env | more
    ) as process:
        os.close(slave)
        said = b""
        with contextlib.suppress(OSError):  # the other end was closed
            while piece := os.read(master, 65536):
                said += piece
        assert process.wait(20) == 0, said
    os.close(master)
    return said.decode().replace("\r\n", "\n")


def test_piped_each_row_is_one_line_in_columns_without_titles() -> None:
    assert piped() == (
        "fault       1  [red]no markup[/] :smile: of ours\n"
        "note   12,345  Grüße\n"
    )  # fmt: skip


def test_piped_a_row_is_one_line_however_long_it_is() -> None:
    text = "word " * 400

    assert piped([("note", "1", text)]) == f"note  1  {text.rstrip()}\n"


def test_what_an_encoding_does_not_have_is_an_escape() -> None:
    assert "Gr\\xfc\\xdfe" in piped(encoding="ascii")


def test_what_terminals_obey_is_not_written() -> None:
    said = piped([("note", "1", "a\x1b[2Jb\nc\td")])

    assert said == "note  1  a�[2Jb�c�d\n"


def test_nothing_is_written_of_no_rows() -> None:
    assert piped([]) == ""


def test_a_terminal_shows_titles_and_colours() -> None:
    said = on_a_terminal(100)

    assert "\x1b[1;31mfault\x1b[0m" in said
    assert [line.split()[0] for line in ESCAPES.sub("", said).splitlines()] == ["level", "fault", "note"]
    assert "[red]no markup[/] :smile: of ours" in said
    assert "Grüße" in said


def test_no_color_is_obeyed() -> None:
    said = on_a_terminal(100, NO_COLOR="1")

    assert "fault" in said
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", said)


def test_a_dumb_terminal_is_sent_no_escapes() -> None:
    assert "\x1b" not in on_a_terminal(100, TERM="dumb")


def test_without_rich_a_terminal_gets_plain_columns_with_titles() -> None:
    assert on_a_terminal(100, "without rich").splitlines() == [
        "level  number  text",
        "fault       1  [red]no markup[/] :smile: of ours",
        "note   12,345  Grüße",
    ]


@pytest.mark.parametrize("width", [15, 20])
def test_on_a_narrow_terminal_a_row_is_a_block_and_nothing_is_cut(width: int) -> None:
    said = on_a_terminal(width)

    assert said.splitlines()[:4] == [
        "level   fault",
        "number  1",
        "text    [red]no markup[/] :smile: of ours",
        "",
    ]


@pytest.mark.parametrize("more", [(), ("without rich",)])
def test_what_does_not_fit_is_folded_or_goes_on_and_nothing_is_cut(more: tuple[str, ...]) -> None:
    said = ESCAPES.sub("", on_a_terminal(62, "long", *more))

    assert said.count("word") == 60
    assert "…" not in said
    assert more or all(len(line) <= 62 for line in said.splitlines())
