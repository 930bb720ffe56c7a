"""The command line: `trafficrelay run module:relay`, or `python -m trafficrelay`."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
from collections.abc import Sequence
from typing import Final

from . import __version__
from .commands import (
    check,
    completion,
    deliveries,
    failed,
    forget,
    init,
    pause,
    replay,
    routes,
    run,
    send,
    spool,
    sweep,
    try_,
    verify,
    worker,
)
from .errors import DeclarationError, RelayError, TargetError

_COMMANDS: Final = (
    init,
    run,
    worker,
    routes,
    try_,
    verify,
    send,
    check,
    failed,
    replay,
    deliveries,
    pause,
    spool,
    forget,
    sweep,
    completion,
)

_HELP: Final = """\
Take web traffic in and hand it to RQ workers.

    trafficrelay init                          # a relay.toml and a job to start from
    trafficrelay run relay.toml                # or shop.hooks:relay
    trafficrelay try relay.toml /hooks/acme body.json
    trafficrelay COMMAND --help                # what a command does, with examples

Exit codes: 0 done; 1 failed, or found a fault (check, try, verify); 2 wrong usage or declaration; 130 ended by Ctrl-C.
"""

_BROKEN_PIPE: Final = 141
"""What a shell says of a program that SIGPIPE ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; those of the process unless given.

    Returns:
        The exit code: 0 done, or ended by a signal; 1 failed while running; 2 wrong usage or a wrong declaration.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    if not words:
        sys.stderr.write(parser.format_help())
        return 2
    if wrong := _unknown(parser, words[0]):
        sys.stderr.write(wrong)
        return 2
    options = parser.parse_args(words)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except (TargetError, DeclarationError) as error:
        return _say(error, 2)
    except RelayError as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `| head` has seen enough. Python would flush once more when it ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return code


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="trafficrelay", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"trafficrelay {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for command in _COMMANDS:
        command.add(commands)
    return parser


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Give the parsers of a parser's commands, by name."""
    return {
        name: one
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, one in action.choices.items()
    }


def _unknown(parser: argparse.ArgumentParser, word: str) -> str:
    """Say what could have been meant by a command that there is not; argparse itself would only list all."""
    known = commands_of(parser)
    if word.startswith("-") or word in known:
        return ""
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
    return f"trafficrelay: There is no command {word!r}. {hint}\n"


def _say(error: RelayError, code: int) -> int:
    sys.stderr.write(f"trafficrelay: {error}\n")
    return code
