"""The relay's own connections to Redis, made from a URL or from a client of the host."""

from __future__ import annotations

import re
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..errors import DeclarationError

CONNECT_TIMEOUT: Final = 1.0
"""Seconds that connecting may take. The sender waits meanwhile."""

TIMEOUT: Final = 2.0
"""Seconds that Redis may take to answer."""


def connect(source: str | redis.Redis) -> redis.Redis:
    """Give a client with a pool of its own, for `source` a URL or a client whose settings are copied.

    The host's client is not shared: it may wait for ever, or write again by itself what got no reply (redis-py's
    default), which would queue a job twice. A URL may set its own time-outs: `redis://…?socket_timeout=5`.

    Raises:
        DeclarationError: the client decodes responses, or is of a cluster or of Sentinel.
    """
    ours: dict[str, Any] = {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        # redis-py's 100 would refuse the 101st thread although Redis is well. The server bounds its threads.
        "max_connections": 2**31,
    }
    if isinstance(source, str):
        try:
            pool = redis.ConnectionPool.from_url(source, **ours)
        except ValueError:
            # Neither the URL nor what redis-py says of it: both hold the password, or a piece of it.
            raise DeclarationError(
                "The Redis URL cannot be read. It looks like redis://:password@host:6379/0, where / # ? and @ in the "
                "password are written as %2F %23 %3F and %40."
            ) from None
    else:
        pool = _copied_pool(source, ours)
    try:
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:
        # The word is the option's name; redis-py says it only when it connects, with the first event.
        raise DeclarationError(f"The Redis URL has an option that redis-py does not know: {error}.") from None
    if pool.connection_kwargs.get("decode_responses"):
        raise DeclarationError(
            "This Redis client has decode_responses=True, with which RQ's jobs cannot be read. Give the relay its URL, "
            "or a client without it."
        )
    return redis.Redis(connection_pool=pool)


def _copied_pool(client: Any, ours: dict[str, Any]) -> redis.ConnectionPool:
    # Recognised by name: importing redis.cluster and redis.sentinel only to say no would cost every host.
    kind = type(client).__name__
    pool = getattr(client, "connection_pool", None)
    if "Cluster" in kind or pool is None:
        raise DeclarationError(
            f"A relay takes a Redis URL or a redis.Redis client, not {kind}. (RQ does not run on a cluster.)"
        )
    if "Sentinel" in type(pool).__name__:
        raise DeclarationError("A client of Sentinel cannot be copied. Give the relay the URL of the master.")
    settings = {
        name: value
        for name, value in pool.connection_kwargs.items()
        # redis-py keeps the state of one pool under these; a copy has to begin with its own.
        if not name.startswith("maint_notifications") and name not in ("oss_cluster_maint_notifications_handler",)
    }
    return redis.ConnectionPool(connection_class=pool.connection_class, **(settings | ours))


def masked(url: str) -> str:
    """Give a Redis URL as it may be shown: with `***` for name and password, wherever they stand."""
    scheme, _, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    if any(mark in credentials for mark in "/?#"):
        # Not escaped as it should be, so nobody can tell where the password ends.
        return f"{scheme}://***"
    address, mark, query = place.partition("#")[0].partition("?")
    shown = re.sub(r"\b(username|password)=[^&]*", r"\1=***", query)
    return f"{scheme}://{'***@' if at else ''}{address}{mark}{shown}"
