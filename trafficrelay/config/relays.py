"""`[relay]`: the keys of the relay's own table, and the file as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from ..door import MAX_HEADER, MAX_REQUESTS
from ..errors import ConfigError, DeclarationError
from ..relay import Relay
from ..route import Route
from ..spool import Spool
from .functions import DOTTED, imported
from .kinds import Definitions, Either, Flag, ListOf, Made, Schema, Text, Whole
from .place import Place, kind_of
from .routes import ROUTE
from .secrets import ONE_FILE, ONE_VARIABLE, one_of
from .simple import duration, none_or, rate, size
from .tables import Key, Table, described, with_defaults

PYTHON_ONLY: Final[Mapping[str, str]] = {
    "source": "it is called redis, redis_env or redis_file; a client is an object of a program",
    "outbox": "it is an object of a program, such as MemoryOutbox() in tests",
}
"""The options of `Relay` that a file says in another way, or not at all, and why."""

_ELSEWHERE: Final = 'Say redis_env = "REDIS_URL", or redis_file = "…".'


def _url(url: str, at: Place) -> str:
    """Refuse a URL with a password in it: who reads the file could read that too."""
    if "password" in url.lower() or "@" in url:
        try:
            open_ = urlsplit(url).password is None and "password" not in url.lower()
        except ValueError:
            open_ = False
        if not open_:
            raise at.fault(f"Its password may not stand here. {_ELSEWHERE}")
    return url


def _path(name: str, at: Place) -> str:
    return str(at.file(name))


def _serializer(name: str, at: Place) -> str:
    """Import a serializer of one's own: otherwise what is wrong with it is told only when a Redis is asked."""
    if name not in ("json", "pickle"):
        found = imported(name, at, callable_=False)
        if not (callable(getattr(found, "dumps", None)) and callable(getattr(found, "loads", None))):
            raise at.fault(f"{name} is no serializer: that has the functions dumps and loads.")
    return name


_SPOOL_PATH: Final = Made(Text('the name of a file, such as "spool.db"', r"[^\x00]+"), _path)
_SPOOL: Final = Either(
    {
        str: _SPOOL_PATH,
        dict: Table(
            with_defaults(
                {
                    "path": Key(
                        _SPOOL_PATH, "The file, on a local disk.", needed='It has no path, such as path = "spool.db".'
                    ),
                    "max_size": Key(size(1 << 20), "How large it may become."),
                    "max_age": Key(duration(600), "How old an event may become in it."),
                },
                Spool,
            ),
            lambda options, _: Spool(options.pop("path"), **options),
            'a table such as { path = "spool.db", max_size = "1GB" }',
        ),
    },
    'the name of a file such as "spool.db", or a table such as { path = "spool.db", max_size = "1GB" }',
)

RELAY_KEYS: Final = {
    "redis": Key(
        Made(Text('a Redis URL such as "redis://localhost:6379/0"', hidden=True), _url),
        "The Redis URL, if it has no password. Left out, TRAFFICRELAY_REDIS_URL counts, or what `run` starts.",
        instead_of=["url", "redis_url", "source"],
    ),
    "redis_env": Key(ONE_VARIABLE, "The environment variable with the Redis URL.", instead_of=["redis_url_env"]),
    "redis_file": Key(ONE_FILE, "The file with the Redis URL.", instead_of=["redis_url_file"]),
    "serializer": Key(
        Made(Text('"json", or the dotted name of a serializer', f"json|pickle|{DOTTED}"), _serializer),
        'How RQ writes payloads; workers need the same. "json" keeps what cannot be trusted from running code.',
        default="pickle",
    ),
    "spool": Key(_SPOOL, "The file in which events are kept while Redis is away. Without one they are refused."),
    "wait_replicas": Key(Whole(0), "How many replicas must have an event before its sender gets a 2xx.", default=0),
    "fsync": Key(Flag(), "Whether it must be on the disk of Redis by then.", default=False),
    "trusted_proxies": Key(
        ListOf(Text(), 'a list such as ["10.0.0.0/8", "unix"]', empty=True),
        "The proxies whose X-Forwarded-For counts.",
    ),
    "max_header": Key(Whole(1024), "The largest header of a request, in bytes.", default=MAX_HEADER),
    "max_requests": Key(
        none_or(Whole(1)),
        'How many requests are worked on at once in each process; "none" for any number.',
        default=MAX_REQUESTS,
    ),
    "address_rate": Key(
        rate("address_rate", per=None), "How many requests one address may send to each process; more get a 429."
    ),
}
"""What can be said of the relay."""


def _relay(options: dict[str, Any], at: Place) -> Relay:
    source = one_of(options, ("redis", "redis_env", "redis_file"), at)
    if options.get("serializer") == "pickle":
        del options["serializer"]
    return Relay(source, **options)


_RELAY: Final = Table(RELAY_KEYS, _relay, 'a table such as redis = "redis://localhost:6379/0"')

_TABLES: Final = {
    "relay": Key(_RELAY, "What is said of the relay as a whole."),
    "route": Key(
        ListOf(ROUTE), "One route: a URL, who may send to it, and what becomes of an event.", needed="It has no route."
    ),
}


def read(document: Mapping[str, Any], at: Place) -> Relay:
    """Make the relay that a file describes.

    Args:
        document: what TOML says.
        at: the place of the file.

    Raises:
        ConfigError: something in it cannot be. Whatever was found is in its `faults`.
    """
    faults = [_unknown(name, at) for name in document if name not in _TABLES]
    relay: Relay | None = None
    try:
        relay = _RELAY.read(document.get("relay", {}), _section(at, "relay", 0))
    except ConfigError as error:
        faults += error.faults
    routes: list[tuple[Route, Place]] = []
    for table, place in _routes(document, at, faults):
        try:
            routes.append((ROUTE.read(table, place), place))
        except ConfigError as error:
            faults += error.faults
    if relay is not None and not faults:
        faults += _added(relay, routes)
    if relay is None or faults:
        raise ConfigError.of(sorted(faults, key=lambda fault: fault.line))
    return relay


def _added(relay: Relay, routes: list[tuple[Route, Place]]) -> list[ConfigError]:
    faults = []
    for route, place in routes:
        try:
            relay.add(route)
        except DeclarationError as error:
            faults.append(place.at("path").fault(str(error)))
    return faults


def _routes(document: Mapping[str, Any], at: Place, faults: list[ConfigError]) -> list[tuple[Any, Place]]:
    tables = document.get("route", [])
    if isinstance(tables, dict):
        faults.append(
            _section(at, "route", 0).fault("Routes are a list of tables: write [[route]] in double brackets.")
        )
        return []
    if not isinstance(tables, list):
        faults.append(_section(at, "route", 0).fault(f"Routes are tables under [[route]], not {kind_of(tables)}."))
        return []
    if not tables:
        faults.append(
            at.fault('There is no route. Write one under [[route]], with its path, such as path = "/github".')
        )
    found = []
    for number, table in enumerate(tables, 1):
        label = table.get("path") if isinstance(table, dict) else None
        place = Place(at.source, ("route", number), label if isinstance(label, str) and label.isprintable() else "")
        found.append((table, place))
    return found


def _unknown(name: str, at: Place) -> ConfigError:
    place = at.at(name)
    if name in RELAY_KEYS:
        return place.fault("This belongs under [relay].")
    if name == "routes":
        return place.fault("Routes are written under [[route]].")
    return place.fault("There is no such table. There are [relay] and [[route]].")


def _section(at: Place, name: str, number: int) -> Place:
    return Place(at.source, (name, number))


def schema() -> Schema:
    """Give the JSON Schema of such files."""
    definitions: Definitions = {}
    properties = {name: described(key, definitions) for name, key in _TABLES.items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "relay.toml",
        "description": "A relay of trafficrelay: what it takes in, who may send it, and what becomes of it.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": ["route"],
        "definitions": dict(sorted(definitions.items())),
    }
