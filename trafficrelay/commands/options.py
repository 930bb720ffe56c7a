"""Options that several commands have."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

DATA_VARIABLE: Final = "TRAFFICRELAY_DATA"


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which relay is meant, and where its Redis is."""
    add_relay_argument(parser)
    parser.add_argument("--redis", metavar="URL", help="its Redis, in place of the one that it is declared with")
    add_data_option(parser, "where `run` keeps the data of a Valkey of its own")


def add_relay_argument(parser: argparse.ArgumentParser) -> None:
    """Add what says which relay is meant."""
    parser.add_argument(
        "target", metavar="MODULE:RELAY", help="where the relay is: shop.hooks:relay, or a file such as relay.toml"
    )


def add_data_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the data directory of an embedded Valkey."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        default=Path(os.environ.get(DATA_VARIABLE) or ".trafficrelay"),
        help=f"{what} (${DATA_VARIABLE} or .trafficrelay)",
    )


def add_lossy_option(parser: argparse.ArgumentParser) -> None:
    """Add what is done about a Redis that may lose what it has acknowledged."""
    parser.add_argument(
        "--lossy-redis",
        choices=("refuse", "warn"),
        default="refuse",
        help="what to do with a Redis that keeps no append-only file or evicts keys (%(default)s)",
    )


def number_from(least: int, most: int) -> Callable[[str], int]:
    """Make what reads a number within bounds."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
        return value

    return number
