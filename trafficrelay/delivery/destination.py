"""Where events are delivered to: what a route says of it, checked when it is declared."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from ..backoff import Backoff
from ..errors import AddressForbidden, DeclarationError, Unverified
from ..event import Headers
from ..options import Duration
from ..verify.checking import Check
from ..verify.message import Outgoing
from .guard import Guard, Place
from .schedule import DEFAULT, Schedule, schedule

METHODS: Final = ("POST", "PUT", "PATCH")

MOST_SECONDS: Final = 600
"""Seconds that a time-out may be."""

OURS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"}
)
"""Headers that say how a request travels; they are made with it."""

_JSON: Final = Headers({"Content-Type": "application/json"})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(r"[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")  # the same, 5.5
_NAME: Final = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,200}")
_PORTS: Final = {"http": 80, "https": 443}
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
_RETRYING: Final = frozenset({"retry", "retries", "max_retries", "tries", "attempts", "backoff"})
"""What others, and a route, call what `schedule=` says."""


@dataclass(frozen=True, slots=True)
class CloudEvents:
    """`body=CloudEvents(…)`: deliver the data as a CloudEvent 1.0.

    Its `id` is that of the delivery's job, its `time` is when the event came.

    Attributes:
        type: what has happened.
        source: where, as a URI reference; the event's path where left out.
        binary: whether its attributes travel as headers ("binary content mode") and not around the data.
    """

    type: str = "trafficrelay.event"
    source: str | None = None
    binary: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.type, str) or not self.type or not self.type.isprintable():
            raise DeclarationError(
                f'CloudEvents: type is a name such as "com.example.order.paid", not {self.type!r}.', option="body"
            )
        if self.source is not None and (not isinstance(self.source, str) or not _PRINTABLE.fullmatch(self.source)):
            raise DeclarationError(
                f'CloudEvents: source is a URI reference such as "/orders", not {self.source!r}.', option="body"
            )
        if not isinstance(self.binary, bool):
            raise DeclarationError(f"CloudEvents: binary is True or False, not {self.binary!r}.", option="body")


@dataclass(frozen=True, slots=True)
class Deliver:
    """A destination of a route's events. Everything is checked when it is made.

        Deliver("https://shop.example/hook", sign=standard_webhooks(os.environ["SHOP_SECRET"]))

    Nothing of it is put into Redis but its name: the worker looks the rest up in the relay's declaration.

    Attributes:
        url: where to: http or https. Credentials do not belong there; the path and the query are shown nowhere.
        method: `"POST"`, `"PUT"` or `"PATCH"`.
        headers: what is sent beside the usual.
        body: `"data"`, what the transform returned as JSON; `"raw"`, the event's body byte for byte, with its content
            type; `"cloudevents"` or a `CloudEvents`.
        sign: a verifier that can sign, such as `standard_webhooks(secret)`: it signs what its like verifies. Those that
            sign the URL sign this one, or their `public_url`.
        connect_timeout: seconds that connecting may take.
        read_timeout: seconds that sending, the answer's header and its body may take, each.
        schedule: when a try that failed is made again: the waits, such as `[10, 60, "15m"]`, or a `Backoff`. Eight
            tries in about 28 h unless you say so.
        allow: the hosts, addresses and networks that may be connected to although they are private, such as
            `["127.0.0.1", "10.0.0.0/8", "hooks.internal"]`.
        name: what it is called in Redis, logs and commands; the URL's host where left out. Two of one route need two.
    """

    url: str = field(repr=False)
    method: str = field(default="POST", kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True, repr=False, hash=False)
    body: str | CloudEvents = field(default="data", kw_only=True)
    sign: Any = field(default=None, kw_only=True, repr=False)
    connect_timeout: float = field(default=5.0, kw_only=True, repr=False)
    read_timeout: float = field(default=20.0, kw_only=True, repr=False)
    schedule: Sequence[Duration] | Backoff = field(default=DEFAULT, kw_only=True, repr=False, hash=False)
    allow: Iterable[str] = field(default=(), kw_only=True, repr=False, hash=False)
    name: str = field(default="", kw_only=True)

    # What these say, read once.
    guard: Guard = field(init=False, repr=False, compare=False)
    waits: Schedule = field(init=False, repr=False, compare=False)
    form: str | CloudEvents = field(init=False, repr=False, compare=False)
    label: str = field(init=False, repr=False, compare=False)
    title: str = field(init=False, repr=False, compare=False)
    key: str = field(init=False, repr=False, compare=False)

    if not TYPE_CHECKING:  # which shall see the options above

        def __new__(cls, *_, **options):
            """Refuse unknown options with a sentence, where Python's own error would only name them."""
            _check_names(options)
            return object.__new__(cls)

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the dataclass is frozen; this is where it is made
        set_(self, "guard", _guard(self.allow))
        place = _place(self.guard, self.url)
        if self.method not in METHODS:
            raise DeclarationError(
                f"A delivery's method is one of {', '.join(METHODS)}, not {self.method!r}.", option="method"
            )
        set_(self, "headers", _headers(self.headers))
        set_(self, "form", _form(self.body))
        _check_sign(self.sign, self.url, self.method)
        for option in ("connect_timeout", "read_timeout"):
            set_(self, option, _timeout(getattr(self, option), option))
        set_(self, "waits", schedule(self.schedule))
        set_(self, "name", _name(self.name, place))
        set_(self, "label", _label(place, bare=False))
        set_(self, "title", _title(self.name, place))
        set_(self, "key", hashlib.sha256(self.url.encode()).hexdigest()[:40])

    @property
    def longest(self) -> float:
        """Seconds that a try may take (see `transport.Request`)."""
        return self.connect_timeout + 3 * self.read_timeout


def destinations(value: Any) -> tuple[Deliver, ...]:
    """Read `deliver=`: a URL, a `Deliver`, or a list of these.

    Raises:
        DeclarationError: it is none of these, or two destinations have one name.
    """
    items = value if isinstance(value, list | tuple) else [value]
    if not items or not all(isinstance(item, str | Deliver) for item in items):
        raise DeclarationError(
            f'deliver is a URL such as "https://shop.example/hook", a Deliver, or a list of these, not {_kind(value)}.',
            option="deliver",
        )
    found = tuple(Deliver(item) if isinstance(item, str) else item for item in items)
    check_distinct(found)
    return found


def check_distinct(found: Sequence[Deliver]) -> None:
    """Check that each destination of a route has a name of its own.

    Raises:
        DeclarationError: two have the same.
    """
    names = [destination.name for destination in found]
    for name in names:
        if names.count(name) > 1:
            raise DeclarationError(
                f"Two destinations are called {name}. Give each a name: Deliver(url, name=…).", option="deliver"
            )


def chosen(found: Sequence[Deliver], name: str) -> Deliver | None:
    """Give the destination that a job names.

    The only one of a route is meant by any name: it may have moved to another host since.
    """
    for destination in found:
        if destination.name == name:
            return destination
    return found[0] if len(found) == 1 else None


def _kind(value: Any) -> str:
    return "an empty list" if value in ([], ()) else f"a {type(value).__name__}"


def check_time(found: Sequence[Deliver], timeout: int | None) -> None:
    """Check that a job may take as long as its destinations.

    Args:
        found: the destinations.
        timeout: the route's, in seconds; -1 for never, `None` for RQ's own (`rq.Queue.DEFAULT_TIMEOUT`, 180 s).

    Raises:
        DeclarationError: it may not.
    """
    most = 180 if timeout is None else timeout
    for destination in found:
        if 0 < most <= destination.longest:
            raise DeclarationError(
                f"A try at {destination.title} may take {destination.longest:g} s (connect_timeout, and three times "
                f"read_timeout), and its job is stopped after {most} s: say a longer timeout= on the route.",
                option="timeout",
            )


def _label(place: Place, *, bare: bool) -> str:
    """Say where it is, without what may be a token: `https://hooks.example/…`, or bare `hooks.example`."""
    host = f"[{place.host}]" if ":" in place.host else place.host
    where = host if place.port == _PORTS[place.scheme] else f"{host}:{place.port}"
    return where if bare else f"{place.scheme}://{where}{'/' if place.target == '/' else '/…'}"


def _title(name: str, place: Place) -> str:
    """Say what logs and errors call it: where it is, and its name unless that says no more."""
    where = _label(place, bare=False)
    return where if name == _label(place, bare=True) else f"{name} ({where})"


def _check_names(options: Iterable[str]) -> None:
    known = sorted(entry.name for entry in fields(Deliver) if entry.init)
    for name in options:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        if name in _RETRYING:
            hint = 'Say schedule=, the waits between its tries, such as [10, 60, "15m"].'
        else:
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
        raise DeclarationError(f"Deliver has no option {name}. {hint}", option=name)


def _headers(headers: Any) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        raise DeclarationError(
            f'headers is a mapping such as {{"X-Shop": "7"}}, not a {type(headers).__name__}.', option="headers"
        )
    seen: set[str] = set()
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise DeclarationError(f"{name!r} is no name of a header.", option="headers")
        if name.lower() in OURS:
            raise DeclarationError(f"The header {name} is made with the request; leave it out.", option="headers")
        if name.lower() in seen:
            raise DeclarationError(f"The header {name} is given twice.", option="headers")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            # Not the value: it may be a credential.
            raise DeclarationError(
                f"The header {name} has a value that cannot be sent: it is a string of one line. Is the environment "
                "variable set that it comes from?",
                option="headers",
            )
        seen.add(name.lower())
    return dict(headers)


def _form(body: Any) -> str | CloudEvents:
    if body == "cloudevents":
        return CloudEvents()
    if isinstance(body, CloudEvents) or body in ("data", "raw"):
        known: str | CloudEvents = body
        return known
    raise DeclarationError(f'body is "data", "raw", "cloudevents" or a CloudEvents, not {body!r}.', option="body")


def _check_sign(sign: Any, url: str, method: str) -> None:
    """Check what signs.

    Raises:
        DeclarationError: it does not, or not what is delivered.
    """
    if sign is None:
        return
    if inspect.isclass(sign) or not callable(getattr(sign, "sign", None)):
        raise DeclarationError(
            "sign is a verifier that can sign, such as standard_webhooks(secret), or an object with sign(body, now).",
            option="sign",
        )
    if not isinstance(sign, Check):
        return
    owner = f"sign={sign.name}(…)"
    if callable(sign.secrets.given) or callable(sign.public_url):
        what = "secret" if callable(sign.secrets.given) else "public URL"
        raise DeclarationError(
            f"{owner} looks its {what} up for each event that comes in; a delivery needs one of its own.", option="sign"
        )
    if not sign.scheme.secret_headers:
        raise DeclarationError(
            f"{owner} puts its signature into the body, and the body of a delivery is what is delivered. Take one that "
            "signs in a header, such as standard_webhooks(secret).",
            option="sign",
        )
    try:
        sign.signed(Outgoing(b"{}", url, method, _JSON))
    except Unverified:
        pass  # it wants more of a body than this has
    except LookupError:
        raise DeclarationError(
            f"{owner} has a public key, which verifies and cannot sign. Give it the private one, in PEM.", option="sign"
        ) from None


def _timeout(value: Any, option: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= MOST_SECONDS:
        raise DeclarationError(f"{option} is a number of seconds up to {MOST_SECONDS}, not {value!r}.", option=option)
    return float(value)


def _guard(allow: Any) -> Guard:
    items = allow if isinstance(allow, str) or not isinstance(allow, Iterable) else list(allow)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise DeclarationError('allow is a list of strings such as ["10.0.0.0/8", "hooks.internal"].', option="allow")
    return Guard(frozenset(items))


def _place(guard: Guard, url: Any) -> Place:
    try:
        return guard.place(url)
    except AddressForbidden as error:
        raise DeclarationError(f"{error} Say Deliver(url, allow=[…]).", option="deliver") from None


def _name(name: Any, place: Place) -> str:
    if name == "":
        return _label(place, bare=True)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DeclarationError(f"A destination's name has letters, digits and . _ : -, not {name!r}.", option="name")
    return name
