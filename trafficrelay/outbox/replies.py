"""What Redis' replies and redis-py's errors mean for an event."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Queue

from ..errors import (
    Backlogged,
    LetterGone,
    OutboxCorrupt,
    OutboxError,
    OutboxUnavailable,
    RateExceeded,
    RoutePaused,
)
from .handover import Handover, Receipt
from .sentinel import unreached

BACKLOG_PATIENCE: Final = 15
"""Seconds after which a sender may try again when the queue is too long: workers need a while to shorten it."""

PAUSE_PATIENCE: Final = 60
"""Seconds after which a sender may try again when its route is paused: people resume it."""

# The first that fits counts: some are subclasses of others further down.
_REASONS: Final = (
    (AuthenticationError, "refused the event (it does not take the name and password)"),
    (BusyLoadingError, "refused the event (it is still loading its data)"),
    (NoPermissionError, "refused the event (its user has no permission for what the script does)"),
    (OutOfMemoryError, "refused the event (it is out of memory)"),
    (ReadOnlyError, "refused the event (it is read-only, a replica perhaps)"),
    (MaxConnectionsError, "was not asked: all connections that its URL allows are in use"),
    (RedisConnectionError, "does not answer"),
    (RedisTimeoutError, "does not answer in time"),
)

_LATE: Final = "TRAFFICRELAYLATE"
_WRONG_TYPE: Final = "TRAFFICRELAYTYPE "


def is_late(reply: Any) -> bool:
    """Say whether the script found that it came too late."""
    return isinstance(reply, RedisError) and str(reply).startswith(_LATE)


def result(group: Sequence[Handover], reply: Any) -> list[Receipt] | OutboxError:
    """Give what a reply of the script says; `accept.lua` lists them."""
    if isinstance(reply, RedisError):
        return translated(reply)
    if isinstance(reply[0], list):
        return [_receipt(code, first) for code, first, *_ in reply]
    code, *rest = reply
    if code == 3:
        settles = next(handover.settles for handover in group if handover.settles)
        return LetterGone(f"The dead letter {settles} is not there any more, or runs already.", job=settles)
    return _declined(group[0], rest[0].decode("ascii"), *rest[1:])


def _receipt(code: int, receipt: bytes) -> Receipt:
    first, _, count = receipt.decode("ascii").partition(" ")
    return Receipt(first, int(count), duplicate=not code)


def _declined(handover: Handover, why: str, number: Any, key: bytes = b"") -> OutboxError:
    rule, limits = handover.route, handover.limits
    if why == "paused":
        mode = number.decode("utf-8", "replace")
        return RoutePaused(f"The route {rule} is paused.", retry_after=PAUSE_PATIENCE, mode=mode)
    if why == "rate":
        wait = math.ceil(number / 1_000_000)
        return RateExceeded(f"{rule} takes {limits.rate} and no more.", retry_after=max(wait, 1))
    queue = key.decode("utf-8", "replace").removeprefix(Queue.redis_queue_namespace_prefix)
    waiting = f"{number} jobs wait in it" if why == "queued" else f"its oldest job has waited for {number // 1000} s"
    return Backlogged(f"The queue {queue} takes no more: {waiting}.", retry_after=BACKLOG_PATIENCE, queue=queue)


def doubtful(error: OutboxError) -> OutboxError:
    """Say that what failed may have been carried out all the same."""
    if isinstance(error, OutboxUnavailable):
        error.doubtful = True
    return error


def translated(error: RedisError) -> OutboxError:
    """Say what redis-py's error means for the event, which was not taken. Its own words can hold a command's parts."""
    meaning = _meaning(error)
    meaning.__cause__ = error
    return meaning


def _meaning(error: RedisError) -> OutboxError:
    message = str(error)
    if message.startswith(_WRONG_TYPE):
        key, _, rest = message.removeprefix(_WRONG_TYPE).partition(" ")
        return OutboxCorrupt(f"The key {key} {rest}; something else writes to this Redis database.", key=key)
    if message.startswith(_LATE):
        return OutboxUnavailable("Redis came to the event too late.")
    if reason := unreached(error):
        return OutboxUnavailable(f"Redis {reason}.")
    # A rule of Redis' access control that a script met on its way comes without the code that redis-py knows.
    kind = NoPermissionError if message.startswith("ACL failure") else type(error)
    for known, reason in _REASONS:
        if issubclass(kind, known):
            return OutboxUnavailable(f"Redis {reason}.")
    # redis-py keeps the codes that it knows to itself; of others the first word is the code.
    code = message.partition(" ")[0]
    return OutboxUnavailable(f"Redis refused the event ({code if code.isupper() else kind.__name__}).")
