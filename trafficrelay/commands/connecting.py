"""From a command's options to the relay that is meant, bound to its Redis."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import redis

from ..errors import DeclarationError
from ..outbox.connection import connect
from ..outbox.rq import RQOutbox
from ..relay import Relay
from ..standalone import valkey
from .reading import read_target

LOCK: Final = "lock"
"""The file in a data directory with what `standalone.datadir.Holder` says of the run that goes on, as JSON."""

_HINT: Final = "Give it with --redis, or name with --data the directory of a run that goes on now."


def load(options: argparse.Namespace) -> Relay:
    """Load the relay and bind it as `run` does: to --redis, its own Redis, or the Valkey of a run that goes on.

    Raises:
        TargetError: there is no such relay.
        DeclarationError: it has no Redis.
    """
    relay = read_target(options.target)
    bind(relay, options)
    return relay


def bind(relay: Relay, options: argparse.Namespace) -> None:
    """Bind a relay as `run` does: to --redis, its own Redis, or the Valkey of a run that goes on.

    Raises:
        DeclarationError: it has no Redis.
    """
    if options.redis == "":
        raise DeclarationError("--redis is empty. Is the environment variable set that it comes from?")
    if options.redis:
        relay.bind(options.redis)
    elif not relay.bound:
        relay.bind(_embedded_url(options.data, options.target))


def client_of(relay: Relay) -> redis.Redis:
    """Give a client of the relay's Redis, with the relay's time-outs.

    Raises:
        DeclarationError: its events go elsewhere.
    """
    if relay.source is None:
        raise DeclarationError(f"This relay has no Redis. {_HINT}")
    return connect(relay.source)


def outbox_of(relay: Relay) -> RQOutbox:
    """Give an outbox on the relay's Redis: without its spool, which is of the processes that serve.

    A spool that a command opens may be made there for another user, or on another machine.

    Raises:
        DeclarationError: its events go elsewhere.
    """
    if relay.source is None:
        raise DeclarationError(f"This relay has no Redis. {_HINT}")
    return RQOutbox(relay.source, serializer=relay.serializer_name)


def check_rule(rule: str, known: Iterable[str], target: str) -> None:
    """Check that a rule is one of the relay's.

    Raises:
        DeclarationError: it is not.
    """
    rules = sorted(set(known))
    if rule in rules:
        return
    near = difflib.get_close_matches(rule, rules, n=1)
    rest = f"Did you mean {near[0]}?" if near else f"It has {', '.join(rules)}."
    raise DeclarationError(f"{target} has no route {rule}. {rest}")


def _embedded_url(data: Path, target: str) -> str:
    socket = _embedded_socket(data)
    if socket is None or not socket.exists():
        raise DeclarationError(f"{target} has no Redis, and no Valkey of `trafficrelay run` listens in {data}. {_HINT}")
    return valkey.url_of(socket)


def _embedded_socket(data: Path) -> Path | None:
    """Read where Valkey listens. With a long path that is not in the data directory; the run's lock says where."""
    try:
        holder = json.loads((data.expanduser() / LOCK).read_bytes())
        return Path(holder["socket"]) if holder["socket"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # there is none, or no run has come so far
