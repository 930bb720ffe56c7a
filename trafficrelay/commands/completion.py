"""`trafficrelay completion`: the script that lets a shell complete commands, options and files."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from typing import Any, Final

from ..errors import ServerError

SHELLS: Final = ("bash", "zsh", "tcsh", "fish")
"""Those that shtab writes for and people log in with; fish came with shtab 1.8."""

_HELP: Final = """\
Write a script that lets a shell complete commands, options and files. Needs `pip install 'trafficrelay[cli]'`.

    eval "$(trafficrelay completion bash)"       # in ~/.bashrc
    trafficrelay completion bash > ~/.local/share/bash-completion/completions/trafficrelay
    trafficrelay completion zsh > ~/.zfunc/_trafficrelay      # a directory of $fpath
    trafficrelay completion fish > ~/.config/fish/completions/trafficrelay.fish
    trafficrelay completion tcsh > ~/.trafficrelay.tcsh       # and source it
"""

_FILES: Final = frozenset({"FILE", "PATH", "MODULE:RELAY", ("ROUTE", "FILE")})
"""The metavars of what may be a file; a target may be a relay.toml. Of an option with two words any may be one."""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "completion",
        help="write a script for a shell's completion",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the script."""
    if find_spec("shtab") is None:
        raise ServerError("shtab is not installed: pip install 'trafficrelay[cli]'.")
    # An extra, and no other command needs it.
    import shtab

    # This module is one of those that the parser is made of.
    from ..cli import commands_of, make_parser

    parser = make_parser()
    for each in commands_of(parser).values():
        for action in each._actions:
            if action.metavar in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.metavar == "DIR":
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    sys.stdout.write(shtab.complete(parser, shell=options.shell) + "\n")
    return 0
