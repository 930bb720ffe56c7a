"""Secrets that providers chose and sent in a challenge, as they are kept in Redis: a hash for each route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import redis

from .names import BROUGHT

MOST: Final = 1_000
"""How many secrets are kept for one route. Anybody may send a challenge, to any path that its wildcards take."""

_KEEP: Final = """\
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept and kept ~= ARGV[2] then return kept end
if not kept and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return false end
-- Also the one that is there: only what this connection writes can be waited for.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return ARGV[2]
"""


def keep(
    client: redis.Redis, route: str, name: str, value: bytes, waits: Sequence[tuple[Any, ...]]
) -> tuple[bytes | None, list[Any]]:
    """Keep a secret, unless there is one already.

    Args:
        client: a client of the relay's Redis.
        route: the route's rule.
        name: which of the route's secrets it is.
        value: the secret.
        waits: commands that wait until it is safe.

    Returns:
        The one that is kept now, `None` where there are too many; and what `waits` were answered.

    Raises:
        RedisError: Redis does not answer, or the key holds something else.
    """
    with client.pipeline(transaction=False) as pipeline:
        pipeline.eval(_KEEP, 1, BROUGHT + route, name, value, MOST)
        for command in waits:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        kept, *replies = pipeline.execute()
    return kept, replies


def kept(client: redis.Redis, route: str, name: str) -> bytes | None:
    """Give a secret that is kept.

    Raises:
        RedisError: Redis does not answer, or the key holds something else.
    """
    found: bytes | None = client.hget(BROUGHT + route, name)  # type: ignore[assignment]  # typed for async too
    return found
