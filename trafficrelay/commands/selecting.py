"""The options that say which of what has failed is meant."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..outbox.letters import Selection
    from ..relay import Relay

KINDS: Final = ("event", "handover", "job")
"""As outbox.letters has them, which imports redis."""

_AGE: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_ID: Final = re.compile(r"[0-9a-f]{32}(-\d{1,9})?")


def add_selection_options(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument("--route", metavar="RULE", default="", help="what came in by this route")
    parser.add_argument("--since", metavar="TIME", type=_time, help="what failed then or later")
    parser.add_argument("--until", metavar="TIME", type=_time, help="what failed before")
    parser.add_argument("--error", metavar="TEXT", default="", help="what has this in its exception's type or words")
    parser.add_argument("--id", metavar="ID", type=_id, action="append", default=[], help="an event or job; repeatable")
    parser.add_argument("--kind", choices=KINDS, help="see above")


def selection_of(options: argparse.Namespace, relay: Relay) -> Selection:
    """Read them.

    Raises:
        DeclarationError: the relay has no such route.
    """
    # See the package.
    from ..outbox.letters import Selection
    from .connecting import check_rule

    if options.route:
        check_rule(options.route, (route.rule for route in relay.routes), options.target)
    return Selection(
        route=options.route,
        since=options.since,
        until=options.until,
        error=options.error,
        ids=frozenset(options.id),
        kind=options.kind,
    )


def as_words(options: argparse.Namespace) -> list[str]:
    """Give the options as they would be typed again."""
    words = [
        word for name in ("route", "error", "kind") if (said := getattr(options, name)) for word in (f"--{name}", said)
    ]
    for name in ("since", "until"):
        if (moment := getattr(options, name)) is not None:
            words += [f"--{name}", moment.isoformat(timespec="seconds")]
    return words + [word for one in options.id for word in ("--id", one)]


def _time(text: str) -> datetime:
    if match := _AGE.fullmatch(text):
        return datetime.now(UTC) - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither an age such as 2h nor a time such as 2026-03-01T12:00"
        ) from None
    return moment if moment.tzinfo else moment.astimezone()


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no id of an event, 32 hexadecimal digits, or of a job of one")
    return text
