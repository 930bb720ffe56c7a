"""Options that several commands have."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from datetime import UTC, datetime
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


def media_type(text: str) -> str:
    """Read a media type."""
    if "/" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no media type, such as application/json")
    return text


def header(text: str) -> tuple[str, str]:
    """Read a header: its name, in lower case, and its value."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no header; write 'Name: value'")
    return name.strip().lower(), value.strip()


def moment(text: str) -> datetime:
    """Read a moment: ISO 8601, or seconds since 1970."""
    try:
        if text.isascii() and text.isdecimal():
            return datetime.fromtimestamp(int(text), UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time such as 2026-03-01T12:00:00Z nor seconds since 1970"
        ) from None
