"""Redis behind Sentinel: who the master is, asked in a bounded time, and why a server could not be talked to."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode

import redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from ..errors import DeclarationError

SENTINEL_TIMEOUT: Final = 2.0
"""Seconds that finding out who the master is may take, however many sentinels are down or frozen. (Looking their names
up comes on top: Python cannot bound it.)"""

PORT: Final = 26379
"""The port of a sentinel that the URL gives none for."""

_LEAST_WAIT: Final = 0.01

_URL: Final = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?:(?P<credentials>[^@/?#]*)@)?(?P<hosts>[^@/?#]+)/(?P<service>[^/?#]+)"
    r"(?:/(?P<db>[0-9]*))?(?:\?(?P<query>[^#]*))?"
)
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:,]+)(?::(?P<port>[0-9]{1,5}))?")

_LOOKS: Final = (
    "It looks like redis+sentinel://:password@host:26379,host2:26379/SERVICE/0?sentinel_password=…, where / # ? and @ "
    "in a password are written as %2F %23 %3F and %40."
)

# The first that fits counts: some are subclasses of others further down.
_TROUBLE: Final = (
    (AuthenticationError, "does not take the name and password"),
    (NoPermissionError, "does not permit its user to ask"),
    (RedisTimeoutError, "does not answer in time"),
    (RedisConnectionError, "does not answer"),
    (RedisError, "answers with an error"),
)

# https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/: hostname and IP address mismatch; then no issuer to be
# found, or one that is not trusted.
_WRONG_NAME: Final = {62, 64}
_UNKNOWN_ISSUER: Final = {2, 18, 19, 20, 21}


def is_sentinel_url(url: str) -> bool:
    """Tell whether a URL names sentinels."""
    return url.startswith(("redis+sentinel://", "rediss+sentinel://"))


def pool_from_url(url: str, ours: dict[str, Any]) -> redis.ConnectionPool:
    """Give a pool of connections to the master that sentinels name.

    `redis+sentinel://[user:password@]host[:26379][,host2…]/SERVICE[/DB][?options]`. The credentials and options are the
    master's, as redis-py takes them in a URL; `sentinel_…` ones (`sentinel_username`, `sentinel_password`,
    `sentinel_ssl_ca_certs`) are the sentinels'. `rediss+sentinel://` speaks TLS to all, where the sentinels have the
    master's `ssl_…` options unless they have their own; `ssl=` and `sentinel_ssl=` say it for one side.

    Args:
        url: the URL.
        ours: settings of our own; the URL's win for the master, these for the sentinels.

    Raises:
        DeclarationError: the URL cannot be read.
    """
    found = _URL.fullmatch(url)
    hosts = [_HOST.fullmatch(host) for host in found["hosts"].split(",")] if found else []
    if found is None or not all(hosts):
        raise DeclarationError(f"The Sentinel URL cannot be read. {_LOOKS}")
    options = dict(parse_qsl(found["query"] or ""))
    theirs = {
        name.removeprefix("sentinel_"): options.pop(name) for name in list(options) if name.startswith("sentinel_")
    }
    everywhere = found["scheme"] == "rediss"
    tls, sentinel_tls = _flag(options, "ssl", everywhere), _flag(theirs, "ssl", everywhere)
    if sentinel_tls:
        theirs = {name: value for name, value in options.items() if name.startswith("ssl_")} | theirs
    credentials = f"{found['credentials']}@" if found["credentials"] else ""
    try:
        master = redis.ConnectionPool.from_url(
            f"{_scheme(tls)}://{credentials}master/{found['db'] or ''}?{urlencode(options)}", **ours
        )
        sentinels = [
            redis.ConnectionPool.from_url(
                f"{_scheme(sentinel_tls)}://{host['host']}:{host['port'] or PORT}?{urlencode(theirs)}"
            )
            for host in hosts
            if host
        ]
    except ValueError:
        # Not what redis-py says of it: that can hold the password, or a piece of it.
        raise DeclarationError(f"The Sentinel URL cannot be read. {_LOOKS}") from None
    return _pool(
        unquote(found["service"]),
        Sentinels([_member(pool, ours) for pool in sentinels]),
        connection_class=SentinelManagedSSLConnection if tls else SentinelManagedConnection,
        max_connections=master.max_connections,
        **{name: value for name, value in settings_of(master).items() if name not in ("host", "port")},
    )


def copied_pool(pool: Any, ours: dict[str, Any]) -> redis.ConnectionPool:
    """Copy the pool of a client that the host got from `Sentinel.master_for`.

    Raises:
        DeclarationError: it is of replicas, or finds its master in a way that cannot be copied.
    """
    if not pool.is_master:
        raise DeclarationError("This client is of Sentinel's replicas, which take no writes. Give one of master_for().")
    manager = pool.sentinel_manager
    if (
        type(manager).discover_master is not Sentinel.discover_master
        or manager.min_other_sentinels
        or getattr(manager, "_force_master_ip", None) is not None
    ):
        raise DeclarationError(
            "This Sentinel client finds its master in a way that cannot be copied (min_other_sentinels, "
            "force_master_ip or a discover_master of its own). Give the relay a redis+sentinel:// URL."
        )
    settings = settings_of(pool)
    del settings["connection_pool"]
    return _pool(
        pool.service_name,
        Sentinels([_member(sentinel.connection_pool, ours) for sentinel in manager.sentinels]),
        connection_class=pool.connection_class,
        **(settings | ours),
    )


def settings_of(pool: Any) -> dict[str, Any]:
    """Give the settings of a pool's connections, for a pool that has nothing else of it."""
    return {
        name: value
        for name, value in pool.connection_kwargs.items()
        # redis-py keeps the state of one pool under these; a copy has to begin with its own.
        if not name.startswith("maint_notifications") and name not in ("oss_cluster_maint_notifications_handler",)
    }


def check_settings(kind: Any, settings: Mapping[str, Any]) -> None:
    """Refuse at once what redis-py would say only when it connects, with the first event.

    Raises:
        DeclarationError: there is no such setting, or a file of TLS cannot be read.
    """
    try:
        kind(**settings)
    except (TypeError, RedisError) as error:
        # The words are an option's name or its value, never a password's.
        raise DeclarationError(f"The Redis URL has an option that redis-py does not take: {error}.") from None
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        try:
            if settings.get(name):
                Path(settings[name]).open("rb").close()
        except OSError as error:
            raise DeclarationError(
                f"The file {settings[name]}, which the Redis URL gives as {name}, cannot be read ({error.strerror})."
            ) from error


def unreached(error: RedisError) -> str:
    """Say why there is no connection, in words that follow "Redis"; `""` where the kind of the error says it all."""
    if isinstance(error, MasterNotFoundError):
        return f"was not found: {error}"
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"shows a certificate that is not trusted ({cause.verify_message.rstrip('.')}){_remedy(cause)}"
        if isinstance(cause, ssl.SSLError):
            return f"cannot be talked to over TLS ({cause.reason or type(cause).__name__})"
    return ""


def trouble(error: RedisError) -> str:
    """Say why a server could not be asked, in words that follow its name."""
    return unreached(error) or next(words for kind, words in _TROUBLE if isinstance(error, kind))


@dataclass(frozen=True, slots=True)
class Member:
    """One sentinel.

    Attributes:
        kind: the class of its connections.
        settings: what these are made with.
    """

    kind: Any
    settings: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """Its address, as a person reads it."""
        return f"{self.settings.get('host', 'localhost')}:{self.settings.get('port', PORT)}"

    def ask(self, service: str, wait: float) -> tuple[str, int] | None:
        """Give the address of the service's master; `None` if it knows no such service.

        `GET-MASTER-ADDR-BY-NAME` and not `MASTERS`, of which redis-py makes its own choice: in a failover only that
        names the new master before the last replica follows it.
        https://redis.io/docs/latest/develop/reference/sentinel-clients/

        Args:
            service: the service's name.
            wait: seconds that connecting may take, and each reply.

        Raises:
            RedisError: it does not answer, or is no sentinel.
        """
        connection = self.kind(**{**self.settings, "socket_timeout": wait, "socket_connect_timeout": wait})
        try:
            connection.connect()
            connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
            reply: Any = connection.read_response()
        finally:
            connection.disconnect()
        if not reply:
            return None
        host, port = (part.decode() if isinstance(part, bytes) else part for part in reply)
        return host, int(port)


class Sentinels:
    """Asks sentinels who the master is; stands where redis-py's pool has its `Sentinel`.

    They are asked one after the other, the one that last knew first, each on a connection of its own that is closed
    again: an idle one that a sentinel had closed meanwhile would make it look dead. redis-py's own waits for each as
    long as for the first, and two threads that reorder its list at once make it forget a sentinel.

    Args:
        members: the sentinels.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = tuple(members)

    @property
    def members(self) -> tuple[Member, ...]:
        """The sentinels, in the order in which they are asked."""
        return self._members

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Give the address of the service's master.

        Raises:
            MasterNotFoundError: no sentinel names one.
        """
        deadline = time.monotonic() + SENTINEL_TIMEOUT
        members, problems, last = self._members, [], None
        for number, member in enumerate(members):
            # A share of what is left, and half of it for each wait: for two addresses of a name, or a slow handshake
            # before a slow answer.
            wait = (deadline - time.monotonic()) / (len(members) - number) / 2
            try:
                address = member.ask(service_name, max(wait, _LEAST_WAIT))
            except RedisError as error:
                last = error
                # A Redis that is none does not know the command.
                problems.append(f"{member.name} {'is no sentinel' if type(error) is ResponseError else trouble(error)}")
                continue
            if address is None:
                problems.append(f"{member.name} knows no such service")
                continue
            if number:
                # A new tuple: other threads go on through theirs.
                self._members = (member, *(other for other in members if other is not member))
            return address
        raise MasterNotFoundError(f"no sentinel names a master of {service_name!r}: {'; '.join(problems)}") from last


def _pool(service: str, sentinels: Sentinels, **settings: Any) -> redis.ConnectionPool:
    make: Callable[..., redis.ConnectionPool] = SentinelConnectionPool
    return make(service, sentinels, **settings)


def _member(pool: Any, ours: dict[str, Any]) -> Member:
    settings = {**settings_of(pool), **{name: value for name, value in ours.items() if name != "max_connections"}}
    check_settings(pool.connection_class, settings)
    return Member(pool.connection_class, settings)


def _flag(options: dict[str, str], name: str, usual: bool) -> bool:
    value = options.pop(name, "true" if usual else "false").lower()
    if value not in ("true", "false", "1", "0", "yes", "no"):
        raise DeclarationError(f"The Sentinel URL's {name} is true or false. {_LOOKS}")
    return value in ("true", "1", "yes")


def _scheme(tls: bool) -> str:
    return "rediss" if tls else "redis"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Go from an error to what caused it; redis-py raises its own in the handler of the socket's."""
    at: BaseException | None = error
    seen: set[int] = set()
    while at is not None and id(at) not in seen:
        yield at
        seen.add(id(at))
        at = at.__cause__ or at.__context__


def _remedy(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _WRONG_NAME:
        return "; give the URL a name that the certificate has"
    if error.verify_code in _UNKNOWN_ISSUER:
        return "; name the file with its issuer's certificate in the URL: rediss://…?ssl_ca_certs=FILE"
    return ""
