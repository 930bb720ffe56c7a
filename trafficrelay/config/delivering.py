"""`deliver = "https://…"`, or a table of what `Deliver` takes, or a list of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..delivery.destination import METHODS, MOST_SECONDS, CloudEvents, Deliver
from .kinds import Choice, Either, Flag, Kind, ListOf, Made, MapOf, Named, Number, Text
from .place import Place
from .secrets import FROM_ELSEWHERE, ONE_FILE, ONE_VARIABLE, one_of
from .simple import BACKOFF, WAITS
from .tables import Key, Table, with_defaults
from .verifying import SIGN

_URL: Final = Text('a URL such as "https://shop.example/hook"', hidden=True)

_CREDENTIALS: Final = frozenset(
    {"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key", "x-auth-token"}
)
"""Headers, in lower case, whose values are secrets."""


_HEADERS: Final = MapOf(
    Either({str: Text(hidden=True), dict: FROM_ELSEWHERE}, f"a string, or {FROM_ELSEWHERE.says}", hidden=True),
    'a table such as { X-Shop = "7", X-Token = { env = "SHOP_TOKEN" } }',
    dict.fromkeys(_CREDENTIALS, 'A secret does not stand in this file. Say { env = "…" } or { file = "…" }.'),
)

_CLOUDEVENTS: Final = Table(
    with_defaults(
        {
            "type": Key(Text(), "What has happened."),
            "source": Key(Text(), "Where, as a URI reference; the event's path where left out."),
            "binary": Key(Flag(), "Whether its attributes travel as headers and not around the data."),
        },
        CloudEvents,
    ),
    lambda options, _: CloudEvents(**options),
    'a table such as { type = "com.example.order.paid" }',
)

_BODY: Final = Either(
    {str: Choice.of("data", "raw", "cloudevents"), dict: _CLOUDEVENTS},
    f'"data", "raw", "cloudevents" or {_CLOUDEVENTS.says}',
)

DELIVER_KEYS: Final = with_defaults(
    {
        "url": Key(_URL, "Where to: http or https, without credentials.", instead_of=["to", "uri", "endpoint"]),
        "url_env": Key(ONE_VARIABLE, "The environment variable with the URL, where that is a secret."),
        "url_file": Key(ONE_FILE, "The file with the URL, where that is a secret."),
        "method": Key(Choice.of(*METHODS), "The HTTP method."),
        "headers": Key(_HEADERS, "What is sent beside the usual. A secret is { env = … } or { file = … }."),
        "body": Key(
            _BODY,
            "What is sent: the data as JSON, the body as it came, or the data as a CloudEvent.",
        ),
        "sign": Key(SIGN, "How it is signed: as its like verifies.", instead_of=["verify", "signature"]),
        "connect_timeout": Key(Number(0, MOST_SECONDS), "Seconds that connecting may take."),
        "read_timeout": Key(
            Number(0, MOST_SECONDS), "Seconds that sending, the answer's header and its body may take, each."
        ),
        "schedule": Key(
            Either({list: WAITS, dict: BACKOFF}, f"{WAITS.says}, or {BACKOFF.says}"),
            "The waits before each further try, which are kept to, or a backoff. Left out: eight tries in 28 h.",
            instead_of=["retry", "retries", "max_retries", "tries", "attempts", "backoff"],
        ),
        "allow": Key(
            ListOf(Text(), 'a list such as ["10.0.0.0/8", "hooks.internal"]'),
            "The hosts, addresses and networks that may be connected to although they are private.",
        ),
        "name": Key(Text(), "What it is called in Redis, logs and commands; the URL's host where left out."),
    },
    Deliver,
)
"""What can be said of a destination."""


def _deliver(options: dict[str, Any], at: Place) -> Deliver:
    return Deliver(one_of(options, ("url", "url_env", "url_file"), at), **options)


_DESTINATION: Final = Table(
    DELIVER_KEYS,
    _deliver,
    'a table such as { url = "https://shop.example/hook" }',
    choices=[(["url", "url_env", "url_file"], 'It has no URL. Say url = "https://…", or url_env = "…".')],
)
_ONE: Final[Mapping[type, Kind]] = {str: Made(_URL, lambda url, _: Deliver(url)), dict: _DESTINATION}

DELIVER: Final = Named(
    "deliver",
    Either(
        {
            **_ONE,
            list: ListOf(Either(_ONE, f"{_URL.says}, or {_DESTINATION.says}", hidden=True), "a list of destinations"),
        },
        f"{_URL.says}, {_DESTINATION.says}, or a list of these",
        hidden=True,
    ),
)
"""Where events are delivered to."""
