"""`trafficrelay failed`: what failed, by route and error."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import nlargest
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .options import add_target_options
from .saying import count, say, shown
from .selecting import add_selection_options, as_words, selection_of

if TYPE_CHECKING:
    from ..outbox.broken import Broken
    from ..outbox.letters import Letter, Selection

_HELP: Final = """\
Say what failed, by route and error: how often, from when to when, in which queue, and the newest of them.

  event     events whose transform failed
  handover  events that became too old in the spool
  job       jobs that failed for good

`trafficrelay replay` runs them again, and takes the same options. Below them stands what workers set aside as broken:
jobs that cannot be read, and are not run again. An error's words may hold what was sent.

    trafficrelay failed shop.hooks:relay
    trafficrelay failed shop.hooks:relay --since 2h --error KeyError
    trafficrelay failed shop.hooks:relay --route /github --kind job --json

A time is an age (90s, 15m, 2h, 7d) or an ISO date and time, in local time unless it says otherwise.

Exit codes: 0 done, whatever was found; 1 Redis does not answer; 2 wrong usage or declaration.
"""

_SAMPLES: Final = 3
_BROKEN: Final = 20
_MOST_GROUPS: Final = 1_000
_MOST_QUEUES: Final = 10
_MESSAGE: Final = 300
_LEAST_WIDTH: Final = 120
_INDENT: Final = 11
_OTHERS: Final = "others"

_Key: TypeAlias = tuple[str, str, str]
"""A route, a kind, an error's type."""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "failed", help="say what failed", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_target_options(parser)
    add_selection_options(parser)
    parser.add_argument("--json", action="store_true", help="say it as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Find, count, show."""
    # See the package.
    from ..outbox.broken import each_broken
    from ..outbox.letters import Letters
    from .connecting import client_of, load
    from .progress import Progress

    relay = load(options)
    selection = selection_of(options, relay)
    groups = _Groups(route.rule for route in relay.routes)
    with contextlib.closing(client_of(relay)) as client, Progress() as progress:
        letters = Letters(client, relay.serializer_name, queues=relay.queues)
        for letter in letters.find(selection):
            groups.add(letter)
            progress.tell(f"Reading: {groups.total:,} found so far")
        progress.clear()
        broken = _meant(each_broken(client), selection)
        if options.json:
            _write_json(groups, broken)
        else:
            _tell(groups, broken, options.target, as_words(options))
    return 0


class _Group:
    """What is known of all that failed alike.

    Attributes:
        count: how many there are.
        first: when the first of them failed.
        last: when the last did.
        queues: how many lie in which queue.
        newest: when the newest failed, and their jobs' ids, the newest first.
        message: the first line of the newest one's error, without its type.
    """

    def __init__(self, letter: Letter) -> None:
        self.count = 0
        self.first = self.last = letter.failed_at
        self.queues: Counter[str] = Counter()
        self.newest: list[tuple[datetime, str]] = []
        self.message = ""

    def add(self, letter: Letter) -> None:
        """Count one."""
        self.count += 1
        self.first, self.last = min(self.first, letter.failed_at), max(self.last, letter.failed_at)
        known = letter.queue in self.queues or len(self.queues) < _MOST_QUEUES
        self.queues[letter.queue if known else _OTHERS] += 1
        if len(self.newest) < _SAMPLES or letter.failed_at > self.newest[-1][0]:
            self.newest = sorted([*self.newest, (letter.failed_at, letter.job)], reverse=True)[:_SAMPLES]
            if self.newest[0][1] == letter.job:
                self.message = letter.message[:_MESSAGE]


class _Groups:
    """Counts what failed alike. Of each there are some bytes in memory, so that what Redis gives twice counts once.

    Args:
        rules: the rules of the relay's routes.
    """

    def __init__(self, rules: Iterable[str]) -> None:
        self._rules = frozenset(rules)
        self._seen: set[int] = set()
        self._groups: dict[_Key, _Group] = {}

    def add(self, letter: Letter) -> None:
        """Count one, if it has not come before."""
        name = hash(letter.job)
        if name in self._seen:
            return
        self._seen.add(name)
        key: _Key = (letter.route, letter.kind, letter.error_type)
        if key not in self._groups and len(self._groups) >= _MOST_GROUPS:
            # Somebody raises types that they make up as they go.
            key = (_OTHERS, letter.kind, _OTHERS)
        if key not in self._groups:
            self._groups[key] = _Group(letter)
        self._groups[key].add(letter)

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self._seen)

    def in_order(self) -> list[tuple[_Key, _Group]]:
        """Give them, the largest first."""
        return sorted(self._groups.items(), key=lambda item: (-item[1].count, item[0]))

    def is_declared(self, rule: str) -> bool:
        """Whether the relay has such a route: others may use its Redis, and routes go."""
        return rule in self._rules


def _meant(found: Iterable[Broken], selection: Selection) -> Iterator[Broken]:
    """Give those that are meant. Neither their routes nor an error is known, so who asks for one means none of them."""
    if selection.route or selection.error or selection.kind:
        return
    seen: set[int] = set()
    for broken in found:
        name = hash(broken.job)
        if name in seen or not selection.takes_id(broken.job):
            continue
        seen.add(name)
        if (selection.since is None or broken.at >= selection.since) and (
            selection.until is None or broken.at < selection.until
        ):
            yield broken


def _tell(groups: _Groups, broken: Iterable[Broken], target: str, again: list[str]) -> None:
    say(f"{groups.total:,} failed{':' if groups.total else '.'}")
    rows = groups.in_order()
    width = min(40, max((len(route) for (route, _, _), _ in rows), default=0))
    for (route, kind, error), group in rows:
        queues = ", ".join(f"{shown(name)}" for name, _ in group.queues.most_common())
        unknown = "" if groups.is_declared(route) else "  (this relay has no such route)"
        say(f"  {group.count:>7,}  {kind:<8}  {shown(route):<{width}}  {_short(error)}{unknown}")
        say(f"{'':11}{_span(group)} in {queues}")
        if group.message not in ("", error):
            say(f"{'':{_INDENT}}{shown(group.message, most=_width())}")
        say(f"{'':11}newest {', '.join(job for _, job in group.newest)}")
    if rows:
        command = shlex.join(["trafficrelay", "replay", target, *again])
        say(f"`{shown(command, most=None)}` runs them again; with --dry-run it only says which.")
    total = 0

    def counted() -> Iterator[Broken]:
        nonlocal total
        for total, one in enumerate(broken, 1):  # noqa: B007 - it is what is told below
            yield one

    newest = nlargest(_BROKEN, counted(), key=lambda one: one.at)
    if not newest:
        return
    say(f"{count(total, 'job')} set aside as broken{', the newest of them' if total > len(newest) else ''}:")
    for one in newest:
        say(f"  {_local(one.at)}  {shown(one.queue or '?')}  {shown(one.job)}  {shown(one.why, most=None)}")


def _write_json(groups: _Groups, broken: Iterable[Broken]) -> None:
    rows = [
        {
            "route": route,
            "declared": groups.is_declared(route),
            "kind": kind,
            "error": error,
            "count": group.count,
            "first": group.first.isoformat(),
            "last": group.last.isoformat(),
            "queues": dict(group.queues.most_common()),
            "message": group.message,
            "newest": [job for _, job in group.newest],
        }
        for (route, kind, error), group in groups.in_order()
    ]
    sys.stdout.write(f'{{"failed": {groups.total}, "groups": {json.dumps(rows)}, "broken": [')
    for number, one in enumerate(broken):
        # One by one: there may be many.
        row = {"job": one.job, "queue": one.queue, "why": one.why, "at": one.at.isoformat()}
        sys.stdout.write(("," if number else "") + "\n" + json.dumps(row))
    sys.stdout.write("]}\n")


def _short(error: str) -> str:
    """Cut a sentence that stands in place of a type, whose numbers are an ellipsis each, with one of them."""
    line = shown(error)
    return f"{line.rstrip(' ,…')}…" if line.endswith("…") else line


def _width() -> int:
    """How much of a message is shown: a line of the terminal, and what is piped as much as a wide one has."""
    return max(_LEAST_WIDTH, shutil.get_terminal_size().columns - _INDENT)


def _span(group: _Group) -> str:
    return _local(group.first) if group.count == 1 else f"{_local(group.first)} to {_local(group.last)}"


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
