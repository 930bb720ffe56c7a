"""The relay's own connections to Redis, made from a URL or from a client of the host."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from ..errors import DeclarationError
from .sentinel import check_settings, copied_pool, is_sentinel_url, pool_from_url, settings_of

CONNECT_TIMEOUT: Final = 1.0
"""Seconds that connecting may take. The sender waits meanwhile."""

TIMEOUT: Final = 2.0
"""Seconds that Redis may take to answer."""


def connect(source: str | redis.Redis) -> redis.Redis:
    """Give a client with a pool of its own, for `source` a URL or a client whose settings are copied.

    The host's client is not shared: it may wait for ever, or write again by itself what got no reply (redis-py's
    default), which would queue a job twice. A URL may set its own time-outs: `redis://…?socket_timeout=5`.

    - `redis://` and `unix://`, as redis-py reads them.
    - `rediss://` for TLS. The server's certificate and name are verified, against what the system trusts and
      `?ssl_ca_certs=FILE`; `ssl_certfile=` and `ssl_keyfile=` show one of our own.
    - `redis+sentinel://` and `rediss+sentinel://` for the master that sentinels name (see `sentinel.pool_from_url`).

    However many of them are down or frozen, an attempt ends after `CONNECT_TIMEOUT` and `TIMEOUT` (3 s), with Sentinel
    `SENTINEL_TIMEOUT` later (5 s), unless the URL says otherwise. Looking up a name comes on top: Python cannot bound
    it.

    Raises:
        DeclarationError: the client decodes responses, is of a cluster or of Sentinel's replicas, or the URL cannot be
            used.
    """
    ours: dict[str, Any] = {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        # redis-py's 100 would refuse the 101st thread although Redis is well. The server bounds its threads.
        "max_connections": 2**31,
    }
    if isinstance(source, str) and is_sentinel_url(source):
        pool: redis.ConnectionPool = pool_from_url(source, ours)
    elif isinstance(source, str):
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
    check_settings(pool.connection_class, pool.connection_kwargs)
    if pool.connection_kwargs.get("decode_responses"):
        raise DeclarationError(
            "This Redis client has decode_responses=True, with which RQ's jobs cannot be read. Give the relay its URL, "
            "or a client without it."
        )
    return redis.Redis(connection_pool=pool)


def _copied_pool(client: Any, ours: dict[str, Any]) -> redis.ConnectionPool:
    kind = type(client).__name__
    pool = getattr(client, "connection_pool", None)
    # A cluster's client is recognised by name, so that those of other libraries are too.
    if "Cluster" in kind or pool is None:
        raise DeclarationError(
            f"A relay takes a Redis URL or a redis.Redis client, not {kind}. (RQ does not run on a cluster.)"
        )
    if isinstance(pool, SentinelConnectionPool):
        return copied_pool(pool, ours)
    return redis.ConnectionPool(connection_class=pool.connection_class, **(settings_of(pool) | ours))


def masked(url: str) -> str:
    """Give a Redis URL as it may be shown: with `***` for names and passwords, wherever they stand."""
    scheme, _, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    if any(mark in credentials for mark in "/?#"):
        # Not escaped as it should be, so nobody can tell where the password ends.
        return f"{scheme}://***"
    address, mark, query = place.partition("#")[0].partition("?")
    shown = "&".join(_masked_option(option) for option in query.split("&"))
    return f"{scheme}://{'***@' if at else ''}{address}{mark}{shown}"


def _masked_option(option: str) -> str:
    name, equals, value = option.partition("=")
    # Of sentinels and keys too: sentinel_password, ssl_password. redis-py reads an escaped name as well.
    secret = any(word in unquote(name).lower() for word in ("username", "password"))
    return f"{name}{equals}{'***' if secret else value}"
