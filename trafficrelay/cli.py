"""The command line: `trafficrelay run module:relay`, or `python -m trafficrelay`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from . import __version__
from .commands import check, deliveries, failed, forget, pause, replay, run, spool, sweep, worker
from .errors import DeclarationError, RelayError, TargetError

_COMMANDS: Final = (run, worker, check, failed, replay, deliveries, pause, spool, forget, sweep)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; those of the process unless given.

    Returns:
        The exit code: 0 done, or ended by a signal; 1 failed while running; 2 wrong usage or a wrong declaration.
    """
    options = _parser().parse_args(argv)
    try:
        code: int = options.run(options)
    except (TargetError, DeclarationError) as error:
        return _say(error, 2)
    except RelayError as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trafficrelay", description="Take web traffic in and hand it to RQ workers.")
    parser.add_argument("--version", action="version", version=f"trafficrelay {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser


def _say(error: RelayError, code: int) -> int:
    sys.stderr.write(f"trafficrelay: {error}\n")
    return code
