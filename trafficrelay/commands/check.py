"""`trafficrelay check`: say what is wrong before it happens."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from dataclasses import asdict
from typing import Any, Final

from .options import add_lossy_option, add_target_options

_HELP: Final = """\
Look at a relay's declaration, its spool and its Redis, and say what may lose events.

Exits with 1 if something does, or if Redis does not answer.

    trafficrelay check shop.hooks:relay
    trafficrelay check shop.hooks:relay --redis redis://localhost:6379/0 --json
"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "check",
        help="say what may lose events",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_target_options(parser)
    add_lossy_option(parser)
    parser.add_argument("--json", action="store_true", help="say it as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what is found."""
    # See the package.
    from ..checkup import LEVELS, Finding, of_redis, of_routes, of_spool
    from ..errors import OutboxError
    from ..outbox.durability import examine
    from ..outbox.spool_file import SpoolFile
    from .connecting import client_of, load, outbox_of

    relay = load(options)
    found = of_routes(relay)
    if relay.spool is not None:
        file = SpoolFile(relay.spool.file, max_size=relay.spool.size)
        try:
            found += of_spool(file.summary())
            file.check()
        except OutboxError as error:
            found.append(Finding("fault", "spool", str(error)))
        finally:
            file.close()
    redis: list[Finding] = []
    try:
        with client_of(relay) as client:
            redis = of_redis(relay, examine(client))
        if options.lossy_redis == "warn":
            redis = [Finding("warning" if one.level == "fault" else one.level, one.about, one.text) for one in redis]
        with closing(outbox_of(relay)) as outbox:
            outbox.check()
    except OutboxError as error:
        # What cannot take an event is a fault whatever it keeps.
        redis.append(Finding("fault", "redis", str(error)))
    found = sorted([*found, *redis], key=lambda one: LEVELS.index(one.level))
    wrong = any(one.level == "fault" for one in found)
    if options.json:
        sys.stdout.write(json.dumps({"ok": not wrong, "findings": [asdict(one) for one in found]}) + "\n")
    else:
        lines = [f"{one.level:<8}{one.about}: {one.text}" for one in found]
        sys.stdout.write("\n".join(lines or ["Nothing was found."]) + "\n")
    return int(wrong)
