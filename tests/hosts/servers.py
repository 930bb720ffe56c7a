"""The servers of docs/hosts.md, by the commands that it gives."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from .running import BLOCKS, user_environment

DOCS = (Path(__file__).parents[2] / "docs/hosts.md").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """One command of the documentation.

    Attributes:
        name: the server's, with what tells its commands apart.
        text: the command.
    """

    name: str
    text: str

    @property
    def asynchronous(self) -> bool:
        """Whether it serves ASGI."""
        return "shop.asgi" in self.text

    def serving(self, wsgi: str, asgi: str) -> str:
        """Give the command for other applications; skip the test where the server is not installed."""
        program = self.text.split()[0]
        if shutil.which(program, path=user_environment()["PATH"]) is None:
            pytest.skip(f"{program} is not installed")
        return self.text.replace("shop.wsgi:application", wsgi).replace("shop.asgi:application", asgi)


def server_commands() -> list[ServerCommand]:
    """Find the commands in the documentation."""
    text = DOCS.partition("\n# Servers\n")[2].partition("\n# ")[0]
    return [
        ServerCommand(_name(command), command)
        for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]
        for command in BLOCKS.findall(section)
    ]


def _name(command: str) -> str:
    words = command.split()
    kind = [words[words.index(option) + 1] for option in ("--worker-class", "--interface") if option in words]
    return "-".join([words[0], *kind])
